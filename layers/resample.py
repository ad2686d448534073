"""Resampling of straight RGBA: always on premultiplied values, so that no colour bleeds out of transparent
pixels.

Filters are Pillow's on 32-bit float planes: antialiased when shrinking; a constant image stays constant.
This module knows only arrays; where a resampled layer lies is the business of the edits and of
``upsample.py``.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import InputError
from .composite import quantise, to_float

MARGIN = 3
"""Transparent pixels put around an image before it is turned, so that its borders fade like any other
edge."""


def like(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float values in [0, 1] (clipped) in the dtype of the source."""
    if dtype == np.float32:
        return np.clip(values, 0, 1).astype(np.float32, copy=False)
    return quantise(values, 8 if dtype == np.uint8 else 16)


def resize_plane(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A (h, w) plane of any accepted dtype resized to ``size`` (width, height), bicubic, antialiased, same
    dtype."""
    return like(_resized(to_float(plane), size), plane.dtype)


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Straight RGBA (h, w, 4) resized to ``size`` (width, height) on premultiplied values, same dtype.

    Where the result is transparent the colours are resized without weights, so that padded colours survive.
    Raises InputError for an empty size.
    """
    if size[0] < 1 or size[1] < 1:
        raise InputError(f"A size of {size[0]}x{size[1]} pixels is empty; use at least 1x1.")
    if (pixels.shape[1], pixels.shape[0]) == tuple(size):
        return np.asarray(pixels)
    return _each_plane(pixels, lambda plane: _resized(plane, size))


def _each_plane(pixels: np.ndarray, resample) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Resample premultiplied planes one by one and put the straight image together again."""
    alpha = to_float(np.ascontiguousarray(pixels[..., 3]))
    fresh = resample(alpha)
    result = np.empty((*fresh.shape, 4), pixels.dtype)
    result[..., 3] = like(fresh, pixels.dtype)
    # Below half a level of 16 bit there is no colour to recover from the quotient.
    seen = fresh > 0.5 / 65535
    divisor = np.where(seen, fresh, np.float32(1))
    opaque = bool(alpha.min() >= 1)
    for channel in range(3):
        plane = to_float(np.ascontiguousarray(pixels[..., channel]))
        unweighted = resample(plane) if opaque or not seen.all() else None
        if opaque and seen.all() and unweighted is not None and fresh.min() >= 1 - 1e-6:
            result[..., channel] = like(unweighted, pixels.dtype)
            continue
        weighted = resample(plane * alpha) / divisor
        result[..., channel] = like(
            weighted if unweighted is None else np.where(seen, weighted, unweighted), pixels.dtype
        )
    return result


def quarter_turns(pixels: np.ndarray, turns: int) -> np.ndarray:
    """The image (or mask) turned counter-clockwise by ``turns`` times 90 degrees, exactly."""
    return np.ascontiguousarray(np.rot90(pixels, turns % 4))


def rotate(pixels: np.ndarray, degrees: float) -> tuple[np.ndarray, tuple[float, float]]:
    """The image turned counter-clockwise about its middle, in the smallest box that holds it.

    ``pixels``: (h, w, 4) straight or (h, w). Returns the pixels (same dtype) and by how much (x, y) the top
    left corner moved, in pixels; whole multiples of 90 degrees are exact, others bicubic on premultiplied
    values.
    """
    height, width = pixels.shape[:2]
    if degrees % 90 == 0:
        turned = quarter_turns(pixels, round(degrees / 90))
        return turned, ((width - turned.shape[1]) / 2, (height - turned.shape[0]) / 2)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[cos, sin], [-sin, cos]])
    return affine(pixels, matrix)


def affine(pixels: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """The image under a linear map about its middle (x right, y down), in the smallest box that holds it.

    ``matrix``: (2, 2), invertible, takes source vectors (x, y) to result vectors. Returns as
    :func:`rotate`. Raises InputError for a matrix that flattens the image.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    if abs(float(np.linalg.det(matrix))) < 1e-9:
        raise InputError("The transformation squeezes the layer to nothing; use one with an area.")
    corners = matrix @ np.array([[-width, width, -width, width], [-height, -height, height, height]]) / 2
    # An odd or even surplus keeps the middle of the pixel grid where it was.
    out_w, out_h = (
        _same_parity(2 * float(corners[axis].max()), side) for axis, side in ((0, width), (1, height))
    )
    back = np.linalg.inv(matrix)
    centre = np.array([out_w / 2, out_h / 2])
    shift = np.array([width / 2 + MARGIN, height / 2 + MARGIN]) - back @ centre
    data = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])

    def warp(plane: np.ndarray) -> np.ndarray:
        padded = Image.fromarray(np.pad(plane, MARGIN))
        turned = padded.transform((out_w, out_h), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
        return np.asarray(turned)

    result = like(warp(to_float(pixels)), pixels.dtype) if pixels.ndim == 2 else _each_plane(pixels, warp)
    return result, ((width - out_w) / 2, (height - out_h) / 2)


def _same_parity(extent: float, side: int) -> int:
    """The smallest whole size that holds ``extent`` with an even surplus over ``side``."""
    size = max(1, math.ceil(extent - 1e-6))
    return size + (size - side) % 2
