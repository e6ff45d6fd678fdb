"""Eq. (9) and the Vendi score on cached features of many prompts, against one matrix product of
the same features.

    python benchmarks/diversity.py [--prompts 1000] [--seeds 9] [--dimensions 1024]
                                   [--repeats 20] [--threads 1]

The product is that of all pairs of each prompt, f @ f.T, in fp32 and in fp64, the precision of
Eq. (9). Medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--dimensions", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    from workbench.metrics.diversity import diversity, mean_interval, vendi

    torch.set_num_threads(options.threads)
    single = (
        torch.randn(
            options.prompts,
            options.seeds,
            options.dimensions,
            generator=torch.Generator().manual_seed(0),
        )
        + 1
    )
    double = single.double()

    def median(work: Callable[[], object]) -> float:
        work()
        times = []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - begun))
        return statistics.median(times)

    timed = {
        "one product, fp32": lambda: single @ single.mT,
        "one product, fp64": lambda: double @ double.mT,
        "Eq. (9), of fp32 features": lambda: diversity(single),
        "Vendi score": lambda: vendi(single),
        "interval over prompts": lambda: mean_interval(diversity(single)),
    }
    medians = {name: median(work) for name, work in timed.items()}
    for name, milliseconds in medians.items():
        print(
            f"{name:28} {milliseconds:8.1f} ms   {milliseconds / medians['one product, fp64']:.2f} "
            "of the fp64 product"
        )


if __name__ == "__main__":
    main()
