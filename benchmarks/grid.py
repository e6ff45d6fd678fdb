"""A 3-model x 9-seed grid, per image, against the plain diffusers pipeline on the same weights.

    python benchmarks/grid.py [--repeats 5] [--threads 2]

Both sides sample 9 images per batch in fp32 from ready prompt embeddings and decode them; repeats
are interleaved, medians shown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import torch

from workbench.core import seeds
from workbench.core.sampler import sampled
from workbench.models.loading import load_backend
from workbench.models.model import Model, teacher_model
from workbench.models.students import load_student, shipped_students

PROMPT, SEEDS = "a red circle", list(range(9))


def ours(backend, model: Model) -> None:
    noise = seeds.grid_noise(backend.latent_shape, SEEDS)
    condition = backend.encode([PROMPT]).expand(len(SEEDS))
    backend.decode(sampled(model.denoiser, noise, condition, model.times))


def plain(backend, model: Model, network) -> None:
    pipeline = backend.pipeline
    pipeline.transformer = network
    guidance = getattr(model.denoiser, "guidance", 1.0)
    noise = seeds.grid_noise(backend.latent_shape, SEEDS)
    pipeline(
        [PROMPT] * len(SEEDS),
        latents=noise,
        num_inference_steps=len(model.times) - 1,
        guidance_scale=guidance,
        max_sequence_length=0,
        height=64,
        width=64,
        output_type="pt",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    backend = load_backend()
    models = [teacher_model(backend)] + [
        load_student(path, backend, name)
        for name, path in shipped_students("scenes").items()
        if name in ("dmd", "dp-dmd")
    ]
    networks = [backend.network] + [model.denoiser.network for model in models[1:]]
    times: dict[tuple[str, str], list[float]] = {}
    for repeat in range(options.repeats + 1):  # the first repeat warms up
        for model, network in zip(models, networks):
            for side, function in (
                ("ours", partial(ours, backend, model)),
                ("diffusers", partial(plain, backend, model, network)),
            ):
                begun = time.perf_counter()
                function()
                if repeat:
                    times.setdefault((model.name, side), []).append(time.perf_counter() - begun)
    print("| model | ours ms / image | diffusers ms / image | ratio |\n|---|---|---|---|")
    for model in models:
        a, b = (
            1e3 * statistics.median(times[model.name, side]) / len(SEEDS)
            for side in ("ours", "diffusers")
        )
        print(f"| {model.name} | {a:.1f} | {b:.1f} | {a / b:.2f} |")


if __name__ == "__main__":
    main()
