r"""The DMD gradient (5), written in x0 space and per sample.

    s_fake - s_real = alpha / sigma^2 (x0_fake - x0_real), so with w_t = sigma^2 / alpha the gradient of (5) with respect to the sample
    is  g = x0_fake - x0_real;  alpha^2 / sigma^2 g is the exact gradient of KL(p_t^student || p_t^teacher).

Practice divides g by a normaliser, one number a sample:

    none      1                      the KL gradient up to w_t
    released  mean |x_t - x0_real|   the released DP-DMD script: for a flow that is sigma mean |v_real|, so sigma cancels in g
    dmd2      mean |x  - x0_real|    DMD2 and FastGen, x the student's sample
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.core.prediction import Prediction
from workbench.core.schedules import broadcast


def _mean_abs(x: Tensor) -> Tensor:
    return x.float().abs().flatten(1).mean(1)


Normaliser = Callable[
    [Tensor, Prediction], Tensor
]  # (student sample x, teacher's prediction at x_t) -> [B]

NORMALISERS: dict[str, Normaliser] = {
    "none": lambda x, real: torch.ones(len(x), device=x.device),
    "released": lambda x, real: _mean_abs(real.x_t - real.x0),
    "dmd2": lambda x, real: _mean_abs(x - real.x0),
}


def dmd_gradient(
    x: Tensor, real: Prediction, fake: Prediction, normaliser: str = "released"
) -> Tensor:
    """G = (x0_fake - x0_real) / normaliser, fp32 [B, ...], no gradient of its own. Eq. (5) in x0
    space.

    x: the student's sample [B, ...]; real, fake: both networks at the same (x_t, t). Departs: the
    released script turns NaN into 0; here it stays, and the distiller stops and says so.
    """
    with torch.no_grad():
        scale = NORMALISERS[normaliser](x, real).clamp(min=1e-6)
        return fake.x0_minus(real) / broadcast(scale, x)


def surrogate(x: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to x is `gradient` / numel: 1/2 mean (x - stop_grad(x -
    g))^2.

    Its value is 1/2 mean g^2: a meter of the gradient's size, no distance to the teacher.
    """
    target = (x.float() - gradient).detach()
    return 0.5 * (x.float() - target).square().mean()
