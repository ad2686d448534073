"""Latents of one frame to tokens and back, as Qwen-Image and FLUX pack them. Shapes only."""

from __future__ import annotations

import torch


def pack_latents(latents: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, c, h, w) -> (B, (h/p)*(w/p), c*p*p), channels in the order (c, row in patch, column in patch)."""
    batch, channels, height, width = latents.shape
    if height % patch or width % patch:
        raise ValueError(f"latents of {height} x {width} do not divide into {patch} x {patch} patches")
    cells = latents.reshape(batch, channels, height // patch, patch, width // patch, patch)
    patches = cells.permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, (height // patch) * (width // patch), channels * patch * patch)


def unpack_latents(tokens: torch.Tensor, height: int, width: int, patch: int) -> torch.Tensor:
    """(B, height*width, c*p*p) -> (B, c, height*p, width*p); the inverse of :func:`pack_latents`."""
    batch, count, channels = tokens.shape
    if count != height * width:
        raise ValueError(f"{count} tokens are not a grid of {height} x {width}")
    patches = tokens.reshape(batch, height, width, channels // patch**2, patch, patch).permute(
        0, 3, 1, 4, 2, 5
    )
    return patches.reshape(batch, channels // patch**2, height * patch, width * patch)
