"""Backgrounds of many scenes at once, one batch a kind: flat, gradients, patterns and soft noise, as torch tensors.

Every pixel mixes a scene's two colours; a kind says by how much. A vignette darkens what was mixed. This module knows
nothing of objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .pack import NOISE_OCTAVES, PackedScenes
from .scenes import BACKGROUNDS
from .shading import middles


def background_arrays(packed: PackedScenes) -> dict[str, np.ndarray]:
    """What :func:`draw_backgrounds` needs on its device, by names that begin with the kind of background."""
    arrays: dict[str, np.ndarray] = {}
    for kind, members in packed.kinds.items():
        angle, frequency = packed.angle[members], packed.frequency[members]
        arrays[f"{kind}.scenes"], arrays[f"{kind}.colours"] = members, packed.colours[members]
        # The numbers of a pattern, rounded once and here: number of cells, place of the glow, direction and stripes.
        least = {"checks": 2, "dots": 3}.get(kind)
        cells = frequency if least is None else np.maximum(least, np.round(frequency))
        numbers = (np.cos(angle), np.sin(angle), 0.4 * np.cos(angle) ** 2, cells)
        arrays[f"{kind}.numbers"] = np.stack(numbers, 1).astype(np.float32)
        for octave, grid in enumerate(packed.noise.get(kind, ())):
            arrays[f"{kind}.noise{octave}"] = grid
    if (dark := np.flatnonzero(packed.vignette[:, 0])).size:
        arrays["vignette.scenes"], arrays["vignette.numbers"] = dark, packed.vignette[dark]
    return arrays


def draw_backgrounds(sent: Mapping[str, Tensor], out: Tensor) -> None:
    """Fill ``out`` (B, 3, H, W), float32, with opaque backgrounds, RGB in [0,1]; ``sent``: of :func:`background_arrays`."""
    device, (height, width) = out.device, out.shape[-2:]
    short = min(height, width)
    x = (middles(width, device) - width / 2) / short + 0.5
    y = ((middles(height, device) - height / 2) / short + 0.5)[:, None]
    for kind in BACKGROUNDS:
        if (members := sent.get(f"{kind}.scenes")) is None:
            continue
        first, second = sent[f"{kind}.colours"][..., None, None].unbind(1)
        if kind in NOISE_OCTAVES:
            mix = _noise([sent[f"{kind}.noise{k}"] for k in range(NOISE_OCTAVES[kind])], height, width)
        else:
            mix = _pattern(kind, sent[f"{kind}.numbers"], x, y, short)
        mix = mix.clamp_(0, 1)[:, None]
        out[members] = ((second - first) * mix).add_(first)
    if (dark := sent.get("vignette.scenes")) is not None:
        out[dark] *= _vignette(sent["vignette.numbers"], height, width)


def _vignette(numbers: Tensor, height: int, width: int) -> Tensor:
    """Factors (n, 1, H, W): 1 in the middle, 1 - strength at the outer corners of the corner pixels."""
    strength, power = numbers[:, :, None, None, None].unbind(1)
    x = middles(width, numbers.device) / width - 0.5
    y = (middles(height, numbers.device) / height - 0.5)[:, None]
    return 1 - strength * (2 * (x * x + y * y)).pow(power / 2)


def _pattern(kind: str, numbers: Tensor, x: Tensor, y: Tensor, short: int) -> Tensor:
    """How much of the second colour shows (n, H, W); may leave [0,1]. ``x`` (W,) and ``y`` (H, 1) are about 0..1."""
    cos, sin, place, n = numbers[:, :, None, None].unbind(1)
    if kind == "flat":
        return torch.zeros(len(numbers), y.shape[0], x.shape[0], device=x.device)
    if kind == "checks":
        return ((x * n).floor() + (y * n).floor()).remainder_(2)
    if kind == "dots":
        distance = torch.hypot((x * n) % 1 - 0.5, (y * n) % 1 - 0.5).sub_(0.3)
        return distance.mul_(-short).div_(n)
    if kind == "glow":
        return torch.hypot((x - 0.3) - place, y - 0.5).mul_(1.3)
    along = (x - 0.5) * cos + (y - 0.5) * sin
    if kind == "gradient":
        return along.add_(0.6).div_(1.2)
    if kind != "stripes":
        raise ValueError(f"no background of kind {kind!r}")
    return along.mul_(n).mul_(2).mul_(np.pi).sin_().mul_(4).tanh_().mul_(0.5).add_(0.5)


def _noise(octaves: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Sum of smoothly enlarged grids, each finer and weaker by 0.6 than the one before: (n, H, W), more contrast."""
    total = torch.zeros(len(octaves[0]), height, width, device=octaves[0].device)
    for octave, grid in enumerate(octaves):
        fine = F.interpolate(grid[:, None], size=(height, width), mode="bicubic", align_corners=False)[:, 0]
        total += fine * 0.6**octave
    weight = sum(0.6**octave for octave in range(len(octaves)))
    return total.div_(weight).sub_(0.5).mul_(1.8).add_(0.5).clamp_(0, 1)
