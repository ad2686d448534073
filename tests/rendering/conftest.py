"""Lists, folders of results and a model that does as it is told."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acetate.rendering import Outcome, RenderSettings, render
from acetate.rendering.journal import scan
from acetate.rendering.receipts import differing, is_intact, strangers

STUB = "stub_runner:open_runner"
HERE = Path(__file__).parent


@pytest.fixture
def stub_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stub model leaves a file for every job it starts."""
    folder = tmp_path / "starts"
    folder.mkdir()
    monkeypatch.setenv("ACETATE_STUB_LOG", str(folder))
    monkeypatch.syspath_prepend(str(HERE))
    # Workers started by a command find the stub as this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    return folder


@pytest.fixture
def settings(tmp_path: Path, stub_log: Path) -> Callable[..., RenderSettings]:
    """``settings(jobs, workers=2)``: a render of these jobs by the stub model into ``tmp_path/out``."""

    def build(rows: list[dict[str, Any]], **others: Any) -> RenderSettings:
        path = write_jobs(tmp_path / "jobs.jsonl", rows)
        known = {"jobs": path, "folder": tmp_path / "out", "runner": STUB, "backoff": 0.01, **others}
        return RenderSettings(**known)

    return build


def write_jobs(path: Path, jobs: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs), encoding="utf-8")
    return path


def made_jobs(count: int, prompt: str = "plain", outputs: tuple[str, ...] = ("zip",)) -> list[dict[str, Any]]:
    """Jobs for the stub model."""
    return [
        {"id": f"j{number}", "task": "generate", "prompt": prompt, "seed": number, "outputs": list(outputs)}
        for number in range(count)
    ]


def run(settings: RenderSettings) -> tuple[Outcome, list[tuple[str, dict[str, Any]]]]:
    """The outcome and everything that the engine told."""
    told: list[tuple[str, dict[str, Any]]] = []
    outcome = render(settings, watch=lambda event, facts: told.append((event, facts)))
    return outcome, told


def results(folder: Path) -> dict[str, bytes]:
    """Every file of every result."""
    found = {}
    for place in sorted(folder.iterdir()):
        if place.is_dir() and not place.name.startswith("."):
            found |= {
                file.relative_to(folder).as_posix(): file.read_bytes()
                for file in sorted(place.rglob("*"))
                if file.is_file()
            }
    return found


def audit(folder: Path, expected: int) -> None:
    """Journal and folder agree, every result is whole, nothing temporary is left."""
    receipts = {receipt.id: receipt for receipt in scan(folder)}
    for id, receipt in receipts.items():
        assert is_intact(folder / id, receipt) and not differing(folder / id, receipt)
        assert strangers(folder / id, receipt) == []
    assert sorted(entry.name for entry in (folder / ".acetate").iterdir()) == ["journal.sqlite", "lock"]
    with closing(sqlite3.connect(folder / ".acetate" / "journal.sqlite")) as database:
        rows = database.execute("SELECT id, digest, state FROM jobs").fetchall()
    assert {(id, digest) for id, digest, state in rows if state == "done"} == {
        (id, receipt.digest) for id, receipt in receipts.items()
    }
    assert len(receipts) == expected
    assert [path for path in folder.rglob("*") if path.suffix == ".tmp"] == []


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    image = Image.new("RGB", (40, 30), (30, 60, 200))
    image.paste((220, 50, 40), (10, 8, 30, 22))
    image.save(path)
    return path


def two_seconds() -> float:
    """Two seconds of a machine that has time for us; longer where others use its cores, as much as they slow us down now."""
    began, worked = time.monotonic(), time.process_time()
    while time.process_time() - worked < 0.1:
        sum(range(1000))
    return 2 * max(1.0, (time.monotonic() - began) / 0.1)


def wait_for(file: Path, text: str, seconds: float = 60) -> None:
    """Until ``file`` holds ``text``."""
    deadline = time.monotonic() + seconds
    while not (file.exists() and text in file.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, f"{file} never said {text}"
        time.sleep(0.01)
