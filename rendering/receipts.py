"""The receipt in every result's folder, ``job.json``: what was asked for and which files came of it, with their hashes.

A folder of results explains itself: from the receipts alone a lost journal is made again, and a folder without one is
nobody's to touch. Equal jobs give equal receipts, so no times are in them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

RECEIPT = "job.json"
FORMAT = "acetate-render-1"
PREVIEW = "preview.png"
_MAX_BYTES = 2**24
_AT_ONCE = 2**20


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one result says of itself."""

    id: str
    digest: str
    """Tells settings, input and model: the job is done when it is the planned job's."""
    facts: dict[str, Any]
    """The rest, as written: job, canvas, layers, recomposition error, model and its revision."""
    files: dict[str, tuple[int, str]]
    """Path in the folder: bytes and SHA-256."""

    def text(self) -> bytes:
        """The file's bytes."""
        value = {
            "format": FORMAT,
            "id": self.id,
            "digest": self.digest,
            **self.facts,
            "files": {
                name: {"bytes": size, "sha256": sha} for name, (size, sha) in sorted(self.files.items())
            },
        }
        return (json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a result, None where there is no such folder. Raises InputError for a folder that is no result."""
    if not os.path.lexists(folder):
        return None
    file = folder / RECEIPT
    try:
        if (
            folder.is_symlink()
            or not folder.is_dir()
            or file.is_symlink()
            or file.stat().st_size > _MAX_BYTES
        ):
            raise ValueError("it is no folder with a receipt")
        value = json.loads(file.read_bytes())
        if value["format"] != FORMAT or value["id"] != folder.name:
            raise ValueError("its receipt is another's")
        files = {str(name): (int(one["bytes"]), str(one["sha256"])) for name, one in value["files"].items()}
        known = {name: value[name] for name in value if name not in ("format", "id", "digest", "files")}
        return Receipt(id=folder.name, digest=str(value["digest"]), facts=known, files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder} exists and is no whole result of acetate render: move it away, or give the job another id"
        ) from error


def is_intact(folder: Path, receipt: Receipt) -> bool:
    """Whether every file of the receipt is there with its size; contents are not read."""
    for name, (size, _) in receipt.files.items():
        try:
            status = (folder / name).lstat()
        except OSError:
            return False
        if status.st_size != size:
            return False
    return True


def strangers(folder: Path, receipt: Receipt) -> list[str]:
    """Files in a result's folder that acetate did not write."""
    here = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}
    return sorted(here - set(receipt.files) - {RECEIPT})


def differing(folder: Path, receipt: Receipt) -> list[str]:
    """Files whose bytes are not those of the receipt."""
    return [name for name, (_, sha) in receipt.files.items() if file_hash(folder / name) != sha]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, empty where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size <= _AT_ONCE:
                return hashlib.sha256(file.read()).hexdigest()
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
