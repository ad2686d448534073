"""Archives: the same bytes whether they were held until the end or went into the file on the way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from acetate.layers.io import archive
from acetate.layers.io.archive import ArchiveReader, ArchiveWriter

SIZES = (0, 10, 70_000, 3 * 2**20, 2 * 2**20, 5, 2**20)


def written(file: io.BufferedRandom | io.BytesIO, entries: dict[str, bytes]) -> bytes:
    with ArchiveWriter(file) as writer:
        for number, (name, data) in enumerate(entries.items()):
            writer.add(name, data, packed=bool(number % 2))
    file.seek(0)
    return file.read()


def test_large_archives_go_into_the_file_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    entries = {f"layers/{number}.png": random.bytes(size) for number, size in enumerate(SIZES)}
    assert sum(SIZES) > archive._HELD
    with (tmp_path / "large.zip").open("w+b") as file:
        large = written(file, entries)
    monkeypatch.setattr(archive, "_HELD", 2**40)
    assert written(io.BytesIO(), entries) == large
    monkeypatch.setattr(archive, "_HELD", -1)
    assert written(io.BytesIO(), entries) == large
    reader = ArchiveReader(io.BytesIO(large), "large.zip")
    assert {name: reader.read(name) for name in entries} == entries


def test_what_is_held_reaches_the_file(tmp_path: Path) -> None:
    with (tmp_path / "small.zip").open("w+b") as file, ArchiveWriter(file) as writer:
        writer.add("a.txt", b"a" * 100)
        assert (tmp_path / "small.zip").stat().st_size == 0
    assert (tmp_path / "small.zip").stat().st_size > 100
