"""Looks at an input before anything runs: what it is, how large, and the hash by which a change of it is noticed.

Reads headers and bytes; decodes nothing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..layers.io.folder import MANIFEST
from ..layers.io.limits import LIMITS
from ..layers.io.picture import picture_size
from ..layers.io.sniff import open_source, sniff

_CHUNK = 1 << 20


def measure(path: Path, max_megapixels: int) -> tuple[int, int]:
    """(width, height) as the header of a picture or a PSD says, (0, 0) for archives and folders, which do not say it
    in front. Raises InputError for what is no picture and for more than ``max_megapixels``."""
    with open_source(path) as (file, name, _):
        if path.is_dir():
            if not (path / MANIFEST).is_file():
                raise InputError(
                    f"input {path.name} is a folder without {MANIFEST}: give a picture or a document"
                )
            return 0, 0
        head = file.read(64)
        kind = sniff(head)
        if kind == "archive":
            return 0, 0
        if kind == "psd":
            if len(head) < 26:
                raise InputError(f"input {path.name} is cut short: save it again from its program")
            height, width = struct.unpack(">II", head[14:22])
            LIMITS.check_size(width, height, name)
        else:
            width, height = picture_size(file, name)
    if width * height > max_megapixels * 1_000_000:
        raise InputError(
            f"input {path.name} is {width} x {height} pixels, more than the {max_megapixels} megapixels of this render: "
            "make it smaller, or raise --max-megapixels"
        )
    return width, height


def hash_input(path: Path) -> str:
    """SHA-256 of a file's bytes, or of all files of a document's folder with their names. Raises InputError where it
    cannot be read."""
    digest = hashlib.sha256()
    try:
        for name, file in _parts(path):
            digest.update(name)
            with file.open("rb") as handle:
                while chunk := handle.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise InputError(
            f"input {path.name} cannot be read ({error.strerror or error}): check its permissions"
        ) from error
    return digest.hexdigest()


def _parts(path: Path) -> Iterator[tuple[bytes, Path]]:
    if not path.is_dir():
        yield b"", path
        return
    for number, file in enumerate(sorted(path.rglob("*"))):
        if number > LIMITS.entries:
            raise InputError(f"input {path.name} holds more than {LIMITS.entries} files: it is no document")
        if file.is_file() and not file.is_symlink():
            yield f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode(), file
