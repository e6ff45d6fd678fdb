"""The autoencoder of the `scenes` world: 64 x 64 pixels to an 8 x 8 x 8 latent, a small diffusers
`AutoencoderKL`.

    loss = | x - D(z) |_w  +  | grad x - grad D(z) |_w
         + kl * KL( q(z | x) || N(0, I) )  +  facts * CE( W z, facts(x) )

with w = 5 on cells that show an object and 1 elsewhere. The last term makes shape and colour of a
cell linear in its latent. It costs nothing at sampling time and moves the content of captions into
large latent directions, so that the flow teacher, whose loss weighs directions by their variance,
learns them early.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from workbench.scenes.grammar import COLOURS, SHAPES
from workbench.scenes.renderer import SIDE, Scenes, pixel_coverage

LATENT_CHANNELS, LATENT_SIDE = 8, 8
FACTS = (len(SHAPES) + 1, len(COLOURS) + 1)  # classes of the two facts of a cell; 0 is background


def new_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder (0.7 M parameters): images [B, 3, 64, 64] in [-1, 1], latents [B,
    8, 8, 8].
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def cell_facts(scenes: Scenes) -> Tensor:
    """[B, 2, 8, 8] long: shape and colour (1 + index; 0 for background) of the object that covers
    most of each cell.
    """
    covered = F.avg_pool2d(pixel_coverage(scenes), SIDE // LATENT_SIDE)  # [B, M, 8, 8]
    most, which = covered.max(1)
    shape, colour = (
        torch.gather(index, 1, which.flatten(1)).view_as(which) + 1
        for index in (scenes.shape, scenes.colour)
    )
    return torch.stack([shape, colour], 1) * (most > 0.15)[:, None]


def facts_loss(logits: Tensor, facts: Tensor) -> Tensor:
    """Mean cross entropy of [B, sum(FACTS), 8, 8] logits against `cell_facts`, background cells at
    a fifth of the weight.
    """
    losses = []
    for part, target in zip(logits.float().split(FACTS, 1), facts.unbind(1)):
        weight = torch.ones(part.shape[1])
        weight[0] = 0.2
        losses.append(F.cross_entropy(part, target, weight=weight))
    return sum(losses)


class AutoencoderLoss(nn.Module):
    """The loss above as a module: an autoencoder, and the linear map W that only training needs."""

    def __init__(self, vae: AutoencoderKL, kl: float = 1e-3, facts: float = 0.02):
        super().__init__()
        self.vae, self.kl, self.facts = vae, kl, facts
        self.head = nn.Conv2d(LATENT_CHANNELS, sum(FACTS), 1)

    def forward(self, images: Tensor, facts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its parts, from images [B, 3, 64, 64] in [-1, 1] and `cell_facts` [B, 2, 8,
        8].
        """
        posterior = self.vae.encode(images).latent_dist
        z = posterior.sample()
        decoded = self.vae.decode(z).sample.float()
        weight = 1 + 4 * F.interpolate((facts[:, :1] > 0).float(), scale_factor=SIDE // LATENT_SIDE)
        weight = weight / weight.mean()
        wrong = decoded - images
        mae = (weight * wrong.abs()).mean()
        edges = (weight[:, :, 1:] * wrong.diff(dim=2).abs()).mean() + (
            weight[..., 1:] * wrong.diff(dim=3).abs()
        ).mean()
        kl = posterior.kl().mean() / z[0].numel()
        read = facts_loss(self.head(z), facts)
        return mae + edges + self.kl * kl + self.facts * read, {
            "mae": mae,
            "edges": edges,
            "kl": kl,
            "facts": read,
        }
