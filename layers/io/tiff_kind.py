"""Says in words what a TIFF holds that Pillow does not read, so that the refusal names it.

Only tags are looked at, never pixels.
"""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

from PIL import TiffImagePlugin

_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PHOTOMETRIC = {
    0: "grey where white is zero",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    9: "Lab",
    10: "Lab",
    32803: "raw camera",
    32844: "LogL",
    32845: "LogLuv",
    34892: "raw camera",
}
_COLOURS = {"grey": 1, "grey where white is zero": 1, "palette": 1, "RGB": 3, "YCbCr": 3, "Lab": 3, "CMYK": 4}
_FORMATS = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}


def tiff_kind(file: BinaryIO) -> str | None:
    """What the first picture of the TIFF in ``file`` is ("16-bit grey with alpha"), as far as its tags can be read: "" if
    not at all; None for what is no TIFF.
    """
    file.seek(0)
    head = file.read(8)
    if head[:4] not in _HEADS:
        return None
    if b"+" in head[:4]:
        return "BigTIFF"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _words(_tags(file, head))
    except (
        Exception
    ):  # damaged tags raise a dozen types (see limits.reading); the caller refuses the file in any case
        return ""


def _tags(file: BinaryIO, head: bytes) -> Any:
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _words(tags: Any) -> str:
    bits, colour = _first(tags.get(258, 1)), _PHOTOMETRIC.get(tags[262], "unknown")
    sample = _FORMATS.get(_first(tags.get(339, 1)), "")
    samples = tags.get(277, 1)
    extra = samples - _COLOURS.get(colour, samples)
    more = "" if extra < 1 else " with alpha" if extra == 1 else f" with {extra} more channels"
    return f"{bits}-bit {sample}{colour}{more}"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value
