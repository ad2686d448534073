"""Smooth colour for what is hidden: a gentle surface through all known pixels, and what that leaves filled in from near by.

The surface is a quadratic in x and y, so that a gradient goes on where only one side of it is known; the rest is the
push-pull pyramid of Gortler et al. (SIGGRAPH 1996), then a few rounds of relaxation. Good for flat walls, gradients and
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
    surface = _surface(colour, known)
    rest, weight = colour - surface, known.astype(np.float32)[..., None]
    filled = _pull(rest * weight, weight)
    for _ in range(RELAXATIONS):
        smooth = np.stack(
            [uniform_filter(plane, 3, mode="nearest") for plane in np.moveaxis(filled, -1, 0)], -1
        )
        filled = np.where(known[..., None], rest, smooth)
    low, high = colour[known].min(0), colour[known].max(0)
    return np.where(known[..., None], colour, np.clip(filled + surface, low, high))


def _surface(colour: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The quadratic in x and y that is nearest to the known pixels, everywhere, (H, W, C)."""
    height, width = known.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = 2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    here = basis[known].astype(np.float64)
    # A little damping keeps the curved terms from running away where few pixels are known.
    damping = np.diag([0, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3]) * len(here)
    weights = np.linalg.solve(
        here.T @ here + damping + 1e-9 * np.eye(6), here.T @ colour[known].astype(np.float64)
    )
    return (basis @ weights.astype(np.float32)).astype(np.float32)


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
