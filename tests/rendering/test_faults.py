"""Disks that are full, folders that may not be written, journals that are torn: what is done stays, what is left is told."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acetate.errors import AcetateError, OutputError
from acetate.rendering import RenderSettings, render
from acetate.rendering.holdings import Opening
from acetate.rendering.journal import Journal
from acetate.rendering.messages import Lost, Message, Task

from .conftest import audit, made_jobs, results, run

Build = Callable[..., RenderSettings]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where this machine lets one be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=400", "acetate-test", str(place)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_render_with_everything_done_kept(settings: Build, small_disk: Path) -> None:
    jobs = made_jobs(12, "big")  # a quarter of a megabyte each
    folder = small_disk / "out"
    with pytest.raises(OutputError, match=r"full.*give the same command again|database or disk is full"):
        render(settings(jobs, folder=folder, retries=1))
    made = sorted(path.parent.name for path in folder.glob("*/job.json"))
    assert 0 < len(made) < 12
    audit(folder, len(made))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    outcome, _ = run(settings(jobs, folder=folder))
    assert (outcome.made, outcome.already_done) == (12 - len(made), len(made))
    audit(folder, 12)


def test_a_disk_that_is_full_from_the_start(settings: Build, small_disk: Path) -> None:
    (small_disk / "fill").write_bytes(bytes(2**20))  # to the last byte
    with pytest.raises(OutputError, match="full"):
        render(settings(made_jobs(1), folder=small_disk / "out"))


def test_a_folder_that_may_not_be_written(settings: Build, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match="read-only"):
        render(settings(made_jobs(1), folder=small_disk / "out"))


def test_a_folder_that_becomes_unwritable_while_it_is_rendered(settings: Build, tmp_path: Path) -> None:
    staging = tmp_path / "out" / ".acetate" / "staging"
    frozen = []

    def freeze(sign: str) -> bool:
        return subprocess.run(["chattr", f"{sign}i", str(staging)], capture_output=True).returncode == 0

    def watch(event: str, facts: object) -> None:
        if event == "job_done" and not frozen:
            frozen.append(freeze("+"))

    jobs = made_jobs(6, "sleep 0.2")
    try:
        with pytest.raises(OutputError, match=r"you may not write there.*give the same command again"):
            render(settings(jobs, retries=1), watch=watch)
    except pytest.fail.Exception:
        if frozen == [False]:
            pytest.skip("this disk cannot make a folder immutable")
        raise
    finally:
        freeze("-")
    outcome, _ = run(settings(jobs))
    assert outcome.made + outcome.already_done == 6 and 0 < outcome.already_done < 6
    audit(tmp_path / "out", 6)


@pytest.mark.parametrize("damage", ["noise", "empty table", "half", "zeros inside"])
def test_a_corrupt_journal_is_made_again_from_the_folder(
    settings: Build, tmp_path: Path, stub_log: Path, damage: str
) -> None:
    jobs = made_jobs(5)
    run(settings(jobs))
    before = results(tmp_path / "out")
    path = tmp_path / "out" / ".acetate" / "journal.sqlite"
    data = path.read_bytes()
    if damage == "noise":
        path.write_bytes(os.urandom(len(data)))
    elif damage == "half":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "zeros inside":
        path.write_bytes(data[:4096] + bytes(4096) + data[8192:])
    else:
        path.write_bytes(b"")
    outcome, told = run(settings(jobs))
    assert (outcome.made, outcome.already_done) == (0, 5)
    assert ("journal_rebuilt", {"results": 5}) in told or damage == "empty table"
    assert results(tmp_path / "out") == before and len(list(stub_log.iterdir())) == 5
    path.with_suffix(".corrupt").unlink(missing_ok=True)  # kept for whoever wants to look into it
    audit(tmp_path / "out", 5)


def test_a_killed_engine_between_two_renames_keeps_the_old_result(settings: Build, tmp_path: Path) -> None:
    run(settings(made_jobs(2)))
    replaced = tmp_path / "out" / ".acetate" / "replaced"
    replaced.mkdir()
    (tmp_path / "out" / "j0").rename(replaced / "j0")
    outcome, _ = run(settings(made_jobs(2)))
    assert (outcome.made, outcome.already_done) == (0, 2)
    audit(tmp_path / "out", 2)


def test_a_rename_that_fails_leaves_the_old_result_in_its_place(
    settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = made_jobs(1)
    run(settings(jobs))
    before = results(tmp_path / "out")
    rename = os.replace

    def replace(source: Path, target: Path) -> None:
        if "staging" in Path(source).parts and target == tmp_path / "out" / "j0":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match=r"[Ii]nput/output error"):
        render(settings([{**jobs[0], "seed": 9}]))
    assert results(tmp_path / "out") == before
    assert sorted(entry.name for entry in (tmp_path / "out" / ".acetate").iterdir()) == [
        "journal.sqlite",
        "lock",
    ]


def test_a_journal_is_opened_by_one_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    assert not journal.rebuilt and journal.entries() == []
    other = sqlite3.connect(tmp_path / "journal.sqlite", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM jobs")
    other.close()
    journal.close()


class Stillborn:
    """A pool whose workers die before they begin."""

    def __init__(self, settings: object, workers: int) -> None:
        self.held: list[str] = []

    def openings(self) -> list[Opening]:
        return [Opening(worker=0, model=None, empty=True)] if not self.held else []

    def submit(self, worker: int, task: Task) -> None:
        self.held.append(task.planned.job.id)

    def poll(self, seconds: float) -> list[Message]:
        innocent, self.held = tuple(self.held), []
        return [Lost(reason="its worker ended with status 1", innocent=innocent)]

    def stop(self, seconds: float) -> list[Message]:
        return []


def test_workers_that_cannot_begin_end_the_render(settings: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acetate.rendering.engine.LocalPool", Stillborn)
    with pytest.raises(AcetateError, match=r"workers end before they begin .*acetate doctor"):
        render(settings(made_jobs(1)))


def test_a_runner_that_is_not_there_fails_every_job_and_says_so(settings: Build) -> None:
    outcome, told = run(settings(made_jobs(2), runner="no_such_module:open_runner"))
    assert outcome.failed == 2
    assert all("no_such_module" in facts["reason"] for event, facts in told if event == "job_failed")
