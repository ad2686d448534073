"""`accelerate launch`: every process of the group renders its share, and what it loses on the way costs nothing.

On CPUs: accelerate starts several processes on one machine with ``--multi_gpu`` there too (with ``--cpu`` it wants mpirun).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from acetate.cli import main
from acetate.rendering import RenderSettings
from acetate.rendering.group import _serve, find_place
from acetate.rendering.process import FINISH
from acetate.rendering.tasks import _prepare_torch

from .conftest import HERE, audit, events, made_jobs, results, run, two_seconds, wait_for, write_jobs

pytestmark = pytest.mark.slow
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(*words: object, options: tuple[str, ...] = (), port: int | None = None) -> subprocess.Popen[str]:
    """``accelerate launch`` of two processes in a session of its own, so that a test's Ctrl-C reaches them alone."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
    ]
    command += [
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        str(port or free_port()),
    ]
    command += [*(options or ("--num_machines", "1")), *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def workers_of(folder: Path) -> set[int]:
    return {entry["worker"] for entry in events(folder) if entry["event"] == "job_done"}


def test_every_process_renders_its_share(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"id": f"e{n}", "task": "edit", "input": "picture.png", "edits": [f"move:#0,{n},1"], "outputs": ["zip", "psd"]}
        for n in range(30)
    ]  # fmt: skip
    jobs = write_jobs(tmp_path / "jobs.jsonl", rows)
    assert main(["render", str(jobs), "-o", str(tmp_path / "one"), "--quiet"]) == 0
    monkeypatch.chdir(tmp_path)
    write_jobs(jobs, [*rows, {"id": "x", "task": "nothing"}])
    group = launch("-m", "acetate", "render", "jobs.jsonl", "-o", "two", "--quiet")
    out, errors = group.communicate(timeout=120)
    assert out.count("made") == 1 and "two: 30 made, 1 rejected" in out, errors  # one speaks for all
    assert group.returncode != 0 and "row 31 (x): task must be" in errors
    assert workers_of(tmp_path / "two") == {0, 1}
    audit(tmp_path / "two", 30)
    assert results(tmp_path / "two") == results(tmp_path / "one")


def test_a_member_whose_engine_has_nothing_to_do_and_one_whose_engine_is_gone() -> None:
    ours, theirs = Pipe()
    ours.send(FINISH)
    assert _serve(theirs, 0) == 0
    ours.close()
    with pytest.raises(EOFError):
        _serve(theirs, 0)


def test_two_machines_with_one_folder_and_workers_that_die(
    settings: Callable[..., RenderSettings], tmp_path: Path, stub_log: Path
) -> None:
    """Both machines are this one; the second speaks to the first over TCP. Launchers notice nothing of lost workers."""
    jobs = made_jobs(16, "sleep 0.1")
    for number, prompt in ((2, "die once"), (5, "die always"), (9, "memory"), (11, "bug")):
        jobs[number]["prompt"] = prompt
    folder = tmp_path / "group"
    path = write_jobs(tmp_path / "list.jsonl", jobs)
    port = free_port()
    machines = [
        launch(
            HERE / "render_group.py", path, folder, port=port,
            options=("--num_machines", "2", "--machine_rank", str(number), "--main_process_ip", "127.0.0.1"),
        )
        for number in range(2)
    ]  # fmt: skip
    errors = [machine.communicate(timeout=120)[1] for machine in machines]
    assert machines[0].returncode != 0  # two jobs failed
    audit(folder, 14)
    assert workers_of(folder) == {0, 1}
    failed = {entry["id"]: entry["reason"] for entry in events(folder) if entry["event"] == "job_failed"}
    assert set(failed) == {"j5", "j11"} and "killed by SIGKILL" in failed["j5"], errors
    for log in stub_log.iterdir():
        log.unlink()
    run(settings(jobs))
    assert results(folder) == results(tmp_path / "out")


def test_a_lost_process_ends_the_group_and_the_launcher_starts_it_again(
    tmp_path: Path, stub_log: Path
) -> None:
    path = write_jobs(tmp_path / "list.jsonl", made_jobs(14, "sleep 0.3"))
    folder = tmp_path / "group"
    group = launch(
        HERE / "render_group.py", path, folder, options=("--num_machines", "1", "--max_restarts", "1")
    )
    wait_for(folder / "events.jsonl", '"worker": 1')
    os.kill(rank(group.pid, 1), signal.SIGKILL)
    _, errors = group.communicate(timeout=120)
    assert group.returncode == 0, errors
    audit(folder, 14)
    told = events(folder)
    assert [entry["event"] for entry in told].count("started") == 2
    done = [entry["id"] for entry in told if entry["event"] == "job_done"]
    assert len(done) == len(set(done)) == 14
    assert max(len(list(stub_log.glob(f"j{number}.*"))) for number in range(14)) <= 2


def rank(launcher: int, number: int) -> int:
    """The process of a rank, as Linux knows it by its environment."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={number}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"rank {number} is not there")


def test_ctrl_c_stops_the_group(tmp_path: Path, stub_log: Path) -> None:
    path = write_jobs(tmp_path / "list.jsonl", made_jobs(6, "sleep 30"))
    folder = tmp_path / "group"
    group = launch(HERE / "render_group.py", path, folder)
    wait_for(folder / "events.jsonl", '"worker": 1')
    limit, began = two_seconds(), time.monotonic()
    os.killpg(group.pid, signal.SIGINT)
    wait_for(folder / "events.jsonl", '"stopped"')
    assert time.monotonic() - began < limit
    group.communicate(timeout=60)
    assert group.returncode != 0
    audit(folder, 0)


@pytest.mark.parametrize(
    ("index", "accelerators", "device"), [(0, 4, "cuda:0"), (3, 4, "cuda:3"), (5, 4, "cuda:1"), (1, 1, None)]
)
def test_every_worker_has_an_accelerator_of_its_own(
    monkeypatch: pytest.MonkeyPatch, index: int, accelerators: int, device: str | None
) -> None:
    chosen: list[int] = []
    for name, stand_in in (("device_count", lambda: accelerators), ("set_device", chosen.append)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for name in ("ACETATE_DEVICE", "ACCELERATE_USE_CPU"):
        monkeypatch.setenv(name, "")
    _prepare_torch(1, index)
    assert os.environ["ACETATE_DEVICE"] == (device or "")  # of a single one the session takes it by itself
    assert chosen == ([] if device is None else [int(device[-1])])
    monkeypatch.setenv("ACETATE_DEVICE", "cuda:7")  # somebody's wish stands
    _prepare_torch(1, index)
    assert os.environ["ACETATE_DEVICE"] == "cuda:7"
    monkeypatch.setenv("ACETATE_DEVICE", "")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    _prepare_torch(1, index)
    assert os.environ["ACETATE_DEVICE"] == "cpu"


def test_a_place_in_a_group_is_what_a_launcher_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert find_place() is None
    for name, value in zip(VARIABLES, ("1", "0", "2", "1", "10.0.0.1", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    place = find_place()
    assert place is not None and (place.rank, place.local, place.size, place.one_machine) == (1, 0, 2, False)
    path = write_jobs(tmp_path / "list.jsonl", made_jobs(1))
    words = ["render", str(path), "-o", str(tmp_path / "out")]
    assert main([*words, "--dry-run"]) == 0 and capsys.readouterr().out == ""  # rank 0 prints the plan
    for option in (["--workers", "2"], ["--cluster", "auto"]):
        assert main([*words, *option]) == 2
        assert f"{option[0]} has no place under a launcher" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_place() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK")  # RANK and WORLD_SIZE alone may be of anything
    assert find_place() is None
