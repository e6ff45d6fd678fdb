r"""The diversity term of DP-DMD: the student's first step is supervised by the teacher's state
after K steps, the anchor.

    (6)   v_target  = (x1 - z_K) / (1 - t_K)          chord of the teacher's path; flow teachers
    (39)  x0_target = (z_K - sigma_K eps_K) / alpha_K  the teacher's x0 at the anchor, from its
                                                       eps_K = eps_teacher(z_K); eps teachers
    (7), (41)   mean squared distance of the student's first prediction to it

At t = 1 a flow's velocity is x1 - x0, so Eq. (7) is the x0 distance too: one loss serves both
families, and only the rule that makes the target differs.
"""

from __future__ import annotations

from torch import Tensor

from workbench.core.denoiser import Condition, Denoiser
from workbench.core.prediction import Prediction
from workbench.core.sampler import sampled
from workbench.core.schedules import FlowSchedule, broadcast


def secant_anchor(x1: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """v_target, the chord from the anchor to the noise. Eq. (6).

    Args:
        x1: Initial noise [B, ...].
        z: The teacher's state [B, ...] at t.
        t: [B] in [0, 1).

    Returns:
        [B, ...], fp32.
    """
    return (x1.float() - z.float()) / broadcast(1 - t.float(), x1)


def denoised_anchor(at_anchor: Prediction) -> Tensor:
    """x0_target, the teacher's own x0 at its anchor (one evaluation more than Eq. (6)). Eq. (39).

    Args:
        at_anchor: The teacher's prediction at its state [B, ...] after K steps.

    Returns:
        [B, ...], fp32.
    """
    return at_anchor.x0


def diversity_loss(first: Prediction, x0_target: Tensor) -> Tensor:
    """Mean over all elements of (x0_student - x0_target)^2 at the student's first step. Eq. (41),
    and Eq. (7) for a flow at t = 1.

    Args:
        first: The student's prediction [B, ...] at its first step.
        x0_target: [B, ...]; detached.

    Returns:
        A scalar [].
    """
    return (first.x0 - x0_target.detach()).square().mean()


def secant_target(
    teacher: Denoiser, x1: Tensor, condition: Condition | None, times: Tensor, k: int
) -> Tensor:
    """x1 - v_target, after the first k steps of a flow teacher; no gradient. Eq. (6).

    Args:
        teacher: The guided teacher.
        x1: Initial noise [B, ...].
        condition: B rows, or None.
        times: The teacher's [T + 1], falling from 1 to 0.
        k: The anchor step K, 1 to T.

    Returns:
        x0_target [B, ...], fp32.

    Raises:
        ValueError: K is outside its range, or the teacher is no flow: its path to the anchor is no
            x1 - t v.
    """
    if not isinstance(teacher.schedule, FlowSchedule):
        raise ValueError(
            "the anchor 'secant' (6) is for flow teachers; set anchor to 'denoised' (39) for this "
            "one"
        )
    z, t = _anchor(teacher, x1, condition, times, k)
    return x1.float() - secant_anchor(x1, z, t)


def denoised_target(
    teacher: Denoiser, x1: Tensor, condition: Condition | None, times: Tensor, k: int
) -> Tensor:
    """The teacher's x0 after its first k steps; the state itself at the end (t = 0); no gradient.
    Eq. (39).

    Args:
        teacher: The guided teacher.
        x1: Initial noise [B, ...].
        condition: B rows, or None.
        times: The teacher's [T + 1], falling from 1 to 0.
        k: The anchor step K, 1 to T.

    Returns:
        x0_target [B, ...], fp32.

    Raises:
        ValueError: K is outside its range.
    """
    z, t = _anchor(teacher, x1, condition, times, k)
    if float(t[0]) == 0:
        return z
    return denoised_anchor(teacher(z, t, condition)).detach()


def _anchor(
    teacher: Denoiser, x1: Tensor, condition: Condition | None, times: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    if not 1 <= k < len(times):
        raise ValueError(
            f"the anchor step K must be between 1 and the teacher's {len(times) - 1} steps, not {k}"
        )
    z = sampled(teacher, x1, condition, times[: k + 1])
    return z, times[k].to(z.device).expand(len(z))
