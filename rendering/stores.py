"""Places that fsspec can reach, ``s3://bucket/folder`` among them: opening one, and patience with one that fails a while.

Knows nothing of inputs or results.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import AcetateError, InputError

TRIES = 5
"""Of one step, with pauses of 1, 2, 4 and 8 seconds between them."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_Result = TypeVar("_Result")


def is_url(text: str) -> bool:
    """Whether ``text`` names a place in a store and not on a disk."""
    return _URL.match(text) is not None


def open_store(option: str, url: str) -> tuple[Any, str]:
    """(file system, path in it). Raises InputError for a store that fsspec does not know or that cannot be opened."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise InputError(f"{option} needs fsspec: `pip install 'acetate[cluster]'` brings it") from error
    try:
        store, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise InputError(f"{option} {url} cannot be opened ({words_of(error)})") from error
    return store, root.rstrip("/")


def patiently(step: Callable[[], _Result], pause: Callable[[float], object]) -> _Result:
    """The result of ``step``, tried five times; what is wrong, not there or not allowed is not tried again.

    Raises what the last try raised.
    """
    for left in reversed(range(TRIES)):
        try:
            return step()
        except (AcetateError, FileNotFoundError, PermissionError):
            raise
        # Every store has exceptions of its own; whichever it is, the step is tried again, and then it is the caller's.
        except Exception:
            if left == 0:
                raise
            pause(2.0 ** (TRIES - 1 - left))
    raise AssertionError("unreachable")


def words_of(error: BaseException) -> str:
    """An error of a store in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
