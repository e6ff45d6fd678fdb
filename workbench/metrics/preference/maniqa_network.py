"""MANIQA's network: one quality number for a crop, from four layers of a ViT, attention between
channels, and Swin layers.

    ViT-B/8, tokens after blocks 6 to 9 (from 0), concatenated (no CLS)  [B, 4 x 768, 784]
    2 x attention between channels, 1 x 1 convolution, 2 Swin layers     [B, 768, 28, 28]
    2 x attention between channels, 1 x 1 convolution, 2 Swin layers     [B, 384, 28, 28]
    sum_i s_i w_i / sum_i w_i over the 784 tokens                        [B]
        s = ReLU(two linear maps), w = sigmoid(two linear maps)

Plain torch, for evaluation only: no dropout, no stochastic depth. The names are those of the
published files, so that their state dicts load strictly; for that reason alone it keeps layers that
the forward pass never reaches: the ViT's last blocks, norm and head, and a convolution `downsample`
in each Swin.

Source: Yang et al. 2022 (arXiv 2204.08958), https://github.com/IIGROUP/MANIQA.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (6, 7, 8, 9)  # the blocks of the ViT that are read


class Mlp(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] of x [..., width]."""
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    """Self-attention of tokens [..., N, C], with an optional bias of the logits [..., heads, N,
    N].
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """[..., N, C] of x [..., N, C]."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        return self.proj(
            F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(-2, -3).flatten(-2)
        )


class ViTBlock(nn.Module):
    """Self-attention and an MLP, each after a norm and added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=1e-6), Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, width] of x [B, N, width]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """[B, N, len(TAPS) x width] of crops: the tokens after the blocks of `TAPS`, without CLS."""

    def __init__(self, side: int, patch: int, width: int, heads: int, depth: int, classes: int):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, crops: Tensor) -> Tensor:
        """[B, N, len(TAPS) x width] of crops [B, 3, side, side]."""
        patches = self.patch_embed["proj"](crops).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(crops), -1, -1), patches], dim=1) + self.pos_embed
        kept = []
        for n, block in enumerate(self.blocks[: TAPS[-1] + 1]):
            x = block(x)
            if n in TAPS:
                kept.append(x[:, 1:])
        return torch.cat(kept, dim=2)


class ChannelAttention(nn.Module):
    """x + y of channels x [B, C, N], where a channel attends to all channels ("transposed
    attention block").

    y is softmax(q k^T / sqrt(N)) v [B, C, N], transposed to [B, N, C], whose memory is then read
    as [B, C, N]. That is a shuffle and not the transpose undone; the published weights were
    trained with it.
    """

    def __init__(self, tokens: int):
        super().__init__()
        self.c_q, self.c_k, self.c_v = (nn.Linear(tokens, tokens) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, N] of x [B, C, N]."""
        y = F.scaled_dot_product_attention(self.c_q(x), self.c_k(x), self.c_v(x))
        return x + y.transpose(1, 2).reshape(x.shape)


class WindowAttention(Attention):
    """Attention inside windows [B, windows, window^2, C], with a learnt bias for each offset
    between two tokens.
    """

    def __init__(self, width: int, heads: int, window: int):
        super().__init__(width, heads)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        down, right = (axis.flatten()[:, None] - axis.flatten() + window - 1 for axis in (y, x))
        self.register_buffer("relative_position_index", down * (2 * window - 1) + right)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, windows, window^2, C] of x of the same shape."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(
            2, 0, 1
        )  # [heads, N, N]
        return super().forward(x, bias if mask is None else bias + mask[:, None])


class SwinBlock(nn.Module):
    """Of maps x [B, H, W, C]; a shift moves the windows down and right, around the edge."""

    def __init__(self, width: int, grid: int, heads: int, window: int, hidden: int, shift: int):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.attn = nn.LayerNorm(width), WindowAttention(width, heads, window)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width, hidden)
        self.register_buffer("attn_mask", seam_mask(grid, window, shift) if shift else None)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] of x [B, H, W, C]."""
        shifted = self.norm1(x).roll((-self.shift, -self.shift), (1, 2))
        attended = joined(
            self.attn(windows_of(shifted, self.window), self.attn_mask), self.window, x.shape[1]
        )
        x = x + attended.roll((self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


def windows_of(x: Tensor, window: int) -> Tensor:
    """[B, windows, window^2, C], row by row, of maps [B, H, W, C]."""
    return (
        x.unflatten(2, (-1, window))
        .unflatten(1, (-1, window))
        .transpose(2, 3)
        .flatten(3, 4)
        .flatten(1, 2)
    )


def joined(windows: Tensor, window: int, grid: int) -> Tensor:
    """`windows_of` undone, for square maps of side `grid`."""
    rows = windows.unflatten(2, (window, window)).unflatten(1, (grid // window, grid // window))
    return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def seam_mask(grid: int, window: int, shift: int) -> Tensor:
    """[windows, window^2, window^2], added to the logits: -100 between tokens that only the roll
    over the edge brought together.
    """
    rolled = (torch.arange(grid) >= grid - shift).long()
    parts = windows_of((2 * rolled[:, None] + rolled)[None, :, :, None], window)[0, :, :, 0]
    return (parts[:, :, None] != parts[:, None]) * -100.0


class SwinLayer(nn.Module):
    """A block, a shifted block, and a convolution with ReLU, of maps [B, H, W, C]."""

    def __init__(self, width: int, grid: int, heads: int, window: int, hidden: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(width, grid, heads, window, hidden, shift) for shift in (0, window // 2)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] of x [B, H, W, C]."""
        for block in self.blocks:
            x = block(x)
        return F.relu(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


class Swin(nn.Module):
    """Two layers, each added to its input times `scale`, of maps [B, C, H, W]."""

    def __init__(self, width: int, grid: int, heads: int, window: int, hidden: int, scale: float):
        super().__init__()
        self.scale = scale
        self.layers = nn.ModuleList(SwinLayer(width, grid, heads, window, hidden) for _ in range(2))
        self.downsample = nn.Conv2d(width, width, 3, stride=2, padding=1)  # never reached

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] of x [B, C, H, W]."""
        x = x.permute(0, 2, 3, 1)
        for layer in self.layers:
            x = x + self.scale * layer(x)
        return x.permute(0, 3, 1, 2)


class ManiqaNetwork(nn.Module):
    """[B] scores of normalised crops [B, 3, side, side].

    The defaults are the published network (135.75 M parameters). `scale` weights the Swin layers
    and is not in the file: the number depends on it. `side / patch` is a multiple of `window`, and
    larger.
    """

    def __init__(
        self,
        scale: float,
        side: int = 224,
        patch: int = 8,
        width: int = 768,
        heads: int = 12,
        depth: int = 12,
        classes: int = 1000,
        window: int = 4,
        swin_heads: int = 4,
        swin_hidden: int = 768,
    ):
        super().__init__()
        grid, half = side // patch, width // 2
        swin = dict(grid=grid, heads=swin_heads, window=window, hidden=swin_hidden, scale=scale)
        self.side, self.grid = side, grid
        self.vit = ViT(side, patch, width, heads, depth, classes)
        self.tablock1, self.tablock2 = (
            nn.ModuleList(ChannelAttention(grid**2) for _ in range(2)) for _ in range(2)
        )
        self.conv1, self.conv2 = nn.Conv2d(len(TAPS) * width, width, 1), nn.Conv2d(width, half, 1)
        self.swintransformer1, self.swintransformer2 = Swin(width, **swin), Swin(half, **swin)
        # Identity in place of the published network's dropout: the names count it
        self.fc_score = nn.Sequential(
            nn.Linear(half, half), nn.ReLU(), nn.Identity(), nn.Linear(half, 1), nn.ReLU()
        )
        self.fc_weight = nn.Sequential(
            nn.Linear(half, half), nn.ReLU(), nn.Identity(), nn.Linear(half, 1), nn.Sigmoid()
        )

    def forward(self, crops: Tensor) -> Tensor:
        """[B] of crops [B, 3, side, side]."""
        x = self.vit(crops).transpose(1, 2)
        x = self._stage(x, self.tablock1, self.conv1, self.swintransformer1)
        tokens = self._stage(x, self.tablock2, self.conv2, self.swintransformer2).transpose(1, 2)
        score, weight = self.fc_score(tokens), self.fc_weight(tokens)
        return ((score * weight).sum(1) / weight.sum(1))[:, 0]

    def _stage(self, x: Tensor, attention: nn.ModuleList, conv: nn.Conv2d, swin: Swin) -> Tensor:
        for block in attention:
            x = block(x)
        return swin(conv(x.unflatten(2, (self.grid, self.grid)))).flatten(2)
