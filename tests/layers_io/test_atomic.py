"""Writes happen completely or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from documents import nasty

from acetate.errors import InputError, OutputError
from acetate.layers import Layer, LayeredImage
from acetate.layers.io import atomic, atomic_write, folder, open_document
from acetate.layers.io.atomic import flushed_together

SUFFIXES = ["psd", "psb", "ora", "zip", "pptx", "png", "webp", "tiff"]
SMALL = LayeredImage(width=9, height=9, layers=(Layer(pixels=np.full((9, 9, 4), 90, np.uint8), name="a"),))


class Full:
    """A file on a disk that holds so many bytes and no more."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    whole = atomic._open_temporary

    def small(path: Path) -> tuple[Any, Path]:
        file, temporary = whole(path)
        return Full(file, room), temporary

    monkeypatch.setattr(atomic, "_open_temporary", small)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [0, 40])
def test_a_full_disk_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, room: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"old")
    fill_disk(monkeypatch, room)
    with pytest.raises(OutputError, match="disk is full") as caught:
        SMALL.save(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unwritable_places(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / f"folder.{suffix}").mkdir()
    for path, word in (
        (tmp_path / "file" / f"a.{suffix}", "file, not a folder"),
        (tmp_path / "none" / f"a.{suffix}", "create it first"),
        (tmp_path / f"folder.{suffix}", "is a folder"),
        (tmp_path / f"{'x' * 300}.{suffix}", "shorter"),
    ):
        with pytest.raises(OutputError, match=word):
            SMALL.save(path)


def test_an_exception_of_any_kind_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    for kind in (KeyboardInterrupt, ValueError, InputError):
        with pytest.raises(kind), atomic_write(path) as file:
            file.write(b"new")
            raise kind("stop")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_success_replaces_and_keeps_permissions_and_links(tmp_path: Path) -> None:
    path, link = tmp_path / "a.bin", tmp_path / "link.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    with atomic_write(link) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and link.is_symlink() and path.stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.png", tmp_path / "link.png"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (pipe, link):
        with pytest.raises(OutputError, match="not a file"):
            SMALL.save(place)
    assert pipe.is_fifo() and link.is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_a_dangling_loop_of_links_is_an_output_error(tmp_path: Path) -> None:
    link = tmp_path / "loop.png"
    link.symlink_to(link)
    with pytest.raises(OutputError):
        SMALL.save(link)


def test_a_format_that_cannot_hold_it_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ora"
    path.write_bytes(b"old")
    with pytest.raises(InputError):
        nasty().save(path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


# Folders
# ----------------------------------------------------------------------------------------------------------


def test_folders_refuse_files_and_other_peoples_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("x")
    for path, word in ((tmp_path / "file", "is a file"), (tmp_path / "photos", "holds other files")):
        with pytest.raises(OutputError, match=word):
            SMALL.save(path)
    with pytest.raises(OutputError, match="create it first"):
        SMALL.save(tmp_path / "none" / "doc")
    with pytest.raises(OutputError, match="not a folder"):
        SMALL.save(tmp_path / "file" / "doc")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "photos"]
    (tmp_path / "empty").mkdir()
    assert open_document(SMALL.save(tmp_path / "empty")).width == 9


def test_a_link_to_a_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    link, ahead = tmp_path / "link", tmp_path / "ahead"
    link.symlink_to("empty")
    ahead.symlink_to("new")
    for place, behind in ((link, "empty"), (ahead, "new")):
        for _ in range(2):
            assert SMALL.save(place) == place
            assert place.is_symlink() and open_document(tmp_path / behind).width == 9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ahead", "empty", "link", "new"]


@pytest.mark.parametrize("fails_at", [1, 3, 5])
@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_interrupted_anywhere_is_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, existing: bool
) -> None:
    path = tmp_path / "doc"
    if existing:
        SMALL.save(path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    calls = 0
    honest = os.fsync

    def broken(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", broken)
    with pytest.raises(OutputError, match="disk is full"):
        nasty().save(path)
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert path.exists() == existing
    assert [p.name for p in tmp_path.iterdir()] == (["doc"] if existing else [])


def test_only_pictures_of_the_old_manifest_are_removed(tmp_path: Path) -> None:
    path = SMALL.save(tmp_path / "doc")
    stray = path / "layers" / "mine.png"
    stray.write_bytes(b"x")
    nasty().save(path)
    assert stray.exists()
    assert folder.MANIFEST in {p.name for p in path.iterdir()}


def test_writes_that_are_flushed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda one: (flushed.append(os.readlink(f"/proc/self/fd/{one}")), sync(one))
    )
    (tmp_path / "inner").mkdir()
    with flushed_together(tmp_path):
        for name in ("a", "inner/b"):
            with atomic_write(tmp_path / name) as file:
                file.write(b"x")
        assert flushed == []
    assert {Path(one).name for one in flushed} == {"a", "b", "inner", tmp_path.name}
    with atomic_write(tmp_path / "c") as file:
        file.write(b"x")
    assert len(flushed) == 6
