"""Predicted against measured memory, and the time of a denoising step, for every preset; and with --compare the step of
diffusers' own transformer beside ours.

    python -P scripts/measure_memory.py --device cpu                     a transformer of 0.9 GB, presets scaled to it
    python -P scripts/measure_memory.py --model flux-large                     one layer on FLUX; flux-large-stack: several
    python -P scripts/measure_memory.py --quantise nf4 --preset 80             its blocks in 4 bits
    python -P scripts/measure_memory.py --device cuda --model full --size 640 --size 1024 --compare

Weights are random and drawn on the device: no files, no network. Every row runs in a process of its own. On the CPU the
process may not take more than the prediction and a tenth (RLIMIT_DATA), and its peak is the kernel's own high-water mark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from acetate.models.memory.budget import GB, OVERHEAD, PRESETS, Budget, parse_memory
from acetate.models.memory.means import full_dtype
from acetate.models.memory.measuring import MODELS, compare_steps, measure_run, model_named, scale_of
from acetate.models.memory.plan import Plan, plan
from acetate.models.quantised import STORED

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""glibc gives every larger piece back at once, so that the kernel's mark counts what is held and not what was freed."""


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", choices=tuple(MODELS), help="default: large on the CPU, full on a GPU")
    parser.add_argument(
        "--size", type=int, action="append", help="pixels a side, can be repeated (default: 256; 640)"
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument(
        "--preset", type=parse_memory, action="append", help="can be repeated (default: all that differ)"
    )
    parser.add_argument("--quantise", choices=STORED, help="keep blocks in fewer bits, as --quantise does")
    parser.add_argument(
        "--compare", action="store_true", help="also diffusers' transformer, eager and compiled"
    )
    parser.add_argument(
        "--peak-tflops", type=float, help="of the device, dense bf16 (default: a matrix product is timed)"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser


def main() -> int:
    parser = arguments()
    given = parser.parse_args()
    if given.compare and (given.model or "").startswith("flux"):
        parser.error("--compare is for Qwen-Image's transformer")
    given.model = given.model or ("full" if given.device == "cuda" else "large")
    if given.row is not None:
        print(json.dumps(_row(given, json.loads(given.row))))
        return 0
    rows: list[dict[str, Any]] = []
    for size in given.size or ([640] if given.device == "cuda" else [256]):
        for preset, found in _plans(given, size):
            row = _apart(given, {"what": "plan", "size": size, "preset": preset})
            phases = {phase.name: phase.device for phase in found.phases}
            done = found.means.short(found.blocks, full_dtype(given.device))
            rows.append({**row, "predicted": found.peak, "predicted_phases": phases, "done": done})
            _print_plan(rows[-1], first=len(rows) == 1)
        if given.compare:
            first = True
            for kind in ("diffusers", "ours", "ours, table"):
                for compiled in (False, True):
                    row = {"what": "step", "size": size, "kind": kind, "compiled": compiled}
                    rows.append(_apart(given, row))
                    _print_step(rows[-1], first)
                    first = False
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def _plans(given: argparse.Namespace, size: int) -> list[tuple[int, Plan]]:
    """Every preset with its plan; presets that come to the same as a smaller one are left out."""
    found: dict[Any, tuple[int, Plan]] = {}
    for preset in given.preset or PRESETS:
        try:
            one = _plan(given, size, preset)
        except ValueError as error:
            print(f"--memory {preset}: {error}")
            continue
        found.setdefault(one.means, (preset, one))
    return list(found.values())


def _plan(given: argparse.Namespace, size: int, preset: int) -> Plan:
    model, work = model_named(given.model, size, given.layers, given.steps)
    memory = int(preset * GB * scale_of(model, work, given.device))
    memory += 0 if given.model == "full" else OVERHEAD[given.device]
    return plan(model, work, Budget(device=given.device, memory=memory), given.quantise)


def _row(given: argparse.Namespace, row: dict[str, Any]) -> dict[str, Any]:
    """One row, in the process that was made for it."""
    if row["what"] == "step":
        model, work = model_named(given.model, row["size"], given.layers, given.steps)
        return {
            **row,
            **compare_steps(
                model, work, given.device, row["kind"], row["compiled"], given.steps, given.peak_tflops
            ),
        }
    found = _plan(given, row["size"], row["preset"])
    model, work = model_named(given.model, row["size"], given.layers, given.steps)
    return {**row, **measure_run(model, work, found, given.device, given.steps, given.guidance)}


def _apart(given: argparse.Namespace, row: dict[str, Any]) -> dict[str, Any]:
    skipped = ("row", "json", "size", "preset", "compare")
    words = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in vars(given).items()
        if name not in skipped and value is not None
    ]
    run = subprocess.run(
        [sys.executable, "-P", __file__, *words, "--row", json.dumps(row)],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        text=True,
    )
    if run.returncode != 0:
        raise SystemExit(f"{row} failed with status {run.returncode}; its errors are above")
    return dict(json.loads(run.stdout.splitlines()[-1]))


def _print_plan(row: dict[str, Any], first: bool) -> None:
    if first:
        print("| preset | size | predicted GB | measured GB | off by | s per step | what is done |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
    off = row["predicted"] / row["measured"] - 1
    done = row["done"]
    peaks = f"{row['predicted'] / GB:.3f} | {row['measured'] / GB:.3f}"
    print(
        f"| {row['preset']} | {row['size']} | {peaks} | {off:+.1%} | {row['step']:.3g} | {done} |", flush=True
    )


def _print_step(row: dict[str, Any], first: bool) -> None:
    if first:
        print("\n| transformer step | size | seconds | TFLOP | share of peak | peak GB |")
        print("| --- | --- | --- | --- | --- | --- |")
    name = f"{row['kind']}, {'compiled' if row['compiled'] else 'eager'}"
    share = f"{row['share']:.1%} of {row['peak_tflops']:.3g} TFLOPS"
    numbers = f"{row['step']:.4g} | {row['tflop']:.3g} | {share} | {row['measured'] / GB:.3f}"
    print(f"| {name} | {row['size']} | {numbers} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
