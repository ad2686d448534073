"""Copies in an object store: whole or without a receipt, once, and tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from acetate.errors import InputError
from acetate.rendering import RenderSettings, render
from acetate.rendering.copies import Copies
from acetate.rendering.copying import Copier

from .conftest import made_jobs, results, run

Build = Callable[..., RenderSettings]
URL = "memory://bucket/results"


@pytest.fixture
def store() -> Any:
    found = fsspec.filesystem("memory")
    if found.exists("/bucket"):
        found.rm("/bucket", recursive=True)
    return found


def stored(store: Any) -> dict[str, bytes]:
    return {
        name.removeprefix("/bucket/results/"): store.cat_file(name) for name in store.find("/bucket/results")
    }


def test_every_result_is_copied_once(settings: Build, tmp_path: Path, store: Any) -> None:
    jobs = made_jobs(4, outputs=("zip", "folder"))
    run(settings(jobs[:2]))
    outcome, _ = run(settings(jobs, copy_to=URL))  # what was done before gets its copy too
    assert outcome.exit_status == 0 and stored(store) == results(tmp_path / "out")
    times = {name: store.created(f"/bucket/results/{name}") for name in stored(store)}
    jobs[0]["seed"] = 9
    run(settings(jobs, copy_to=URL))
    assert stored(store) == results(tmp_path / "out")
    kept = {name: time for name, time in times.items() if not name.startswith("j0/")}
    assert {name: store.created(f"/bucket/results/{name}") for name in kept} == kept


def test_a_stop_after_the_last_copy_comes_too_late(settings: Build, tmp_path: Path, store: Any) -> None:
    run(settings(made_jobs(3)))
    for stopped in (False, True):
        stop = threading.Event()
        copier = Copier(Copies(URL, stop.wait), stop)
        if stopped:
            stop.set()
        for number in range(3):
            copier.add(tmp_path / "out" / f"j{number}")
        while not stopped and copier.copied < 3:
            time.sleep(0.01)
        stop.set()
        assert copier.finish() is not stopped
        copier._thread.join(5)
        assert not copier._thread.is_alive()


def test_a_store_that_fails_is_tried_again_and_then_reported(
    settings: Build, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = MemoryFileSystem.put_file
    trouble = {
        "j0": 2,
        "j1": 99,
        "j2": 6,
    }  # the third fails five times, and then once more when all else is done

    def unsteady(self: Any, local: str, path: str, **others: Any) -> Any:
        for id in trouble:
            if f"/{id}/document" in path and trouble[id] > 0:
                trouble[id] -= 1
                raise TimeoutError("503 slow down")
        return write(self, local, path, **others)

    waits: list[float] = []
    monkeypatch.setattr(MemoryFileSystem, "put_file", unsteady)
    monkeypatch.setattr("acetate.rendering.engine.Copies", lambda url, _: Copies(url, pause=waits.append))
    outcome, told = run(settings(made_jobs(3), copy_to=URL))
    assert (outcome.made, outcome.uncopied, outcome.exit_status) == (3, 1, 1)
    assert [facts["id"] for event, facts in told if event == "copy_failed"] == ["j1"]
    assert sorted(waits) == sorted([1, 2, *[1, 2, 4, 8] * 3, 1])
    assert "j1/job.json" not in stored(store) and {"j0/job.json", "j2/job.json"} <= set(stored(store))
    trouble["j1"] = 0
    assert run(settings(made_jobs(3), copy_to=URL))[0].exit_status == 0
    assert stored(store) == results(tmp_path / "out")


def test_a_store_that_hangs_does_not_hold_up_a_stop(
    settings: Build, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, stop = threading.Event(), threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda *_, **__: released.wait(60))
    done = []

    def watch(event: str, facts: dict[str, Any]) -> None:
        done.append(event)
        if (
            event == "job_done" and done.count("job_done") == 12
        ):  # the first copy hangs, and no job waits for it
            threading.Timer(1.0, stop.set).start()

    began = time.monotonic()
    outcome = render(settings(made_jobs(12), copy_to=URL), stop=stop, watch=watch)
    released.set()
    assert outcome.made == 12 and outcome.exit_status == 130 and time.monotonic() - began < 30


def test_a_store_that_is_not_known(settings: Build) -> None:
    with pytest.raises(InputError, match=r"--copy-to nonsense://x cannot be opened"):
        render(settings(made_jobs(1), copy_to="nonsense://x"))
