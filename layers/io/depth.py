"""Pixel depths: whole arrays or slices to 8 or 16 bit, and the box of what is visible.

Knows nothing of colour or files. Rounding is half up, once.
"""

from __future__ import annotations

import numpy as np

_BAND = 1 << 22


def to_depth(pixels: np.ndarray, depth: int) -> np.ndarray:
    """uint8 (depth 8) or uint16 (depth 16) of uint8, uint16 or float32 [0, 1] values; the input itself if it
    fits.
    """
    target = np.dtype(np.uint8 if depth == 8 else np.uint16)
    if pixels.dtype == target:
        return pixels
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    out = np.empty(pixels.shape, target)
    top = np.float32(255 if depth == 8 else 65535)
    rows = max(1, _BAND // max(1, pixels[0].size))
    for start in range(0, pixels.shape[0], rows):
        band = np.clip(pixels[start : start + rows], 0, 1) * top
        out[start : start + rows] = np.floor(band + np.float32(0.5))
    return out


def stored_depth(pixels: np.ndarray, depth: int) -> int:
    """Bits that keep ``pixels`` exactly: their own for integers, the document's ``depth`` for floats."""
    return depth if pixels.dtype == np.float32 else pixels.dtype.itemsize * 8


def visible_box(alpha: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) around all non-zero values of an H x W array; None if there are none."""
    rows = np.flatnonzero(alpha.any(axis=1))
    if not rows.size:
        return None
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(alpha[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1
