"""The place a result goes to, checked before anything long runs. Knows paths and formats, not what is written."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..layers.document import LayeredImage
from ..layers.io import FORMATS, Format, save_document
from ..layers.io.atomic import output_error
from ..layers.io.folder import MANIFEST
from ..layers.io.formats import choose_format

LAYERED_SUFFIXES = tuple(
    suffix for row in FORMATS.values() if row.layers for suffix in row.suffixes if suffix
)
FLAT_SUFFIXES = tuple(suffix for row in FORMATS.values() if not row.layers for suffix in row.suffixes)


def check_output(path: str, *, source: str | None = None, flat: bool = False, depth: int = 8) -> Format:
    """The format that ``path`` asks for, once it is sure that a file can be written there.

    ``source``: a file that must not be overwritten by its own result. ``flat``: only flat pictures are meant. ``depth``:
    bits per channel the format has to hold. Raises InputError for a wrong path, OutputError where nothing can be written.
    """
    target = Path(path)
    chosen = choose_format(target, None)
    if flat and chosen.layers:
        raise InputError(
            f"{path}: give a flat picture ({', '.join(FLAT_SUFFIXES)}), or use `acetate convert`"
        )
    if depth not in chosen.depths:
        raise InputError(
            f"{path}: {chosen.title} cannot hold {depth} bits per channel, choose .psd, .ora, .png or .zip"
        )
    if chosen.name == "folder":
        _check_folder(target)
    elif target.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file in it")
    if source is not None and target.exists() and Path(source).exists() and target.samefile(source):
        raise InputError(f"{path} is the picture itself: choose another name, so that it is not overwritten")
    check_place(target)
    return chosen


def check_place(target: Path) -> None:
    """Raises InputError where the folder of ``target`` is missing, OutputError where nothing can be written in it."""
    if target.exists() and not (target.is_dir() or stat.S_ISREG(target.stat().st_mode)):
        raise InputError(f"{target} is a device or a pipe, no file: choose another name")
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist, create it first")
    try:
        with tempfile.TemporaryFile(dir=target.parent) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise output_error(target, error) from error


def save(document: LayeredImage, path: str) -> str:
    """Write the document; returns what should be said about it, or nothing. A flat format gets the merged picture."""
    chosen = choose_format(Path(path), None)
    save_document(document, path)
    count = len(document.leaves())
    if chosen.layers or count < 2:
        return ""
    return f"{path} is one flat picture; write .psd, .ora or .zip to keep its {count} layers"


def not_taken_over(dropped: Sequence[str]) -> str:
    """What is said of a file that holds more than a document can."""
    return f"not taken over: {'; '.join(dropped)}"


def check_layers_fit(document: LayeredImage, path: str) -> None:
    """Raises InputError when ``path`` asks for a flat picture and the document is more than that."""
    chosen = choose_format(Path(path), None)
    count = len(document.leaves())
    if not chosen.layers and count > 1:
        raise InputError(
            f"{path}: {chosen.title} cannot hold the {count} layers of the document; "
            f"choose one of {', '.join(LAYERED_SUFFIXES)}, or merge them with `acetate flatten`"
        )


def _check_folder(target: Path) -> None:
    if target.is_file():
        raise InputError(f"{target} is a file: give it a suffix such as .psd, or the name of a new folder")
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError(f"the folder {target} holds other files: choose an empty one or a new name")
