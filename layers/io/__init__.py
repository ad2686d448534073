"""Files: open and save layered documents, and read flat pictures.

The format of what is opened is told by content, of what is saved by suffix or name. Readers treat every file
as hostile; writers are atomic. The format libraries (psd-tools, python-pptx) load when a file needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError
from ..document import Layer, LayeredImage
from .atomic import atomic_write
from .formats import FORMATS, Format, FormatWarning, choose_format
from .limits import LIMITS, Limits, reading
from .picture import Picture, read_picture
from .readable import check_readable
from .sniff import open_source, sniff

__all__ = [
    "FORMATS",
    "LIMITS",
    "Format",
    "FormatWarning",
    "Limits",
    "Picture",
    "atomic_write",
    "open_document",
    "open_stream",
    "read_picture",
    "save_document",
]

UNSTORED = frozenset({"report", "dropped"})
"""Metadata that no file keeps: times and memory differ between two runs whose files must be the same, and what another file
held beyond this one is told once."""


def open_document(path: str | os.PathLike[str], *, limits: Limits = LIMITS) -> LayeredImage:
    """The document in a PSD, PSB, OpenRaster or zip file, in a PNG folder, or a flat picture as one layer.

    The content decides, not the suffix. Raises InputError, one sentence with the remedy, for whatever is
    missing, damaged, too large or of a kind that acetate does not read. What a format holds and a document
    cannot is named in ``metadata["dropped"]``.
    """
    with open_source(path, limits) as (file, name, real_path):
        return open_stream(file, name, real_path, limits)


def open_stream(file: BinaryIO, name: str, path: Path | None = None, limits: Limits = LIMITS) -> LayeredImage:
    """Like :func:`open_document` for an open, seekable binary file that messages call ``name``."""
    if path is not None and path.is_dir():
        from .folder import read_folder

        with reading(name, "an acetate folder"):
            return read_folder(path, limits)
    head = file.read(64)
    file.seek(0)
    kind = sniff(head)
    if kind == "psd":
        from .psd_read import read_psd

        with reading(name, "a PSD file"):
            return read_psd(file, name, limits)
    if kind == "archive":
        with reading(name, "an archive of layers"):
            return _open_archive(file, name, limits)
    picture = read_picture(path if path is not None else file, limits=limits)
    with reading(name, "a picture"):
        return _one_layer(picture, path, name, limits)


def _open_archive(file: BinaryIO, name: str, limits: Limits) -> LayeredImage:
    from .archive import ArchiveReader
    from .folder import MANIFEST, manifest_folder, read_zip
    from .ora_ops import MIMETYPE
    from .ora_read import read_ora

    archive = ArchiveReader(file, name, limits)
    names = archive.names()
    if "mimetype" in names and archive.read("mimetype", most=100).strip() == MIMETYPE:
        return read_ora(archive, limits)
    folder = manifest_folder(names)
    if folder is not None:
        return read_zip(archive, limits, folder=folder)
    if any(entry.startswith("ppt/") for entry in names):
        raise InputError(
            f"{name} is a PowerPoint file, which acetate writes but does not read: open its PSD or zip"
        )
    raise InputError(f"{name} is a zip without {MANIFEST}: give one saved by acetate, or an OpenRaster file")


def _one_layer(picture: Picture, path: Path | None, name: str, limits: Limits) -> LayeredImage:
    from .xmp import read_xmp

    facts = read_xmp(picture.xmp, name, limits) if picture.xmp else {}
    metadata = facts.get("metadata", {})
    layer = Layer(pixels=picture.pixels, name=(path.stem if path is not None else "")[:255] or "Background")
    return LayeredImage(
        width=picture.width,
        height=picture.height,
        layers=(layer,),
        depth=16 if picture.pixels.dtype.itemsize == 2 else 8,
        dpi=picture.dpi,
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def save_document(
    doc: LayeredImage, path: str | os.PathLike[str], format: str | None = None, *, limits: Limits = LIMITS
) -> Path:
    """Write ``doc`` and return the path written. The format follows the suffix unless named; see
    :data:`FORMATS`.

    Of the metadata, the "report" of a run and what was "dropped" from another file stay out of this one. Raises
    InputError, naming the layer and the formats that can, for what the format cannot hold, and, naming what is too large,
    for what :func:`open_document` would refuse under the same ``limits``. Raises OutputError if the place cannot be
    written. Warns with FormatWarning where the format holds something in another form. Until the new file is complete, an
    old one at ``path`` stays as it is.
    """
    target = Path(path)
    chosen = choose_format(target, format)
    _check_names(doc)
    check_readable(doc, chosen, limits)
    doc = doc.replace(metadata={key: value for key, value in doc.metadata.items() if key not in UNSTORED})
    if chosen.name == "folder":
        from .folder import write_folder

        write_folder(doc, target)
        return target
    write = _writer(chosen.name)
    with atomic_write(target) as file:
        write(doc, file)
    return target


def _writer(name: str) -> Callable[[LayeredImage, BinaryIO], None]:
    if name in ("psd", "psb"):
        from .psd_write import write_psd

        return lambda doc, file: write_psd(doc, file, big=name == "psb")
    if name == "ora":
        from .ora_write import write_ora

        return write_ora
    if name == "zip":
        from .folder import write_zip

        return write_zip
    if name == "pptx":
        from .pptx import write_pptx

        return write_pptx
    from . import flat

    return {"png": flat.write_png, "webp": flat.write_webp, "tiff": flat.write_tiff_picture}[name]


def _check_names(doc: LayeredImage) -> None:
    for _, node in doc.walk():
        try:
            node.name.encode("utf-16")
        except UnicodeEncodeError as error:
            raise InputError(f"layer {node.name!r} has half a character in its name: rename it") from error
