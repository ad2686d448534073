"""Copies of results in an object store or any other place that fsspec can write: ``s3://bucket/results``.

A copy is whole when its receipt is there, which is written last and removed first; a copy whose receipt equals the local one
is left alone, and of a copy that was interrupted the files that came through are not sent again. Of an older copy the files
that its receipt names are removed; what else is in the store is not touched.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from .receipts import RECEIPT, read_receipt
from .stores import open_store, patiently, words_of

_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"})
"""Stores that have buckets and no folders: none is made there, since a misspelt name would become a new bucket."""
_PATIENCE = 10.0


class Copies:
    """``url``: a folder of the store. Raises InputError for a store that fsspec does not know or that cannot be opened, and
    for a bucket that does not exist; a store that is out of reach at the moment may be there later."""

    def __init__(self, url: str, pause: Callable[[float], object] = time.sleep) -> None:
        self.url = url
        self._pause = pause
        self._store, self._root = open_store("--copy-to", url)
        protocol = self._store.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._has_folders = not names & _BUCKETS
        if not self._has_folders:
            self._check_bucket(self._root.split("/")[0])

    def _check_bucket(self, bucket: str) -> None:
        """Better now than in the morning. Whatever takes longer than ten seconds is not waited for."""
        missing = threading.Event()

        def look() -> None:
            try:
                self._store.info(bucket)
            except FileNotFoundError:
                missing.set()
            except Exception:  # not allowed to look, or out of reach: copying will tell
                return

        thread = threading.Thread(target=look, name="bucket", daemon=True)
        thread.start()
        thread.join(_PATIENCE)
        if missing.is_set():
            raise InputError(f"--copy-to {self.url}: there is no bucket {bucket!r}, create it first")

    def put(self, folder: Path) -> bool:
        """Copy one result; False when a whole copy of it is there already. Raises OutputError after five tries."""
        try:
            return patiently(lambda: self._put(folder), self._pause)
        # Whatever the store raised at last is why this copy is not there; the next render sends it.
        except Exception as error:
            raise OutputError(f"cannot copy {folder.name} to {self.url}: {words_of(error)}") from error

    def _put(self, folder: Path) -> bool:
        receipt = read_receipt(folder)
        assert receipt is not None
        target = f"{self._root}/{folder.name}"
        mine = (folder / RECEIPT).read_bytes()
        self._store.invalidate_cache()
        theirs = self._read(f"{target}/{RECEIPT}")
        if theirs == mine:
            return False
        if theirs is not None:
            self._store.rm_file(f"{target}/{RECEIPT}")
            self._remove_files(target, theirs)
        for name in sorted(receipt.files):
            self._send(folder / name, f"{target}/{name}")
        self._store.pipe_file(f"{target}/{RECEIPT}", mine)
        return True

    def _send(self, file: Path, path: str) -> None:
        """Stream one file, unless the store says that it has these bytes."""
        try:
            known = self._store.info(path)
        except FileNotFoundError:
            if self._has_folders:
                self._store.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        else:
            # The ETag of an object that was sent in one piece is the MD5 of its bytes; others are sent again.
            if known.get("size") == file.stat().st_size and str(known.get("ETag", "")).strip('"') == _md5(
                file
            ):
                return
        self._store.put_file(str(file), path)

    def _remove_files(self, target: str, receipt: bytes) -> None:
        try:
            names = list(json.loads(receipt)["files"])
        except (ValueError, TypeError, KeyError):  # no receipt of ours: what it means is not known
            return
        for name in names:
            if (
                isinstance(name, str)
                and ".." not in name.split("/")
                and self._store.exists(f"{target}/{name}")
            ):
                self._store.rm_file(f"{target}/{name}")

    def _read(self, path: str) -> Any:
        try:
            return self._store.cat_file(path)
        except FileNotFoundError:
            return None


def _md5(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
