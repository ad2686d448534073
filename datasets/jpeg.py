"""What JPEG does to many pictures at once, with torch on the pictures' own device; no file is made.

Follows the baseline codec of libjpeg, which Pillow uses, step by step: the tables of ITU-T T.81 annex K scaled by quality,
levels rounded where it rounds, chroma halved by averaging and enlarged by its triangle filter. Coefficients are computed in
float64, so that they are the same whatever the precision of a training loop's products.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .transfer import send

LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99])  # fmt: skip
CHROMINANCE = np.full((8, 8), 99)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_TIE = 1e-9
PICTURES = 128
"""How many pictures are worked on at once: bounds the memory of the float64 blocks."""


def quantisation(quality: np.ndarray) -> np.ndarray:
    """Steps of luminance and chrominance, float64 (n, 2, 64), for qualities (n,) from 1 to 100 as libjpeg counts them."""
    quality = np.asarray(quality, np.int64)[:, None, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables = np.stack([LUMINANCE, CHROMINANCE.reshape(-1)])
    return np.clip((tables * scale + 50) // 100, 1, 255).astype(np.float64)


def compress(levels: Tensor, quality: np.ndarray, *, halved: bool) -> Tensor:
    """(n, 3, H, W) float32 RGB in whole levels 0..255, as it comes back from JPEG files of ``quality`` (n,), on the same
    device and in whole levels; ``halved``: 4:2:0, else 4:4:4."""
    tables = send({"tables": quantisation(quality)}, levels.device)["tables"]
    parts = zip(levels.split(PICTURES), tables.split(PICTURES), strict=True)
    return torch.cat([_compress(part, steps, halved) for part, steps in parts])


def _compress(levels: Tensor, steps: Tensor, halved: bool) -> Tensor:
    height, width = levels.shape[-2:]
    # Blocks are filled up by repeating the last column before chroma is halved, and the last row of what came of it.
    unit = 16 if halved else 8
    padded = F.pad(levels, (0, -width % unit, 0, height % 2 if halved else 0), mode="replicate")
    red, green, blue = padded.unbind(1)
    luma = _rounded(0.299 * red + 0.587 * green + 0.114 * blue)
    chroma = torch.stack([-0.168735892 * red - 0.331264108 * green + 0.5 * blue,
                          0.5 * red - 0.418687589 * green - 0.081312411 * blue], 1)  # fmt: skip
    chroma = _rounded(chroma + 128, 0.5 - 2**-14)  # halves go down here
    if halved:
        chroma = _rounded(F.avg_pool2d(chroma, 2), _turns(0.25, 0.5, padded.shape[-1] // 2, levels.device))
    luma = _there_and_back(luma[:, None], steps[:, :1])[..., :height, :width]
    chroma = _there_and_back(chroma, steps[:, 1:])
    if halved:
        chroma = chroma[..., : -(-height // 2), : -(-width // 2)]
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
        chroma = _rounded(chroma, _turns(0.5, 7 / 16, chroma.shape[-1], levels.device))
    luma, (blueness, redness) = luma[:, 0], (chroma[..., :height, :width] - 128).unbind(1)
    rgb = (
        luma + 1.402 * redness,
        luma - 0.344136286 * blueness - 0.714136286 * redness,
        luma + 1.772 * blueness,
    )
    return _rounded(torch.stack(rgb, 1)).clamp_(0, 255)


def _rounded(values: Tensor, up: Tensor | float = 0.5) -> Tensor:
    """Whole numbers, upwards from a fraction of 1 - ``up``."""
    return (values + up).floor_()


@lru_cache(maxsize=64)
def _turns(first: float, second: float, count: int, device: torch.device) -> Tensor:
    """Two numbers in turn, (count,): libjpeg rounds neighbouring columns differently."""
    return first + (second - first) * (torch.arange(count, device=device) % 2)


def _there_and_back(planes: Tensor, steps: Tensor) -> Tensor:
    """(n, c, H, W), W a multiple of 8, cut into blocks, transformed, rounded to multiples of ``steps`` (n, 1, 64); H is
    filled up to a multiple of 8."""
    planes = F.pad(planes, (0, 0, 0, -planes.shape[2] % 8), mode="replicate")
    count, channels, height, width = planes.shape
    basis = _basis(planes.device)
    blocks = planes.double().sub_(128).view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = blocks.reshape(count, -1, 64) @ basis.T
    # Halves go away from zero; the transform of whole levels hits them exactly, give or take its own rounding.
    whole = coefficients.div_(steps).add_(coefficients.sign() * (0.5 + _TIE)).trunc_()
    restored = whole.mul_(steps) @ basis
    restored = restored.view(count, channels, height // 8, width // 8, 8, 8).transpose(3, 4)
    return restored.reshape(count, channels, height, width).add_(128.5 + _TIE).floor_().clamp_(0, 255).float()


@lru_cache(maxsize=8)
def _basis(device: torch.device) -> Tensor:
    """(64, 64) float64, orthonormal: the two-dimensional discrete cosine transform of a block in row order."""
    frequency, place = np.mgrid[0:8, 0:8]
    line = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency == 0, np.sqrt(1 / 8), 0.5)
    return send({"basis": np.kron(line, line)}, device)["basis"]
