"""Inputs that lie in an object store: fetched once into a folder on disk, and again only when the store says they changed.

From there on they are files like any others: measured, hashed and read by workers. Names come from an untrusted list and
never lead out of the folder that was allowed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import AcetateError, Cancelled, InputError
from ..layers.io.atomic import atomic_write, output_error
from ..layers.io.limits import LIMITS
from .stores import is_url, open_store, patiently, words_of

_TELLING = ("ETag", "etag", "md5Hash", "md5", "checksum", "generation", "LastModified", "last_modified", "mtime", "modified",
            "created", "VersionId")  # fmt: skip
"""What stores say of a file that changes when its bytes do; a file of which nothing of this is known is fetched anew."""
_MOST_FAILURES = 3
_Result = TypeVar("_Result")


class RemoteInputs:
    """``url``: the folder of a store that inputs may come from. ``cache``: a folder on disk, made when it is needed.
    ``stop``: once set, everything ends with Cancelled. Raises InputError where the store cannot be opened."""

    def __init__(self, url: str, cache: Path, stop: threading.Event | None = None) -> None:
        self._url = url.rstrip("/")
        self._cache = cache
        self._stop = stop or threading.Event()
        self._store, self._root = open_store("--inputs", url)
        self._failures = 0

    def find(self, name: str) -> Path:
        """The file on disk that holds the input ``name``, relative to the store's folder or a URL below it.

        Raises InputError for what lies elsewhere, is not there or cannot be fetched after five tries, and AcetateError
        when three in a row could not: then the store is out of reach, and no row is to blame.
        """
        relative = self._relative(name)
        try:
            found = self._interruptible(lambda: patiently(lambda: self._fetch(relative), self._pause))
        except (FileNotFoundError, PermissionError) as error:
            what = "does not exist" if isinstance(error, FileNotFoundError) else "may not be read"
            raise InputError(f"input {name[:120]!r} {what} in {self._url}: check the path") from error
        except AcetateError:
            raise
        except Exception as error:  # the store's own, after the last try
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise AcetateError(
                    f"--inputs {self._url} is out of reach ({words_of(error)}): give the same command again later"
                ) from error
            raise InputError(
                f"input {name[:120]!r} cannot be fetched from {self._url} ({words_of(error)})"
            ) from error
        self._failures = 0
        return found

    def _relative(self, name: str) -> str:
        relative = name.removeprefix(self._url + "/")
        parts = relative.split("/")
        if (
            is_url(relative)
            or any(part in ("", ".", "..") for part in parts)
            or re.search(r"[\x00-\x1f\\]", relative)
        ):
            raise InputError(
                f"input {name[:120]!r} lies outside of {self._url}: allow another folder with --inputs"
            )
        if len(parts[-1].encode("utf-8", "replace")) > 200:
            raise InputError(f"input {name[:120]!r} has a longer name than a disk takes: rename it")
        return relative

    def _fetch(self, relative: str) -> Path:
        path = f"{self._root}/{relative}"
        self._store.invalidate_cache()
        facts = self._store.info(path)
        size = facts.get("size")
        if facts.get("type") == "directory":
            raise InputError(
                f"input {relative[:120]!r} is a folder in a store: give a picture, a .zip or an .ora"
            )
        if isinstance(size, int) and size > LIMITS.file_bytes:
            raise InputError(
                f"input {relative[:120]!r} has {size >> 20} MiB, more than {LIMITS.file_bytes >> 20}: make it smaller"
            )
        place = self._cache / hashlib.sha256(f"{self._url}/{relative}".encode()).hexdigest()[:24]
        file, note = place / relative.rsplit("/", 1)[-1], place / ".identity.json"
        identity = _identity(facts)
        if (
            identity is not None
            and _noted(note) == identity
            and file.is_file()
            and size in (None, file.stat().st_size)
        ):
            return file
        try:
            place.mkdir(parents=True, exist_ok=True)
            note.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(place, error) from error
        partial = place / ".partial"
        self._store.get_file(path, str(partial))
        if isinstance(size, int) and partial.stat().st_size != size:
            raise OSError(f"{partial.stat().st_size} of {size} bytes came")
        with partial.open("rb+") as handle:  # the note below must never outlive the bytes
            os.fsync(handle.fileno())
        os.replace(partial, file)
        if identity is not None:
            with atomic_write(note) as handle:
                handle.write(json.dumps(identity).encode())
        return file

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self._check()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("stopped while inputs were fetched, before anything was rendered")

    def _interruptible(self, step: Callable[[], _Result]) -> _Result:
        """The result of ``step``, which runs in a thread that nobody waits for once the render is to stop."""
        self._check()
        results: list[_Result] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(step())
            except BaseException as error:  # raised again below, in the thread that asked
                errors.append(error)

        thread = threading.Thread(target=work, name="fetcher", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            if thread.is_alive():
                self._check()
        if errors:
            raise errors[0]
        return results[0]


def _identity(facts: dict[str, Any]) -> dict[str, str] | None:
    found = {name: str(facts[name]) for name in (*_TELLING, "size") if facts.get(name) is not None}
    return found if len(found.keys() - {"size"}) else None


def _noted(note: Path) -> Any:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError):  # nothing was fetched yet, or not to its end
        return None
