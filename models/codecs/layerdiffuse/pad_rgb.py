"""Colour carried on under transparent pixels (LayerDiffuse, arXiv 2402.17113, supplement: "padded RGB").

With C_l the premultiplied colour and A_l the alpha of level l of a pyramid that shrinks by 1.2,

    F_L = sum C_L / sum A_L,   F_l = C_l + (1 - A_l) up(F_{l+1})

so opaque pixels keep their colour and others get that of their surroundings, smoother the farther they are. A picture
that is transparent everywhere becomes black. Agrees with the published OpenCV code to 1e-6, without OpenCV. Knows tensors.
"""

from __future__ import annotations

import torch

SHRINK = 1.2


def pad_rgb(rgba: torch.Tensor) -> torch.Tensor:
    """(B, 4, H, W) straight RGBA in [0, 1] -> (B, 3, H, W) in [0, 1], any size. Gradients flow."""
    if rgba.ndim != 4 or rgba.shape[1] != 4:
        raise ValueError(f"expected (B, 4, H, W) pixels, got {tuple(rgba.shape)}")
    level = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    pyramid = [level]
    while min(level.shape[-2:]) > 1:
        height, width = (int(size / SHRINK) for size in level.shape[-2:])
        rows, columns = level.shape[-2:]
        level = _area(height, rows, level) @ level @ _area(width, columns, level).T
        pyramid.append(level)
    total = pyramid[-1].sum(dim=(2, 3), keepdim=True)
    padded = total[:, :3] / total[:, 3:].clamp_min(1e-8)
    for level in reversed(pyramid):
        rows, columns = padded.shape[-2:]
        padded = _linear(level.shape[-2], rows, level) @ padded @ _linear(level.shape[-1], columns, level).T
        padded = level[:, :3] + padded * (1 - level[:, 3:])
    return padded


def _area(size: int, cells: int, like: torch.Tensor) -> torch.Tensor:
    """(size, cells): each row averages the part of the cells that one of ``size`` larger ones covers."""
    start = torch.arange(size, dtype=torch.float64)[:, None] * (cells / size)
    cell = torch.arange(cells, dtype=torch.float64)
    covered = (torch.minimum(start + cells / size, cell + 1) - torch.maximum(start, cell)).clamp_min(0)
    return (covered / covered.sum(1, keepdim=True)).to(like)


def _linear(size: int, cells: int, like: torch.Tensor) -> torch.Tensor:
    """(size, cells): each row interpolates between the two cells whose centres are nearest, the edges held."""
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * (cells / size) - 0.5
    cell = torch.arange(cells, dtype=torch.float64)
    return (1 - (centre.clamp(0, cells - 1)[:, None] - cell).abs()).clamp_min(0).to(like)
