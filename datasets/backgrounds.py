"""Backgrounds of many scenes at once, one batch a kind: flat, gradients, patterns and soft noise, as torch tensors.

Every pixel mixes a scene's two colours; a kind says by how much. This module knows nothing of objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .pack import PackedScenes


def draw_backgrounds(packed: PackedScenes, out: Tensor) -> None:
    """Fill ``out`` (B, 3, H, W), float32, with the scenes' opaque backgrounds, RGB in [0,1]."""
    device, (height, width) = out.device, out.shape[-2:]
    short = min(height, width)
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5 - width / 2) / short + 0.5
    y = ((torch.arange(height, device=device, dtype=torch.float32) + 0.5 - height / 2) / short + 0.5)[:, None]
    for kind, members in packed.kinds.items():
        first, second = torch.from_numpy(packed.colours[members]).to(device)[..., None, None].unbind(1)
        if kind in packed.noise:
            mix = _noise(packed.noise[kind], height, width, device)
        else:
            mix = _pattern(kind, packed.angle[members], packed.frequency[members], x, y, short)
        mix = mix.clamp_(0, 1)[:, None]
        out[torch.from_numpy(members).to(device)] = ((second - first) * mix).add_(first)


def _pattern(kind: str, angle: np.ndarray, frequency: np.ndarray, x: Tensor, y: Tensor, short: int) -> Tensor:
    """How much of the second colour shows (n, H, W); may leave [0,1]. ``x`` (W,) and ``y`` (H, 1) are about 0..1."""

    def each(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(x.device)[:, None, None]

    count = len(angle)
    if kind == "flat":
        return torch.zeros(count, y.shape[0], x.shape[0], device=x.device)
    if kind == "checks":
        n = each(np.maximum(2, np.round(frequency)))
        return ((x * n).floor() + (y * n).floor()).remainder_(2)
    if kind == "dots":
        n = each(np.maximum(3, np.round(frequency)))
        distance = torch.hypot((x * n) % 1 - 0.5, (y * n) % 1 - 0.5).sub_(0.3)
        return distance.mul_(-short).div_(n)
    if kind == "glow":
        return torch.hypot((x - 0.3) - each(0.4 * np.cos(angle) ** 2), y - 0.5).mul_(1.3)
    along = (x - 0.5) * each(np.cos(angle)) + (y - 0.5) * each(np.sin(angle))
    if kind == "gradient":
        return along.add_(0.6).div_(1.2)
    if kind != "stripes":
        raise ValueError(f"no background of kind {kind!r}")
    return along.mul_(each(frequency)).mul_(2).mul_(np.pi).sin_().mul_(4).tanh_().mul_(0.5).add_(0.5)


def _noise(octaves: Sequence[np.ndarray], height: int, width: int, device: torch.device) -> Tensor:
    """Sum of smoothly enlarged grids, each finer and weaker by 0.6 than the one before: (n, H, W), more contrast."""
    total = torch.zeros(len(octaves[0]), height, width, device=device)
    for octave, grid in enumerate(octaves):
        coarse = torch.from_numpy(grid).to(device)[:, None]
        fine = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[:, 0]
        total += fine * 0.6**octave
    weight = sum(0.6**octave for octave in range(len(octaves)))
    return total.div_(weight).sub_(0.5).mul_(1.8).add_(0.5).clamp_(0, 1)
