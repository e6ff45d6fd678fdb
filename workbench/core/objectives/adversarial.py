r"""DMD-GAN: a head on the fake network's middle features tells noised teacher samples from noised
student samples.

    d(x_t) = head( features of mu_fake at (x_t, t, c) )   a logit, high for the teacher's samples
    student   softplus( -d(student) )                     non-saturating; weight 5e-3 in DMD2
    critic    softplus( d(student) ) + softplus( -d(teacher) )
                                                          trains head and fake network; weight 1e-2

Departs: DMD2's real samples are a data set; here they are the guided teacher's, so that all methods
see the same source.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Features [B, N, C] at N positions to one logit [B] per sample: a layer at each position,
    their mean, a layer.
    """

    def __init__(self, width: int):
        super().__init__()
        self.place = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU())
        self.logit = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The logits of a batch.

        Args:
            features: [B, N, C].

        Returns:
            [B], fp32.
        """
        return self.logit(self.place(features.float()).mean(1)).squeeze(-1)


def generator_loss(student: Tensor) -> Tensor:
    """Mean softplus(-d).

    Args:
        student: The logits [B] of student samples.

    Returns:
        A scalar [].
    """
    return F.softplus(-student).mean()


def critic_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean softplus(d_student) + softplus(-d_teacher); 2 log 2 if the head cannot tell them apart.

    Args:
        student: The logits [B] of student samples.
        teacher: The logits [B] of teacher samples.

    Returns:
        A scalar [].
    """
    return F.softplus(student).mean() + F.softplus(-teacher).mean()
