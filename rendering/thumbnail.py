"""A result's ``preview.png``, small, for the page and the sheet. A file that is no picture any more costs a picture there,
not the summary of a night."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

UNREADABLE = "no preview"
LARGEST = 1024
"""Pixels along a side; acetate's own previews have 192."""


def thumbnail(preview: Path, side: int) -> Image.Image | None:
    """RGBA, at most ``side`` pixels along each side; None where ``preview`` is missing, is no PNG or is enormous."""
    try:
        with Image.open(preview, formats=["PNG"]) as image:
            if max(image.size) > LARGEST:
                return None
            small = image.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all that Pillow raises
        return None
    small.thumbnail((side, side))
    return small
