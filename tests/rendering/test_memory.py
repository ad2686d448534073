"""Memory that runs out: a worker that is refused more, and one that the system kills in the middle of a job."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from acetate.errors import InputError
from acetate.rendering import RenderSettings
from acetate.rendering.oom import MEMORY_STATUS, OUT_OF_MEMORY, Epitaphs, is_out_of_memory

from .conftest import HERE, audit, events, made_jobs, results, run, write_jobs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
REMEDY = "use a smaller picture, fewer layers or fewer workers"


@pytest.fixture
def room() -> Iterator[Path]:
    """A control group whose processes share 200 MiB: beyond it the kernel kills the largest of them."""
    found = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for _, kinds, path in found if "memory" in kinds.split(",")), None)
    if own is not None:
        parent, limit = Path("/sys/fs/cgroup/memory" + own), "memory.limit_in_bytes"
    else:
        parent, limit = Path("/sys/fs/cgroup" + found[-1][2]), "memory.max"
    group = parent / f"acetate-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(200 << 20))
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here ({error.strerror})")
    yield group
    deadline = time.monotonic() + 10
    while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.05)
    group.rmdir()


def test_a_worker_that_is_refused_memory(
    settings: Callable[..., RenderSettings], tmp_path: Path, stub_log: Path
) -> None:
    jobs = made_jobs(8)
    jobs[3]["prompt"] = "limit 64"  # the worker may have 64 MiB more and wants 128
    outcome, told = run(settings(jobs, workers=2))
    assert (outcome.made, outcome.failed, outcome.exit_status) == (7, 1, 1)
    failed = [facts for event, facts in told if event == "job_failed"]
    assert [(facts["id"], facts["attempts"], facts["reason"]) for facts in failed] == [
        ("j3", 3, f"out of memory: {REMEDY}")
    ]
    workers = {path.name.split(".")[1] for path in stub_log.glob("j3.*")}
    assert len(workers) == 3  # a fresh one for every try
    audit(tmp_path / "out", 7)
    jobs[3]["prompt"] = "plain"
    assert run(settings(jobs))[0].made == 1
    audit(tmp_path / "out", 8)


def test_a_worker_that_the_kernel_kills_for_memory(
    settings: Callable[..., RenderSettings], tmp_path: Path, stub_log: Path, room: Path
) -> None:
    """The engine and its workers share 200 MiB; one job wants 400 and is killed by the kernel, every time."""
    jobs = made_jobs(8)
    jobs[3]["prompt"] = "allocate 400"
    path = write_jobs(tmp_path / "list.jsonl", jobs)
    folder = tmp_path / "killed"
    command = [sys.executable, "-P", HERE / "render_stub.py", path, folder, "2"]
    engine = subprocess.run(command, preexec_fn=lambda: (room / "cgroup.procs").write_text(str(os.getpid())))
    assert engine.returncode == 1
    told = events(folder)
    failed = [entry for entry in told if entry["event"] == "job_failed"]
    assert [(entry["id"], entry["attempts"], entry["reason"]) for entry in failed] == [
        ("j3", 3, f"out of memory: the system killed its worker; {REMEDY}")
    ]
    assert [entry["event"] for entry in told].count("worker_lost") == 3
    assert len({path.name.split(".")[1] for path in stub_log.glob("j3.*")}) == 3
    audit(folder, 7)
    assert f"out of memory: the system killed its worker; {REMEDY}" in (folder / "report.html").read_text()
    del jobs[3]
    for log in stub_log.iterdir():
        log.unlink()
    run(settings(jobs))
    assert results(folder) == results(tmp_path / "out")


def test_what_says_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 55)
    assert is_out_of_memory(refused.value)  # torch's CPU allocator has only words for it
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise InputError("the picture needs more memory") from error
    except InputError as outer:
        assert is_out_of_memory(outer)
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(InputError("nothing about it"))


def test_why_a_worker_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = tmp_path / "vmstat"
    monkeypatch.setattr("acetate.rendering.oom._COUNTER", counter)
    counter.write_text("nr_free_pages 5\noom_kill 3\n")
    epitaphs = Epitaphs()
    perhaps = f"its worker was killed by SIGKILL, perhaps out of memory; if so, {REMEDY}"
    assert epitaphs.of(-9) == perhaps
    counter.write_text("nr_free_pages 5\noom_kill 4\n")
    assert epitaphs.of(-9) == f"out of memory: the system killed its worker; {REMEDY}"
    assert epitaphs.of(-9) == perhaps  # that kill was told
    assert epitaphs.of(-11) == "its worker was killed by SIGSEGV"
    assert epitaphs.of(3) == "its worker ended with status 3"
    assert epitaphs.of(MEMORY_STATUS) == OUT_OF_MEMORY
    counter.unlink()  # a system that counts nothing
    assert Epitaphs().of(-9) == perhaps
