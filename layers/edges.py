"""Edges of cut-out layers: colours under transparency, and fringes of the old background.

Viewers that resample an image mix in the colours under alpha 0; filling them from the surroundings keeps
black and white fringes away. This module knows only arrays, (h, w, 4) straight RGBA of any accepted dtype.
"""

from __future__ import annotations

import numpy as np

from .composite import to_float
from .resample import like

SOLID = 0.95
"""From this alpha on a pixel's colour is taken to be the object's own."""


def pad_colours(pixels: np.ndarray) -> np.ndarray:
    """The image with the colours under alpha 0 filled from their surroundings; alpha and visible colours
    stay exact.

    Push-pull: visible colours are averaged into ever coarser images until nothing is empty, then each empty
    pixel takes the colour of the finest level that has one. A fully transparent image is returned as it is.
    """
    empty = np.asarray(pixels[..., 3]) == 0
    if not empty.any() or empty.all():
        return np.asarray(pixels)
    weight = (~empty).astype(np.float32)
    filled = _push_pull(to_float(pixels[..., :3]) * weight[..., None], weight)
    result = np.array(pixels)
    result[empty, :3] = like(filled[empty], pixels.dtype)
    return result


def _push_pull(color: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted colour sums (h, w, 3) and weights (h, w), both 0 where unknown, as colours known
    everywhere."""
    height, width = weight.shape
    known = weight > 0
    straight = color / np.where(known, weight, 1)[..., None]
    if known.all() or height == width == 1:
        return straight
    pad = ((0, height % 2), (0, width % 2))
    color, padded = np.pad(color, (*pad, (0, 0))), np.pad(weight, pad)
    half = color.reshape(color.shape[0] // 2, 2, color.shape[1] // 2, 2, 3).sum(axis=(1, 3))
    half_weight = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).sum(axis=(1, 3))
    # Weights are kept in [0, 1]: a coarse pixel counts once, however many fine ones it was made of.
    scale = np.where(half_weight > 1, half_weight, 1)
    coarse = _push_pull(half / scale[..., None], half_weight / scale)
    larger = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(known[..., None], straight, larger)


def defringe(pixels: np.ndarray, radius: float = 4.0, solid: float = SOLID) -> np.ndarray:
    """The image with the colour of its soft edge pixels replaced by the nearest solid colour; alpha stays.

    ``radius``: how far, in pixels, a solid pixel (alpha >= ``solid``) may be; soft pixels further away keep
    their colour, so glass and smoke are left alone.
    """
    from scipy.ndimage import distance_transform_edt

    alpha = to_float(pixels[..., 3])
    soft = (alpha > 0) & (alpha < solid)
    if not soft.any() or not (alpha >= solid).any():
        return np.asarray(pixels)
    distance, (rows, columns) = distance_transform_edt(alpha < solid, return_indices=True)
    chosen = soft & (distance <= radius)
    result = np.array(pixels)
    result[chosen, :3] = np.asarray(pixels)[rows[chosen], columns[chosen], :3]
    return result


def decontaminate(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The foreground colours of an image whose colours still hold a known background; alpha stays.

    Solves I = a F + (1 - a) B for F, clipped to the range; pixels of alpha 0 are padded. ``background``:
    (h, w, 3) or (h, w, 4) of any accepted dtype, its alpha ignored.
    """
    alpha = to_float(pixels[..., 3])[..., None]
    seen = np.where(alpha > 0, alpha, 1)
    foreground = (to_float(pixels[..., :3]) - (1 - alpha) * to_float(background[..., :3])) / seen
    result = np.array(pixels)
    result[..., :3] = like(foreground, pixels.dtype)
    return pad_colours(result)


def fringe(pixels: np.ndarray, radius: float = 4.0, solid: float = SOLID) -> float:
    """How far, on average, soft edge pixels differ in colour from the nearest solid one: 0 (no fringe) to 1.

    The mean absolute difference over channels, weighted by a (1 - a), of pixels within ``radius`` of a
    solid one.
    """
    from scipy.ndimage import distance_transform_edt

    alpha = to_float(pixels[..., 3])
    if not (alpha >= solid).any():
        return 0.0
    distance, (rows, columns) = distance_transform_edt(alpha < solid, return_indices=True)
    weight = np.where((alpha > 0) & (alpha < solid) & (distance <= radius), alpha * (1 - alpha), 0)
    total = float(weight.sum())
    if total == 0:
        return 0.0
    color = to_float(pixels[..., :3])
    difference = np.abs(color - color[rows, columns]).mean(axis=2)
    return float((difference * weight).sum()) / total
