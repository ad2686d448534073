"""Power cords pulled: the engine killed at random moments and started again, workers killed, Ctrl-C."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from acetate.rendering import RenderSettings

from .conftest import HERE, audit, events, made_jobs, results, run, two_seconds, wait_for, write_jobs

KILLS = 20


def start(jobs: Path, folder: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", HERE / "render_stub.py", jobs, folder, str(workers)],
        stderr=subprocess.PIPE,
        # A shell that runs tests in the background makes its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Processes that the engine started, as Linux lists them."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [] if not children.exists() else [int(word) for word in children.read_text().split()]


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_do_nothing_twice(
    settings: Callable[..., RenderSettings], tmp_path: Path, stub_log: Path
) -> None:
    jobs = made_jobs(60, "sleep 0.02", outputs=("zip", "folder"))
    path = write_jobs(tmp_path / "list.jsonl", jobs)
    folder = tmp_path / "killed"
    chance = random.Random(6)
    orphans: list[int] = []
    for _ in range(KILLS):
        process = start(path, folder)
        made = len(list(folder.glob("j*/job.json"))) if folder.exists() else 0
        # Somewhere between the first breath and a few results: by time, or by what has appeared.
        deadline = time.monotonic() + chance.uniform(0.2, 1.5) + chance.choice([0, 1.5])
        goal = made + chance.randint(0, 3)
        while time.monotonic() < deadline and len(list(folder.glob("j*/job.json"))) <= goal:
            time.sleep(0.002)
        orphans += workers_of(process)
        process.kill()
        process.wait()
        for place in folder.glob("j*"):  # at any moment: a result is whole or not there
            assert (place / "job.json").exists() and (place / "document.zip").exists()
    last = start(path, folder)
    assert last.wait(timeout=120) == 0
    audit(folder, 60)
    done = [entry["id"] for entry in events(folder) if entry["event"] == "job_done"]
    adopted = [entry["id"] for entry in events(folder) if entry["event"] == "job_adopted"]
    assert len(done) == len(set(done)) and set(done) | set(adopted) == {job["id"] for job in jobs}
    run(settings(jobs))
    assert results(folder) == results(tmp_path / "out")
    deadline = time.monotonic() + 5
    while any(is_worker(pid) for pid in orphans) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_worker(pid) for pid in orphans)  # workers go when their engine is gone


def test_a_worker_killed_from_outside_costs_nothing(tmp_path: Path, stub_log: Path) -> None:
    path = write_jobs(tmp_path / "list.jsonl", made_jobs(8, "sleep 0.2"))
    folder = tmp_path / "out"
    process = start(path, folder)
    wait_for(folder / "events.jsonl", '"job_started"')
    victims = [pid for pid in workers_of(process) if is_worker(pid)]
    assert victims
    for pid in victims[:1]:
        os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=60) == 0
    audit(folder, 8)
    lost = [entry for entry in events(folder) if entry["event"] == "worker_lost"]
    assert len(lost) == 1
    assert lost[0]["reason"].startswith(
        "its worker was killed by SIGKILL, perhaps out of memory; if so, use "
    )


@pytest.mark.parametrize("prompt", ["sleep 30", "deaf 30"])
def test_ctrl_c_stops_within_two_seconds(tmp_path: Path, stub_log: Path, prompt: str) -> None:
    """``sleep`` hears that it is cancelled; ``deaf`` does not and is ended."""
    path = write_jobs(tmp_path / "list.jsonl", made_jobs(5, prompt))
    folder = tmp_path / "out"
    process = start(path, folder)
    wait_for(folder / "events.jsonl", '"job_started"')
    limit, began = two_seconds(), time.monotonic()
    process.send_signal(signal.SIGINT)
    status = process.wait(timeout=60)
    seconds = time.monotonic() - began
    assert status == 130 and seconds < limit
    audit(folder, 0)
    assert events(folder)[-1]["event"] == "stopped" and events(folder)[-1]["left"] == 5


def test_ctrl_c_lets_the_running_write_end(tmp_path: Path, stub_log: Path) -> None:
    jobs = [*made_jobs(1, "big"), {**made_jobs(2)[1], "prompt": "sleep 30"}]
    for job in jobs:
        job["outputs"] = ["ora", "zip", "tiff", "folder"]
    path = write_jobs(tmp_path / "list.jsonl", jobs)
    folder = tmp_path / "out"
    process = start(path, folder, workers=1)
    # The second job starts the moment the first is handed to a writer: that write is under way now.
    wait_for(folder / "events.jsonl", '"job_started", "id": "j1"')
    assert not (folder / "j0").exists()
    limit, began = two_seconds(), time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130 and time.monotonic() - began < limit
    audit(folder, 1)
    assert (folder / "j0" / "document.ora").exists()
