"""A small PNG encoder: 8 and 16 bit, grey or RGBA, straight alpha, the same bytes for the same pixels.

Pillow writes no 16-bit colour and its filter choice may change between versions; this one is deterministic,
exact (colour under alpha 0 is kept) and streams row bands. Reading PNG is the business of ``picture.py``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_BAND_BYTES = 1 << 22
_CHUNK_BYTES = 1 << 20


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _filtered_rows(pixels: np.ndarray) -> Iterator[bytes]:
    """Rows as PNG stores them: big-endian, each less the row above (filter 2), the first as it is (filter
    0).
    """
    height = pixels.shape[0]
    row_bytes = pixels[0].nbytes
    band_rows = max(1, _BAND_BYTES // max(1, row_bytes))
    above = np.zeros(row_bytes, np.uint8)
    for top in range(0, height, band_rows):
        band = np.ascontiguousarray(pixels[top : top + band_rows])
        if band.dtype == np.uint16:
            band = band.astype(">u2")
        raw = band.view(np.uint8).reshape(band.shape[0], row_bytes)
        out = np.empty((band.shape[0], row_bytes + 1), np.uint8)
        out[:, 0] = 2
        np.subtract(raw[0], above, out=out[0, 1:])
        np.subtract(raw[1:], raw[:-1], out=out[1:, 1:])
        above = raw[-1].copy()
        yield out.tobytes()


def encode_png(
    pixels: np.ndarray,
    *,
    dpi: float | None = None,
    icc: bytes | None = None,
    xmp: bytes | None = None,
    level: int = 4,
) -> bytes:
    """PNG bytes of H x W (grey), H x W x 3 or H x W x 4 (straight RGBA) pixels, uint8 or uint16.

    ``icc`` is embedded as it is; without one, colours are marked as sRGB. ``dpi`` is rounded to pixels per
    metre; ``xmp`` is an XMP packet.
    """
    planes = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype not in (np.uint8, np.uint16) or planes not in _COLOUR_TYPES or pixels.size == 0:
        raise ValueError(f"no PNG for {pixels.dtype} pixels of shape {pixels.shape}")
    height, width = pixels.shape[:2]
    header = struct.pack(">2I5B", width, height, pixels.dtype.itemsize * 8, _COLOUR_TYPES[planes], 0, 0, 0)
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if icc is not None:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 9)))
    elif planes > 1:
        parts.append(_chunk(b"sRGB", b"\0"))
    if dpi is not None:
        per_metre = min(max(round(dpi / 0.0254), 1), 2**31 - 1)
        parts.append(_chunk(b"pHYs", struct.pack(">2IB", per_metre, per_metre, 1)))
    if xmp is not None:
        parts.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    deflate = zlib.compressobj(level)
    pending = bytearray()
    for rows in _filtered_rows(pixels):
        pending += deflate.compress(rows)
        while len(pending) >= _CHUNK_BYTES:
            parts.append(_chunk(b"IDAT", bytes(pending[:_CHUNK_BYTES])))
            del pending[:_CHUNK_BYTES]
    pending += deflate.flush()
    parts.extend((_chunk(b"IDAT", bytes(pending)), _chunk(b"IEND", b"")))
    return b"".join(parts)
