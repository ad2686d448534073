"""One channel of a PSD: plane of numbers <-> compressed bytes.

The codecs are psd-tools'; this module picks the compression, and decodes strictly: psd-tools replaces a
damaged channel by black and carries on, here damage is an error that names the layer.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from psd_tools.compression import decode_prediction, decode_rle, encode_rle
from psd_tools.constants import Compression

from ...errors import InputError


def encode_plane(plane: np.ndarray, version: int) -> bytes:
    """An H x W uint8 or uint16 plane as a PSD channel: two bytes of compression tag, then the RLE data.

    RLE also for 16 bit, though it hardly shrinks it: Krita 5.1 misreads ZIP with prediction. ``version`` 2
    (PSB) widens the row table.
    """
    height, width = plane.shape
    if not plane.size:
        return struct.pack(">H", Compression.RAW)
    depth = plane.dtype.itemsize * 8
    data = np.ascontiguousarray(plane, plane.dtype.newbyteorder(">")).tobytes()
    return struct.pack(">H", Compression.RLE) + encode_rle(data, width, height, depth, version)


def decode_plane(
    data: bytes, compression: Compression, width: int, height: int, depth: int, version: int, what: str
) -> np.ndarray:
    """The H x W plane (uint8 or native uint16) of one channel; InputError if the bytes do not fill it
    exactly.
    """
    size = width * height * depth // 8
    if compression == Compression.RAW:
        raw = data[:size]
    elif compression == Compression.RLE:
        raw = _decode_rle(data, width, height, depth, version, what)
    else:
        raw = _inflate(data, size, what)
        if compression == Compression.ZIP_WITH_PREDICTION and len(raw) == size:
            raw = decode_prediction(raw, width, height, depth)
    if len(raw) != size:
        raise InputError(
            f"{what} is cut short ({len(raw)} of {size} bytes): save the file again from its program"
        )
    plane = np.frombuffer(raw, np.uint8 if depth == 8 else np.dtype(">u2")).reshape(height, width)
    return plane if depth == 8 else plane.astype(np.uint16)


def _decode_rle(data: bytes, width: int, height: int, depth: int, version: int, what: str) -> bytes:
    if rle_size(data, height, version) > len(data):
        raise InputError(
            f"{what} is cut short (its rows end after the file): save the file again from its program"
        )
    return decode_rle(data, width, height, depth, version)


def rle_size(data: bytes, rows: int, version: int) -> int:
    """Bytes that RLE data of so many rows claims to have, its row table included; beyond any file if it has
    no table.
    """
    entry = 2 if version == 1 else 4
    if len(data) < rows * entry:
        return 1 << 62
    counts = np.frombuffer(data, ">u2" if version == 1 else ">u4", count=rows)
    return rows * entry + int(counts.sum(dtype=np.int64))


def _inflate(data: bytes, size: int, what: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size)
    except zlib.error as error:
        raise InputError(f"{what} is damaged ({error}): save the file again from its program") from error
    if stream.unconsumed_tail and stream.decompress(stream.unconsumed_tail, 1):
        raise InputError(f"{what} unpacks to more than its size says: the file is damaged or hostile")
    return raw
