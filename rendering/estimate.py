"""A plan in words, and how long it may take, judged by what the same folder has seen or by figures of the embedded model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.registry import DEFAULT_MODEL
from .journal import past_seconds
from .places import STATE
from .plan import Plan, PlannedJob, counts
from .settings import RenderSettings

MEASURED = {
    ("decompose", DEFAULT_MODEL): 2.5,
    ("generate", DEFAULT_MODEL): 2.0,
    ("edit", ""): 0.1,
    ("convert", ""): 0.1,
}
"""Seconds per job on one CPU core of 2026, for pictures of poster size; where a folder has no past of its own."""
SHOWN = 50


def estimate_seconds(plan: Plan, settings: RenderSettings) -> tuple[float, list[str]]:
    """(seconds for all jobs with all workers, models of which nothing is known and whose jobs are left out)."""
    past = past_seconds(settings.folder / STATE / "journal.sqlite")
    total, unknown = 0.0, set()
    for planned in plan.todo:
        seconds = _seconds(planned, past)
        if seconds is None:
            unknown.add(planned.model)
        else:
            total += seconds
    return total / min(settings.workers, max(1, len(plan.todo))), sorted(unknown)


def _seconds(planned: PlannedJob, past: Mapping[tuple[str, str], float]) -> float | None:
    key = (planned.job.task, planned.model)
    return past.get(key, MEASURED.get(key))


def describe_plan(plan: Plan, settings: RenderSettings) -> dict[str, Any]:
    """The whole plan, JSON-able."""
    seconds, unknown = estimate_seconds(plan, settings)
    return {
        "todo": [
            {"id": one.job.id, "row": one.row, "redo": one.job.id in plan.redo, **one.job.settings()}
            for one in plan.todo
        ],
        "done": [one.job.id for one, _ in plan.done],
        "rejected": [{"row": one.row, "id": one.id, "reason": one.reason} for one in plan.rejected],
        "estimate": {"seconds": round(seconds, 1), "unknown_models": unknown},
    }


def plan_lines(plan: Plan, settings: RenderSettings) -> list[str]:
    """The plan for people."""
    lines = [f"{len(plan.todo)} to do, {len(plan.done)} done already, {len(plan.rejected)} rejected"]
    if plan.redo:
        lines.append(
            f"{len(plan.redo)} of them are made anew: their input or settings changed, or files are missing"
        )
    for (task, model), count in sorted(counts(plan).items()):
        lines.append(f"  {count:>6} {task}{f' with {model}' if model else ''}")
    for one in plan.rejected[:SHOWN]:
        name = f" ({one.id[:60]})" if one.id else ""
        lines.append(f"  row {one.row}{name}: {one.reason}")
    if len(plan.rejected) > SHOWN:
        lines.append(f"  and {len(plan.rejected) - SHOWN} more rows; --json prints them all")
    seconds, unknown = estimate_seconds(plan, settings)
    workers = f"{settings.workers} workers" if settings.workers > 1 else "1 worker"
    lines.append(f"about {_clock(seconds)} with {workers}" if plan.todo else "nothing to do")
    if unknown:
        lines.append(f"without the jobs of {', '.join(unknown)}, which have no past here to judge by")
    return lines


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
