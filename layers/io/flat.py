"""Flat pictures: the visible stack as PNG, WebP or TIFF, lossless, with profile, resolution and
provenance.
"""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from ...errors import InputError
from ..composite import flatten_array
from ..document import LayeredImage
from . import colour as cms
from .png import encode_png
from .tiff import write_tiff
from .xmp import xmp_packet

_WEBP_SIDE = 16_383


def _facts(doc: LayeredImage) -> bytes:
    return xmp_packet({"format": "acetate", "version": 1, "metadata": doc.metadata})


def write_png(doc: LayeredImage, file: BinaryIO) -> None:
    """The flattened document as an RGBA PNG of the document's depth; colour under alpha 0 is black."""
    data = encode_png(flatten_array(doc), dpi=doc.dpi, icc=doc.icc, xmp=_facts(doc))
    file.write(data)


def write_tiff_picture(doc: LayeredImage, file: BinaryIO) -> None:
    """The flattened document as an RGBA TIFF (deflate, straight alpha) of the document's depth."""
    icc = doc.icc if doc.icc is not None else cms.srgb_profile()
    write_tiff(flatten_array(doc), file, dpi=doc.dpi, icc=icc, xmp=_facts(doc))


def write_webp(doc: LayeredImage, file: BinaryIO) -> None:
    """The flattened document as lossless WebP; InputError for 16 bit or sides above 16383, which it cannot
    hold.
    """
    if doc.depth == 16:
        raise InputError("WebP holds 8 bits per channel and this document has 16: save it as PNG or TIFF")
    if max(doc.width, doc.height) > _WEBP_SIDE:
        raise InputError(
            f"WebP ends at {_WEBP_SIDE} pixels a side and this document is {doc.width} x {doc.height}: "
            "save it as PNG"
        )
    icc = doc.icc if doc.icc is not None else cms.srgb_profile()
    image = Image.fromarray(flatten_array(doc), "RGBA")
    image.save(
        file, "WEBP", lossless=True, exact=True, quality=60, method=4, icc_profile=icc, xmp=_facts(doc)
    )
