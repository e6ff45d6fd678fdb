"""The fake network's loss: plain denoising on the student's samples, no guidance. Eq. (3) for a
flow.
"""

from __future__ import annotations

from torch import Tensor

from workbench.core.denoiser import Condition, Denoiser
from workbench.core.schedules import perturb


def denoising_loss(
    denoiser: Denoiser, x0: Tensor, noise: Tensor, t: Tensor, condition: Condition | None
) -> Tensor:
    """Mean squared error of the raw output against its target (velocity: noise - x0; eps: noise),
    fp32.

    x0, noise [B, ...], t [B]; x0 is detached, so only the denoiser learns.
    """
    x0 = x0.detach()
    prediction = denoiser(perturb(denoiser.schedule, x0, noise, t), t, condition)
    return (
        (prediction.raw.float() - prediction.kind.target(x0.float(), noise.float())).square().mean()
    )
