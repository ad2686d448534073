"""Opens what the user named and tells its format by content, never by suffix.

Knows signatures only; the readers decide whether the rest of the file keeps the promise.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError
from .limits import LIMITS, Limits


def sniff(head: bytes) -> str | None:
    """ "psd" (PSD and PSB), "archive" (any zip) or None (perhaps a flat picture) from a file's first
    bytes.
    """
    if head.startswith(b"8BPS"):
        return "psd"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "archive"
    return None


@contextmanager
def open_source(
    source: str | os.PathLike[str] | bytes | BinaryIO, limits: Limits = LIMITS
) -> Iterator[tuple[BinaryIO, str, Path | None]]:
    """Yield (binary seekable file, name for messages, path or None) of a path, bytes or an open binary file.

    A folder yields an empty file and its path. Raises InputError if it is missing, empty, unreadable, not a
    regular file (a pipe or device would hang) or too large.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not source:
            raise InputError("the picture is empty (0 bytes): give the whole file")
        yield io.BytesIO(source), "the picture", None
    elif isinstance(source, (str, os.PathLike)):
        yield from _open_path(Path(source), limits)
    elif hasattr(source, "read") and hasattr(source, "seek"):
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        if not size:
            raise InputError("the picture is empty (0 bytes): give the whole file")
        yield source, "the picture", None
    else:
        raise InputError(f"a picture must be a path, bytes or a Pillow image, not {type(source).__name__}")


def _open_path(path: Path, limits: Limits) -> Iterator[tuple[BinaryIO, str, Path | None]]:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(status.st_mode):
        yield io.BytesIO(), str(path), path
        return
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file: save the picture to disk first")
    if status.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): save or download it again")
    if status.st_size > limits.file_bytes:
        raise InputError(
            f"{path} is {status.st_size / 1e9:.1f} GB, more than the {limits.file_bytes / 1e9:.0f} GB that acetate "
            "opens: crop or merge it first"
        )
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error
    with file:
        yield file, str(path), path
