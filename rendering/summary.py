"""What a render leaves for people at its end: ``contact_sheet.png`` and ``report.html``, complete in themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..layers.io.atomic import atomic_write
from .journal import Entry
from .plan import Plan
from .receipts import PREVIEW, read_receipt


@dataclass(frozen=True, kw_only=True)
class Line:
    """One job as a summary shows it."""

    id: str
    row: int
    state: str
    """done, failed, rejected or waiting."""
    task: str = ""
    detail: str = ""
    seconds: float | None = None
    error: float | None = None
    """Recomposition error in levels of 1/255."""
    preview: Path | None = None
    files: tuple[str, ...] = ()
    canvas: tuple[int, int] | None = None
    layers: int = 0
    """How many the document has, 0 where it is not known."""
    attempts: int = 0
    dropped: tuple[str, ...] = ()
    """What of its input could not be read."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of the engine did. ``busy``: seconds of all models together."""

    made: int
    seconds: float
    busy: float
    workers: int


def write_summary(folder: Path, plan: Plan, entries: Sequence[Entry], run: Run | None = None) -> None:
    """Write both for all jobs of ``plan``. Raises OutputError."""
    from .report_page import page
    from .sheet import draw_sheet

    lines = summary_lines(folder, plan, entries)
    with atomic_write(folder / "report.html") as file:
        file.write(page(lines, run).encode("utf-8", "replace"))
    shown = [line for line in lines if line.preview is not None]
    if shown:
        with atomic_write(folder / "contact_sheet.png") as file:
            draw_sheet(shown).save(file, "PNG")


def summary_lines(folder: Path, plan: Plan, entries: Sequence[Entry]) -> list[Line]:
    """Every row of the list, in its order."""
    known = {entry.id: entry for entry in entries}
    lines = [Line(id=one.id or "", row=one.row, state="rejected", detail=one.reason) for one in plan.rejected]
    for planned in (*plan.todo, *(done for done, _ in plan.done)):
        id = planned.job.id
        entry = known[id]
        receipt = read_receipt(folder / id) if entry.state == "done" else None
        detail = entry.reason or planned.job.prompt or planned.job.input or ""
        facts = {} if receipt is None else receipt.facts
        known_facts = ("recomposition_error", "canvas", "layers", "dropped")
        error, canvas, layers, dropped = (facts.get(name) for name in known_facts)
        lines.append(
            Line(
                id=id,
                row=planned.row,
                state=entry.state,
                task=planned.job.task,
                detail=detail,
                seconds=entry.seconds,
                error=error if isinstance(error, int | float) else None,
                preview=folder / id / PREVIEW if receipt is not None else None,
                files=() if receipt is None else _documents(receipt.files),
                canvas=(int(canvas[0]), int(canvas[1]))
                if isinstance(canvas, list) and len(canvas) == 2
                else None,
                layers=len(layers) if isinstance(layers, list) else 0,
                attempts=entry.attempts,
                dropped=tuple(map(str, dropped)) if isinstance(dropped, list) else (),
            )
        )
    return sorted(lines, key=lambda line: (line.row, line.id))


def _documents(files: dict[str, tuple[int, str]]) -> tuple[str, ...]:
    """The documents of a result: files at its top and folders."""
    return tuple(sorted({name.split("/")[0] for name in files} - {PREVIEW}))
