r"""The DMD gradient, Eq. (5), written in x0 space and per sample.

    s_fake - s_real = alpha / sigma^2 (x0_fake - x0_real)

so with w_t = sigma^2 / alpha the gradient of Eq. (5) with respect to the sample is

    g = x0_fake - x0_real

and alpha^2 / sigma^2 g is the exact gradient of KL(p_t^student || p_t^teacher). Practice divides g
by a normaliser, one number per sample:

    none      1                      the KL gradient up to w_t
    released  mean |x_t - x0_real|   the released DP-DMD script: for a flow that is
                                     sigma mean |v_real|, so sigma cancels in g
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


# (student samples x [B, ...], teacher's prediction at x_t) -> [B]
Normaliser = Callable[[Tensor, Prediction], Tensor]

NORMALISERS: dict[str, Normaliser] = {
    "none": lambda x, real: torch.ones(len(x), device=x.device),
    "released": lambda x, real: _mean_abs(real.x_t - real.x0),
    "dmd2": lambda x, real: _mean_abs(x - real.x0),
}


def dmd_gradient(
    x: Tensor, real: Prediction, fake: Prediction, normaliser: str = "released"
) -> Tensor:
    """The gradient g = (x0_fake - x0_real) / normaliser, detached. Eq. (5) in x0 space.

    Departs: the released script turns NaN into 0; here it stays, and the distiller stops and says
    so.

    Args:
        x: The student's samples [B, ...].
        real: The teacher's prediction at (x_t [B, ...], t [B]).
        fake: The fake network's, at the same (x_t, t).
        normaliser: One of `NORMALISERS`.

    Returns:
        [B, ...], fp32.
    """
    with torch.no_grad():
        scale = NORMALISERS[normaliser](x, real).clamp(min=1e-6)
        return fake.x0_minus(real) / broadcast(scale, x)


def surrogate(x: Tensor, gradient: Tensor) -> Tensor:
    """A scalar with the gradient g / numel with respect to x: 1/2 mean (x - stop_grad(x - g))^2.

    Its value is 1/2 mean g^2: it tracks the gradient's magnitude and is no distance to the teacher.

    Args:
        x: The student's samples [B, ...].
        gradient: g [B, ...].

    Returns:
        A scalar [], fp32.
    """
    target = (x.float() - gradient).detach()
    return 0.5 * (x.float() - target).square().mean()
