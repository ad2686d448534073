"""What `acetate render` gains and costs, in one table: documents per minute against calling the command line in a loop, one
worker against two, the engine by itself with a model that does nothing, and the memory over many jobs, of the idle model
and of the embedded one.

CPU seconds are those of all processes; "model idle" is the share of the time in which a worker's model waited, "CPU idle"
the share of the allowed cores that none of ours used. On a machine that others use too, trust the CPU seconds."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from acetate.rendering import RenderSettings, render

PARTS = ("overhead", "memory", "loop", "scaling", "long")
IDLE = "acetate.rendering.idle:open_runner"
CORES = len(os.sched_getaffinity(0))
_PACE: dict[str | int, float] = {}
"""Documents per minute of the loop and of so many workers."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--documents", type=int, default=8, help="for the loop")
    parser.add_argument("--many", type=int, default=48, help="documents for each row of scaling")
    parser.add_argument("--jobs", type=int, default=2000, help="for overhead and memory")
    parser.add_argument("--long", type=int, default=500, help="jobs of the embedded model for the part long")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acetate-bench-", dir=arguments.folder) as name:
        folder = Path(name)
        Image.new("RGB", (96, 72), (40, 90, 200)).save(folder / "in.png")
        print(
            f"{'':<26}{'docs':>6}{'docs/min':>10}{'wall s':>9}{'CPU s':>8}{'model idle':>12}{'CPU idle':>10}"
        )
        for part in arguments.parts.split(","):
            _PARTS[part](folder, arguments)
    return 0


def overhead(folder: Path, arguments: argparse.Namespace) -> None:
    """Milliseconds per job from the first result to the last, so that starting processes does not count."""
    jobs = write_jobs(folder / "idle.jsonl", [made(number) for number in range(arguments.jobs)])
    line("engine, idle model", arguments.jobs, lambda: through(jobs, folder / "idle", 1, IDLE))
    times = [
        event["time"]
        for event in map(json.loads, (folder / "idle" / "events.jsonl").read_text().splitlines())
        if event["event"] == "job_done"
    ]
    first, last = (seconds_of(one) for one in (times[0], times[-1]))
    print(f"  per job {(last - first) / (len(times) - 1) * 1000:.2f} ms of wall clock")


def memory(folder: Path, arguments: argparse.Namespace) -> None:
    """Peak memory of a worker after a tenth of the jobs and at the end."""
    path = folder / "idle" / "events.jsonl"
    if not path.exists():
        overhead(folder, arguments)
    print(f"  {peaks(path)}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  engine's peak memory {own:.1f} MiB, plan of {arguments.jobs} jobs included")


def long(folder: Path, arguments: argparse.Namespace) -> None:
    """The embedded model over and over, as small as it works: 32 x 32 pixels, one step, five of six jobs generate."""
    rows = [
        {
            "id": f"l{number}",
            "task": "generate",
            "prompt": f"a red circle and {number} stars",
            "size": "32x32",
            "layers": 2,
            "steps": 1,
            "seed": number,
        }
        if number % 6
        else {
            "id": f"l{number}",
            "task": "decompose",
            "input": "in.png",
            "layers": 2 + number // 6 % 3,
            "steps": 1,
            "seed": number,
        }
        for number in range(arguments.long)
    ]
    jobs = write_jobs(folder / "long.jsonl", rows)
    line("embedded model, small jobs", len(rows), lambda: through(jobs, folder / "long", 1, None))
    print(f"  {peaks(folder / 'long' / 'events.jsonl')}")


def peaks(path: Path) -> str:
    """The worker's peak memory as a render went on."""
    found = [
        event["peak_memory_mib"] for event in map(json.loads, path.open()) if event["event"] == "job_done"
    ]
    shown = [
        (share, found[min(len(found) - 1, len(found) * share // 100)]) for share in (10, 25, 50, 75, 100)
    ]
    return "worker's peak memory " + ", ".join(f"{mib:.1f} MiB after {share} %" for share, mib in shown)


def loop(folder: Path, arguments: argparse.Namespace) -> None:
    count = arguments.documents

    def one_by_one() -> None:
        for number in range(count):
            command = [sys.executable, "-P", "-m", "acetate", "decompose", folder / "in.png", "-n", "3", "-q"]
            command += [
                "--steps",
                str(arguments.steps),
                "--seed",
                str(number),
                "-o",
                folder / f"loop{number}.psd",
            ]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )

    _PACE["loop"] = line("command line in a loop", count, one_by_one)


def scaling(folder: Path, arguments: argparse.Namespace) -> None:
    rows = [
        {
            "id": f"d{number}",
            "task": "decompose",
            "input": "in.png",
            "layers": 3,
            "steps": arguments.steps,
            "seed": number,
        }
        for number in range(arguments.many)
    ]
    jobs = write_jobs(folder / "real.jsonl", rows)
    for workers in (1, 2):
        words = f"render, {workers} worker{'s' * (workers > 1)}"
        _PACE[workers] = line(
            words, len(rows), lambda workers=workers: through(jobs, folder / f"real{workers}", workers, None)
        )  # type: ignore[misc]
    if "loop" in _PACE:
        print(
            f"  1 worker against the loop: {_PACE[1] / _PACE['loop']:.1f} times as many documents per minute"
        )
    steady = {workers: steady_pace(folder / f"real{workers}") for workers in (1, 2)}
    print(
        f"  2 workers against 1, on {CORES} core{'s' * (CORES != 1)}: {_PACE[2] / _PACE[1]:.2f} times as many; "
        f"{steady[2] / steady[1]:.2f} times once models are loaded ({steady[1]:.1f} and {steady[2]:.1f} per minute)"
    )


def steady_pace(out: Path) -> float:
    """Documents per minute from when every worker had made its first one."""
    events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    done = [(seconds_of(event["time"]), event["worker"]) for event in events if event["event"] == "job_done"]
    began = max(min(time for time, worker in done if worker == one) for one in {worker for _, worker in done})
    later = [time for time, _ in done if time > began]
    return len(later) / (later[-1] - began) * 60


def made(number: int) -> dict[str, Any]:
    return {"id": f"j{number}", "task": "generate", "prompt": "nothing", "seed": number, "outputs": ["zip"]}


def write_jobs(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def through(jobs: Path, out: Path, workers: int, runner: str | None) -> float:
    """A render; the share of the time in which the models were idle."""
    extra = {} if runner is None else {"runner": runner}
    outcome = render(RenderSettings(jobs=jobs, folder=out, workers=workers, **extra))  # type: ignore[arg-type]
    assert outcome.exit_status == 0, outcome
    return 1 - outcome.busy_seconds / (outcome.seconds * workers)


def line(name: str, count: int, work: Callable[[], float | None]) -> float:
    """Print a row of the table; returns documents per minute."""
    began, before = time.perf_counter(), cpu_seconds()
    idle = work()
    wall, cpu = time.perf_counter() - began, cpu_seconds() - before
    shown = "" if idle is None else f"{idle:.0%}"
    free = max(0.0, 1 - cpu / (wall * CORES))
    print(
        f"{name:<26}{count:>6}{count / wall * 60:>10.1f}{wall:>9.1f}{cpu:>8.1f}{shown:>12}{free:>10.0%}",
        flush=True,
    )
    return count / wall * 60


def cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def seconds_of(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


_PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "overhead": overhead,
    "memory": memory,
    "loop": loop,
    "scaling": scaling,
    "long": long,
}


if __name__ == "__main__":
    sys.exit(main())
