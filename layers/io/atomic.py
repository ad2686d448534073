"""Writes that either happen completely or not at all.

Knows nothing of what is written. A temporary file beside the target is filled, flushed to disk and renamed
over it; until the rename the old file is untouched, and no failure leaves the temporary file behind.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, cast

from ...errors import OutputError

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "you may not write there: choose another folder or change its permissions",
    errno.EPERM: "you may not write there: choose another folder or change its permissions",
    errno.ENOENT: "the folder does not exist: create it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another place",
    errno.EISDIR: "it is a folder: choose a file name",
    errno.ENAMETOOLONG: "the file name is too long: choose a shorter one",
    errno.ELOOP: "its links lead in a circle: remove them or choose another place",
    errno.EFBIG: "the file grew larger than this disk allows: choose another disk",
}


_AT_ONCE = 64
"""Files that are open together while they are flushed."""
_TOGETHER: ContextVar[bool] = ContextVar("flush to disk together, later", default=False)


@contextmanager
def flushed_together(folder: Path) -> Iterator[None]:
    """Inside, this thread's writes skip the flush to disk that each would do; on leaving without an exception, everything in
    ``folder`` is flushed at once, which is several times faster.

    For a folder that counts only as a whole, later, by a rename. Raises OutputError where flushing fails.
    """
    token = _TOGETHER.set(True)
    try:
        yield
    finally:
        _TOGETHER.reset(token)
    try:
        places = list(os.walk(folder, topdown=False))
        files = [os.path.join(place, name) for place, _, names in places for name in names]
        for first in range(0, len(files), _AT_ONCE):
            _flush(files[first : first + _AT_ONCE])
        for place, _, _ in places:
            sync_folder(Path(place))
    except OSError as error:
        raise output_error(folder, error) from error


def _flush(files: Sequence[str]) -> None:
    """All of them begin to be written before the first is waited for: Linux does so when it is told that a file's pages are
    needed no more."""
    with ExitStack() as opened:
        descriptors = []
        for file in files:
            descriptors.append(os.open(file, os.O_RDWR))
            opened.callback(os.close, descriptors[-1])
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptors[-1], 0, 0, os.POSIX_FADV_DONTNEED)
        for descriptor in descriptors:
            os.fsync(descriptor)


def flush_now() -> bool:
    """Whether a write in this thread should flush to disk by itself."""
    return not _TOGETHER.get()


def output_error(path: Path, error: OSError) -> OutputError:
    """The sentence for a write that failed: names ``path``, the reason and the remedy."""
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}: choose another place")
    return OutputError(f"cannot write {path}: {remedy}")


def _open_temporary(path: Path) -> tuple[BinaryIO, Path]:
    # A short name of our own, so that a target name near the length limit does not overflow it.
    temporary = path.with_name(f".acetate-{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    return cast(BinaryIO, os.fdopen(descriptor, "w+b")), temporary


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable (a no-op where folders cannot be opened, as on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def resolve_target(path: str | os.PathLike[str]) -> Path:
    """``path`` with symbolic links followed, so that a link is kept and the file behind it replaced."""
    target = Path(path)
    try:
        return target.resolve() if target.is_symlink() else target
    except OSError as error:
        raise output_error(target, error) from error
    except (RuntimeError, ValueError) as error:  # links that lead in a circle; a name with a null character
        raise OutputError(f"cannot write {target!s}: {error}: choose another place") from error


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a seekable binary file that becomes ``path`` when the block ends without an exception.

    Raises OutputError naming the path and the remedy when the disk is full, the folder is missing or
    unwritable, or ``path`` is a folder, a device or a pipe. On any exception, the user's own and Ctrl-C
    included, an older file at ``path`` stays as it was and no temporary file remains.
    """
    target = resolve_target(path)
    try:
        mode = os.stat(target).st_mode
    except OSError:  # there is none, or it cannot be looked at, which opening tells in its own words
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {target}: it is a folder: choose a file name")
    if mode is not None and not stat.S_ISREG(mode):
        # The rename would put a file in its place, as root even in that of /dev/null.
        raise OutputError(f"cannot write {target}: it is a device or a pipe, not a file: choose another name")
    try:
        file, temporary = _open_temporary(target)
    except OSError as error:
        raise output_error(target, error) from error
    replaced = False
    try:
        with file:
            yield file
            file.flush()
            if flush_now():
                os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode & 0o7777)
        os.replace(temporary, target)
        replaced = True
        if flush_now():
            sync_folder(target.parent)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        if not replaced:
            temporary.unlink(missing_ok=True)
