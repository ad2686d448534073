"""Smooth colour for what is hidden: known pixels are averaged into ever coarser pictures, and the gaps filled from those.

The push-pull pyramid of Gortler et al. (SIGGRAPH 1996), then a few rounds of relaxation. Good for flat walls, gradients and
soft light; it invents no texture and no pattern. Knows arrays, no layers.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter, zoom

RELAXATIONS = 60


def fill_smoothly(colour: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``colour`` float32 (H, W, C) with every pixel outside ``known`` (H, W) bool replaced; known pixels stay as they are.

    Raises ValueError when nothing is known.
    """
    if not known.any():
        raise ValueError("no pixel is known, so there is nothing to fill from")
    weight = known.astype(np.float32)[..., None]
    filled = _pull(colour * weight, weight)
    for _ in range(RELAXATIONS):
        smooth = np.stack([uniform_filter(plane, 3, mode="nearest") for plane in np.moveaxis(filled, -1, 0)], -1)
        filled = np.where(known[..., None], colour, smooth)
    return filled


def _pull(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The picture behind colours (H, W, C) that were multiplied by ``weight`` (H, W, 1) in [0, 1]."""
    height, width = weight.shape[:2]
    if min(height, width) <= 1 or weight.min() > 0:
        return weighted / np.maximum(weight, 1e-6)
    sums, counts = _halved(weighted), _halved(weight)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1e-6), 0)
    counts = np.minimum(counts, 1)
    coarse = _pull(mean * counts, counts)
    planes = [zoom(plane, 2, order=1, grid_mode=True, mode="nearest") for plane in np.moveaxis(coarse, -1, 0)]
    return weighted + (1 - weight) * np.stack(planes, -1)[:height, :width]


def _halved(values: np.ndarray) -> np.ndarray:
    """Sums over 2 x 2 pixels; an odd side is continued with zeros."""
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    rows = padded[0::2] + padded[1::2]
    return rows[:, 0::2] + rows[:, 1::2]
