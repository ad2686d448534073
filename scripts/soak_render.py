"""The promise of `acetate render`, kept or not: mixed jobs on the embedded model must give the same bytes with one worker,
with two, in two processes of `accelerate launch`, on two local nodes of Ray (``--ray``), and after the engine was killed
again and again at random moments.

Prints one line per run; leaves with status 1 where a byte differs, a job is lost or done twice, or something is left over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from PIL import Image

from acetate.rendering.journal import scan
from acetate.rendering.receipts import RECEIPT, differing, is_intact, strangers

COMMAND = [sys.executable, "-P", "-m", "acetate", "render"]
FORMATS = (["psd", "zip"], ["folder"], ["ora", "png"], ["zip"])


def write_jobs(folder: Path, count: int) -> Path:
    """Of 20 jobs 6 convert, 6 edit, 7 generate and 1 takes a picture apart, the dearest by far; eight pictures."""
    chance = random.Random(0)
    for number in range(8):
        size = chance.randint(40, 96), chance.randint(40, 96)
        image = Image.new("RGB", size, (chance.randrange(256), 90, 160))
        image.paste((230, chance.randrange(256), 40), (8, 8, size[0] - 12, size[1] - 15))
        image.save(folder / f"{number}.png")
    lines = []
    for number in range(count):
        job: dict[str, object] = {"id": f"job-{number:04d}", "outputs": FORMATS[number % 3 - 1]}
        kind, source = number % 20, {"input": f"{number % 8}.png"}
        if kind < 6:
            job |= {"task": "convert", **source}
        elif kind < 12:
            job |= {"task": "edit", "edits": ["opacity:#0,0.5", f"move:#0,{number},3"], **source}
        elif kind < 19:
            job |= {
                "task": "generate",
                "prompt": "a red circle",
                "layers": 2,
                "steps": 1,
                "seed": number,
                "size": "32x32",
            }
        else:
            job |= {"task": "decompose", "layers": 2, "steps": 1, "seed": number, **source}
        lines.append(json.dumps(job) + "\n")
    path = folder / "jobs.jsonl"
    path.write_text("".join(lines))
    return path


def run(name: str, jobs: Path, out: Path, *options: str) -> dict[str, str]:
    began = time.perf_counter()
    subprocess.run([*COMMAND, jobs, "-o", out, "--quiet", *options], check=True, stdout=subprocess.DEVNULL)
    return told(name, out, time.perf_counter() - began)


def run_with_kills(jobs: Path, out: Path, kills: int) -> dict[str, str]:
    """Every engine is killed at a random moment: every other one within 15 seconds, which may be before its first result,
    the rest within a few results."""
    began = time.perf_counter()
    chance = random.Random(1)
    for kill in range(kills):
        before = done(out)
        engine = subprocess.Popen([*COMMAND, jobs, "-o", out, "--quiet"])
        goal = before + chance.randint(0, 8)
        deadline = time.monotonic() + (chance.uniform(1, 15) if kill % 2 else 600)
        while done(out) <= goal and time.monotonic() < deadline and engine.poll() is None:
            time.sleep(0.003)
        time.sleep(chance.uniform(0, 0.05))
        engine.kill()
        engine.wait()
    print(f"  {kills} kills, {done(out)} results before the last start", flush=True)
    return told_after(jobs, out, began)


def told_after(jobs: Path, out: Path, began: float) -> dict[str, str]:
    subprocess.run([*COMMAND, jobs, "-o", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return told("after kills", out, time.perf_counter() - began)


def run_in_group(jobs: Path, out: Path) -> dict[str, str]:
    """On a machine without GPUs accelerate starts several processes with ``--multi_gpu`` too."""
    began = time.perf_counter()
    command = [
        sys.executable,
        "-P",
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
    ]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["-m", "acetate", "render", str(jobs), "-o", str(out), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return told("accelerate, 2", out, time.perf_counter() - began)


def run_on_ray(jobs: Path, out: Path) -> dict[str, str]:
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
    try:
        from acetate.rendering import RenderSettings, render

        began = time.perf_counter()
        assert render(RenderSettings(jobs=jobs, folder=out, workers=2, cluster="auto")).exit_status == 0
        return told("Ray, 2 nodes", out, time.perf_counter() - began)
    finally:
        ray.shutdown()
        cluster.shutdown()


def done(out: Path) -> int:
    return sum(1 for _ in out.glob(f"*/{RECEIPT}")) if out.exists() else 0


def told(name: str, out: Path, seconds: float) -> dict[str, str]:
    found = hashes(out)
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
    print(f"{name:<14}{done(out):>6} results{len(found):>7} files{seconds:>9.1f} s   {digest}", flush=True)
    return found


def hashes(out: Path) -> dict[str, str]:
    return {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for place in out.iterdir()
        if place.is_dir() and not place.name.startswith(".")
        for file in place.rglob("*")
        if file.is_file()
    }


def faults(out: Path, count: int) -> list[str]:
    """What is wrong with a folder of results, in words."""
    found = []
    receipts = {receipt.id: receipt for receipt in scan(out)}
    if len(receipts) != count:
        found.append(f"{len(receipts)} results for {count} jobs")
    for id, receipt in receipts.items():
        if not is_intact(out / id, receipt) or differing(out / id, receipt) or strangers(out / id, receipt):
            found.append(f"{id} is not what its receipt says")
    state = sorted(path.name for path in (out / ".acetate").iterdir())
    if state != ["journal.sqlite", "lock"] or list(out.rglob("*.tmp")):
        found.append(f"left over: {state}")
    with closing(sqlite3.connect(out / ".acetate" / "journal.sqlite")) as database:
        rows = database.execute("SELECT id, digest FROM jobs WHERE state = 'done'").fetchall()
    if set(rows) != {(id, receipt.digest) for id, receipt in receipts.items()}:
        found.append("journal and folder differ")
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    ids = [event["id"] for event in events if event["event"] == "job_done"]
    if len(ids) != len(set(ids)):
        found.append("jobs were done twice")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ray", action="store_true", help="also on two local nodes of Ray")
    parser.add_argument(
        "--parts", default="one,two,group,killed", help="which runs, of one, two, group, killed, ray"
    )
    arguments = parser.parse_args()
    parts = [*arguments.parts.split(","), *["ray"] * arguments.ray]
    with tempfile.TemporaryDirectory(prefix="acetate-soak-") as name:
        folder = Path(name)
        jobs = write_jobs(folder, arguments.jobs)
        runs: dict[str, Callable[[Path], dict[str, str]]] = {
            "one": lambda out: run("1 worker", jobs, out),
            "two": lambda out: run("2 workers", jobs, out, "--workers", "2"),
            "group": lambda out: run_in_group(jobs, out),
            "killed": lambda out: run_with_kills(jobs, out, arguments.kills),
            "ray": lambda out: run_on_ray(jobs, out),
        }
        found = {part: runs[part](folder / part) for part in parts}
        wrong = [f"{part}: {fault}" for part in parts for fault in faults(folder / part, arguments.jobs)]
        wrong += [f"{part}: bytes differ from {parts[0]}" for part in parts if found[part] != found[parts[0]]]
    print(
        "\n".join(wrong)
        or "every run gave the same bytes; journals and folders agree; nothing lost, doubled or left over"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
