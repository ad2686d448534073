"""A small TIFF writer: one straight RGBA picture, 8 or 16 bit, deflate, the same bytes for the same pixels.

Pillow writes no 16-bit colour TIFF. Unassociated alpha is marked as such, so readers do not un-premultiply.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from ...errors import InputError

_SHORT, _LONG, _RATIONAL, _BYTE, _UNDEFINED = 3, 4, 5, 1, 7
_SIZES = {_SHORT: 2, _LONG: 4, _RATIONAL: 8, _BYTE: 1, _UNDEFINED: 1}
_DEFLATE, _RGB, _UNASSOCIATED, _INCHES = 8, 2, 2, 2
_STRIP_BYTES = 1 << 20


def write_tiff(pixels: np.ndarray, file: BinaryIO, *, dpi: float, icc: bytes, xmp: bytes) -> None:
    """Write H x W x 4 uint8 or uint16 pixels, a colour profile and an XMP packet to an open binary file."""
    height, width = pixels.shape[:2]
    rows = max(1, _STRIP_BYTES // pixels[0].nbytes)
    file.write(b"II*\0" + bytes(4))
    offsets, counts = [], []
    for top in range(0, height, rows):
        strip = zlib.compress(np.ascontiguousarray(pixels[top : top + rows]).tobytes(), 6)
        offsets.append(file.tell())
        counts.append(len(strip))
        file.write(strip + bytes(len(strip) % 2))
    if file.tell() > 0xFFFFFFF0:
        raise InputError("the picture takes more than 4 GiB, too much for TIFF: save it as PNG")
    resolution = struct.pack("<2I", round(min(max(dpi, 0.01), 65535.0) * 10_000), 10_000)
    tags = [
        (256, _LONG, struct.pack("<I", width)),
        (257, _LONG, struct.pack("<I", height)),
        (258, _SHORT, struct.pack("<4H", *[pixels.dtype.itemsize * 8] * 4)),
        (259, _SHORT, struct.pack("<H", _DEFLATE)),
        (262, _SHORT, struct.pack("<H", _RGB)),
        (273, _LONG, struct.pack(f"<{len(offsets)}I", *offsets)),
        (277, _SHORT, struct.pack("<H", 4)),
        (278, _LONG, struct.pack("<I", rows)),
        (279, _LONG, struct.pack(f"<{len(counts)}I", *counts)),
        (282, _RATIONAL, resolution),
        (283, _RATIONAL, resolution),
        (296, _SHORT, struct.pack("<H", _INCHES)),
        (338, _SHORT, struct.pack("<H", _UNASSOCIATED)),
        (700, _BYTE, xmp),
        (34675, _UNDEFINED, icc),
    ]
    _write_directory(tags, file)


def _write_directory(tags: list[tuple[int, int, bytes]], file: BinaryIO) -> None:
    entries = []
    for number, kind, data in tags:
        if len(data) > 4:
            place = file.tell()
            file.write(data + bytes(len(data) % 2))
            value = struct.pack("<I", place)
        else:
            value = data.ljust(4, b"\0")
        entries.append(struct.pack("<2HI", number, kind, len(data) // _SIZES[kind]) + value)
    start = file.tell()
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", start))
    file.seek(0, 2)
