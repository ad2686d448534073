"""The table of formats that a document can be saved as, and how a path chooses one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError


class FormatWarning(UserWarning):
    """A file was written, but the format holds something in another form than the document does."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One row: what the format is called, which suffixes choose it, and what of a document it can hold."""

    name: str
    title: str
    suffixes: tuple[str, ...]
    layers: bool = True
    reads: bool = True
    depths: tuple[int, ...] = (8, 16)
    lossless: bool = True
    """Whether everything visible in a document comes back from it unchanged, as layers."""
    holds: str = ""


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            name="psd",
            title="Photoshop",
            suffixes=(".psd",),
            holds="everything; opacities in 255 steps; sides up to 30000 (longer ones become PSB)",
        ),
        Format(
            name="psb",
            title="Photoshop large document",
            suffixes=(".psb",),
            holds="as psd; sides up to 300000",
        ),
        Format(
            name="ora",
            title="OpenRaster",
            suffixes=(".ora",),
            holds="16 blend modes, normal clipping; layer masks are baked in, group masks become layers",
        ),
        Format(
            name="folder", title="PNG folder with manifest.json", suffixes=("",), holds="everything, exactly"
        ),
        Format(name="zip", title="PNG folder in a zip", suffixes=(".zip",), holds="everything, exactly"),
        Format(
            name="pptx",
            title="PowerPoint slide",
            suffixes=(".pptx",),
            reads=False,
            depths=(8, 16),
            lossless=False,
            holds="visible layers as 8-bit pictures; normal blend mode only",
        ),
        Format(
            name="png",
            title="PNG picture",
            suffixes=(".png",),
            layers=False,
            lossless=False,
            holds="flattened",
        ),
        Format(
            name="webp",
            title="WebP picture",
            suffixes=(".webp",),
            layers=False,
            depths=(8,),
            lossless=False,
            holds="flattened; sides up to 16383",
        ),
        Format(
            name="tiff",
            title="TIFF picture",
            suffixes=(".tif", ".tiff"),
            layers=False,
            lossless=False,
            holds="flattened",
        ),
    )
}
_BY_SUFFIX = {suffix: row.name for row in FORMATS.values() for suffix in row.suffixes if suffix}
_JPEG = {".jpg", ".jpeg", ".jfif"}


def choose_format(path: Path, name: str | None) -> Format:
    """The format that ``name`` or else the suffix of ``path`` asks for; a folder or no suffix means "folder".

    Raises InputError, listing the choices, for anything else.
    """
    known = ", ".join(FORMATS)
    if name is not None:
        key = name.lower().lstrip(".")
        key = _BY_SUFFIX.get(f".{key}", key)
        if key in ("jpg", "jpeg"):
            raise InputError(f"JPEG has neither layers nor transparency: choose one of {known}")
        if key not in FORMATS:
            raise InputError(f"unknown format {name!r}: choose one of {known}")
        return FORMATS[key]
    suffix = path.suffix.lower()
    if suffix in _JPEG:
        raise InputError(f"{path}: JPEG has neither layers nor transparency: choose one of {known}")
    if suffix in _BY_SUFFIX:
        return FORMATS[_BY_SUFFIX[suffix]]
    if not suffix or os.path.isdir(path):
        return FORMATS["folder"]
    raise InputError(f"{path}: no format has the suffix {suffix!r}: choose one of {', '.join(_BY_SUFFIX)}")
