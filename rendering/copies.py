"""Copies of results in an object store or any other place that fsspec can write: ``s3://bucket/results``.

A copy is whole when its receipt is there, which is written last and removed first; a copy whose receipt equals the local one
is left alone. Of an older copy the files that its receipt names are removed; what else is in the store is not touched.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from .receipts import RECEIPT, read_receipt

TRIES = 4
"""Of one result, with pauses of 1, 2 and 4 seconds between them."""


class Copies:
    """``url``: a folder of the store. Raises InputError for a store that fsspec does not know or that cannot be opened."""

    def __init__(self, url: str, pause: Callable[[float], object] = time.sleep) -> None:
        self.url = url
        self._pause = pause
        try:
            import fsspec
        except ModuleNotFoundError as error:
            raise InputError("--copy-to needs fsspec: `pip install 'acetate[cluster]'` brings it") from error
        try:
            self._store, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError(f"--copy-to {url} cannot be opened ({reason})") from error

    def put(self, folder: Path) -> bool:
        """Copy one result; False when a whole copy of it is there already. Raises OutputError after four tries."""
        for left in reversed(range(TRIES)):
            try:
                return self._put(folder)
            # Every store has exceptions of its own; whichever it is, the copy is tried again and then reported.
            except Exception as error:
                if left == 0:
                    reason = " ".join(str(error).split())[:200] or type(error).__name__
                    raise OutputError(f"cannot copy {folder.name} to {self.url}: {reason}") from error
                self._pause(2.0 ** (TRIES - 1 - left))
        raise AssertionError("unreachable")

    def _put(self, folder: Path) -> bool:
        receipt = read_receipt(folder)
        assert receipt is not None
        target = f"{self._root.rstrip('/')}/{folder.name}"
        mine = (folder / RECEIPT).read_bytes()
        theirs = self._read(f"{target}/{RECEIPT}")
        if theirs == mine:
            return False
        if theirs is not None:
            self._store.rm_file(f"{target}/{RECEIPT}")
            self._remove_files(target, theirs)
        for name in sorted(receipt.files):
            self._write(f"{target}/{name}", (folder / name).read_bytes())
        self._write(f"{target}/{RECEIPT}", mine)
        return True

    def _remove_files(self, target: str, receipt: bytes) -> None:
        try:
            names = list(json.loads(receipt)["files"])
        except (ValueError, TypeError, KeyError):  # no receipt of ours: what it means is not known
            return
        for name in names:
            if isinstance(name, str) and ".." not in name.split("/") and self._store.exists(f"{target}/{name}"):
                self._store.rm_file(f"{target}/{name}")

    def _read(self, path: str) -> Any:
        try:
            return self._store.cat_file(path)
        except FileNotFoundError:
            return None

    def _write(self, path: str, data: bytes) -> None:
        self._store.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        self._store.pipe_file(path, data)
