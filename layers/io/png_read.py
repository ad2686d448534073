"""Reads the PNGs inside our own containers, exactly: grey masks and RGBA layers, 8 and 16 bit, size known
beforehand.

Pixels come as they are stored: :func:`png_profile` tells the colour profile, and who carries it for the
document converts. Flat pictures of users go through ``picture.py``.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL import ImageFile, PngImagePlugin

from ...errors import InputError
from .limits import LIMITS, Limits, reading
from .png import SIGNATURE

_HEADER_BYTES = 33


def png_size(data: bytes, what: str) -> tuple[int, int, int, int]:
    """(width, height, bits per channel, colour type) from the header alone; InputError if there is none."""
    if len(data) < _HEADER_BYTES or not data.startswith(SIGNATURE) or data[12:16] != b"IHDR":
        raise InputError(f"{what} is not a PNG file: save the document again")
    width, height, bits, kind = struct.unpack(">2I2B", data[16:26])
    return width, height, bits, kind


def decode_png(
    data: bytes,
    what: str,
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    limits: Limits = LIMITS,
) -> np.ndarray:
    """H x W x 4 (or, if ``grey``, H x W) uint8 or uint16 of a PNG, exactly as stored.

    The header is checked before anything is unpacked: InputError if its size differs from ``size`` (width,
    height), exceeds the limits, or the file is damaged. Layers of other programs may lack alpha or be grey;
    they become RGBA.
    """
    width, height, bits, kind = png_size(data, what)
    if size is not None and (width, height) != size:
        raise InputError(
            f"{what} is {width} x {height} pixels, not {size[0]} x {size[1]}: save the document again"
        )
    limits.check_size(width, height, what)
    if grey and kind != 0:
        raise InputError(f"{what} is not a grey PNG, as a mask must be: save the document again")
    with reading(what, "a PNG picture"):
        image = _open(data)
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"{what} is animated: save the document again")
        if bits == 16 and kind == 6:
            return _both_bytes(image, _open(data))
        if grey:
            return np.asarray(image if bits in (8, 16) else image.convert("L"))
        if bits == 16:
            from .picture import (
                read_picture,
            )  # grey, grey with alpha, RGB: rare, so the general reader will do

            return read_picture(_without_profile(data), limits=limits).pixels
        return np.asarray(image.convert("RGBA"))


def png_profile(file: BinaryIO, what: str) -> bytes | None:
    """The colour profile embedded in the PNG of which ``file`` is the beginning, None where there is none; the pixels are
    not read. InputError for a file that is no PNG, or damaged before its pixels.
    """
    with reading(what, "a PNG picture"):
        profile = PngImagePlugin.PngImageFile(file).info.get("icc_profile")
        return profile if isinstance(profile, bytes) and profile else None


def _without_profile(data: bytes) -> bytes:
    """The same PNG without its colour profile, so that nobody converts its pixels."""
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"iCCP":
            return data[:place] + data[place + 12 + length :]
        if kind == b"IDAT":
            break
        place += 12 + length
    return data


def _open(data: bytes) -> ImageFile.ImageFile:
    # Not Image.open: its size check is a global of Pillow's, ours has been made.
    return PngImagePlugin.PngImageFile(io.BytesIO(data))


def _both_bytes(image: ImageFile.ImageFile, second: ImageFile.ImageFile) -> np.ndarray:
    """High and low bytes, decoded separately because Pillow keeps only 8 of 16 bits (see ``picture.py``)."""
    second.tile = [tile._replace(args=str(tile.args).replace(";16B", ";16L")) for tile in second.tile]
    pixels = np.asarray(image).astype(np.uint16) << 8
    pixels |= np.asarray(second)
    return pixels
