"""A plan in words, and how long it may take, judged by what the same folder has seen or by figures of the embedded model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..models.registry import DEFAULT_MODEL
from .journal import past_seconds
from .places import STATE
from .plan import Plan, PlannedJob, counts
from .settings import RenderSettings


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of a job: ``fixed``, and ``step`` more for every step of every try."""

    fixed: float
    step: float = 0.0


MEASURED = {
    ("decompose", DEFAULT_MODEL): Cost(fixed=4.0, step=0.2),
    ("generate", DEFAULT_MODEL): Cost(fixed=0.4, step=0.12),
    ("edit", ""): Cost(fixed=0.5),
    ("convert", ""): Cost(fixed=0.5),
}
"""On one CPU core of 2026, for posters of 1200 x 1600 pixels in four layers; where a folder has no past of its own."""
EMBEDDED_STEPS = 10
"""What the embedded model's folder gives as ``default_steps``; a test compares them."""
LISTED = 10
"""Jobs that are told one by one."""
SHOWN = 50
"""Rejected rows that are told one by one."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a plan may take, and by what that was judged."""

    seconds: float | None
    """For all jobs with all workers, without those of ``unknown``; None where nothing is left to judge."""
    unknown: tuple[str, ...] = ()
    """Models that have no past here, by name."""
    by_past: bool = False
    """Whether this folder's own past told some of it."""


def estimate(plan: Plan, settings: RenderSettings) -> Estimate:
    """Looks at the journal of the folder, if there is one."""
    past = past_seconds(settings.folder / STATE / "journal.sqlite")
    total, told, by_past, unknown = 0.0, 0, False, set()
    for planned in plan.todo:
        key = (planned.job.task, planned.model)
        if key in past:
            total, told, by_past = total + past[key], told + 1, True
        elif key in MEASURED:
            cost, job = MEASURED[key], planned.job
            total += cost.fixed + cost.step * (job.steps or EMBEDDED_STEPS) * (job.best_of or 1)
            told += 1
        else:
            unknown.add(planned.model)
    seconds = total / min(settings.workers, told) if told else None
    return Estimate(seconds=seconds, unknown=tuple(sorted(unknown)), by_past=by_past)


def describe_plan(plan: Plan, settings: RenderSettings) -> dict[str, Any]:
    """The whole plan, JSON-able."""
    found = estimate(plan, settings)
    return {
        "folder": str(settings.folder.resolve()),
        "inputs": _inputs(settings),
        "workers": settings.workers,
        "todo": [
            {"id": one.job.id, "row": one.row, "redo": one.job.id in plan.redo, **one.job.settings()}
            for one in plan.todo
        ],
        "done": [one.job.id for one, _ in plan.done],
        "rejected": [{"row": one.row, "id": one.id, "reason": one.reason} for one in plan.rejected],
        "estimate": {
            "seconds": None if found.seconds is None else round(found.seconds, 1),
            "unknown_models": list(found.unknown),
            "by_past": found.by_past,
        },
    }


def plan_lines(plan: Plan, settings: RenderSettings) -> list[str]:
    """The plan for people."""
    lines = [f"{len(plan.todo)} to do, {len(plan.done)} done already, {len(plan.rejected)} rejected"]
    lines.append(f"inputs from {_inputs(settings)}, results in {settings.folder.resolve()}")
    if plan.redo:
        are = "of them is" if len(plan.redo) == 1 else "of them are"
        lines.append(
            f"{len(plan.redo)} {are} made anew: input, settings or model changed, or files are missing"
        )
    for (task, model), count in sorted(counts(plan).items()):
        lines.append(f"  {count:>6} {task}{f' with {model}' if model else ''}")
    lines += [_job_line(one, plan) for one in plan.todo[:LISTED]]
    if len(plan.todo) > LISTED:
        lines.append(f"  and {len(plan.todo) - LISTED} more jobs; --json prints them all")
    for one in plan.rejected[:SHOWN]:
        name = f" ({one.id[:60]})" if one.id else ""
        lines.append(f"  row {one.row}{name}: {one.reason}")
    if len(plan.rejected) > SHOWN:
        lines.append(f"  and {len(plan.rejected) - SHOWN} more rows; --json prints them all")
    return [*lines, *_estimate_lines(plan, settings)]


def _inputs(settings: RenderSettings) -> str:
    return settings.inputs_url or str(settings.root)


def _job_line(planned: PlannedJob, plan: Plan) -> str:
    """ "a1: poster.png into 4 layers, seed 7, as psd, zip" """
    job = planned.job
    what = [job.input or f'"{" ".join((job.prompt or "").split())}"']
    if isinstance(job.layers, tuple):
        what[0] += f" into {len(job.layers) + 1} layers"
    elif job.layers is not None:
        what[0] += f" into {job.layers} layer{'s' * (job.layers != 1)}"
    if job.edits:
        what.append(f"{len(job.edits)} edit{'s' * (len(job.edits) != 1)}")
    if planned.model:
        what.append(f"seed {job.seed}")
    anew = " (anew)" if job.id in plan.redo else ""
    words = ", ".join(what)
    return f"  {job.id}{anew}: {words if len(words) <= 90 else words[:89] + '…'}, as {', '.join(job.outputs)}"


def _estimate_lines(plan: Plan, settings: RenderSettings) -> list[str]:
    if not plan.todo:
        return ["nothing to do"]
    found = estimate(plan, settings)
    if found.seconds is None:
        return [f"nobody knows how long: {', '.join(found.unknown)} has no past in this folder to judge by"]
    workers = f"{settings.workers} workers" if settings.workers > 1 else "1 worker"
    source = "this folder's past" if found.by_past else "figures of one CPU core"
    lines = [f"about {_clock(found.seconds)} with {workers}, judged by {source}"]
    if found.unknown:
        lines.append(f"without the jobs of {', '.join(found.unknown)}, which have no past here to judge by")
    return lines


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
