"""The fake network's loss: plain denoising on the student's samples, no guidance. Eq. (3) for a
flow.
"""

from __future__ import annotations

from torch import Tensor

from workbench.core.denoiser import Condition, Denoiser
from workbench.core.schedules import perturb


def denoising_loss(
    denoiser: Denoiser, x0: Tensor, noise: Tensor, *, t: Tensor, condition: Condition | None
) -> Tensor:
    """Mean squared error of the raw output against its target (velocity: noise - x0; eps: noise).
    Eq. (3) for a flow.

    Args:
        denoiser: The network that learns.
        x0: The student's samples [B, ...]; detached, so that only the denoiser learns.
        noise: [B, ...].
        t: Times [B] in (0, 1].
        condition: B rows, or None.

    Returns:
        A scalar [], fp32.
    """
    x0 = x0.detach()
    prediction = denoiser(perturb(denoiser.schedule, x0, noise, t), t, condition)
    return (
        (prediction.raw.float() - prediction.kind.target(x0.float(), noise.float())).square().mean()
    )
