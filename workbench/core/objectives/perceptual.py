r"""DMD-LPIPS: the student's image is pulled to the teacher's multi-step image from the same noise
and prompt.

    L = D( decode(x_student), decode(x_teacher) )
    x_teacher = all T steps of the guided teacher from the same x1

D is a perceptual distance of images in [-1, 1]: LPIPS on full models, the lite0 pyramid on scenes.
Weight 0.25 in DMD1.

Departs: DMD1 regresses to stored pairs; here each batch's teacher images are sampled fresh.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]  # images a, b [B, 3, H, W] in [-1, 1] -> [B]


def perceptual_loss(distance: Distance, student: Tensor, teacher: Tensor) -> Tensor:
    """Mean distance of two batches of images; gradients reach `student` only.

    Args:
        distance: Images a, b -> [B].
        student: [B, 3, H, W], about in [-1, 1].
        teacher: [B, 3, H, W], about in [-1, 1].

    Returns:
        A scalar [].
    """
    return distance(student, teacher.detach()).mean()
