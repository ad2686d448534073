"""Figures with their bars, and plain aligned tables of text. Knows no models and computes no metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "not yet", "not run", ""]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. ``bar``: what is asked for, in words, empty where nothing is. ``value``: the number reached or
    None. ``shown``: how it is printed. ``note``: what else should be known."""

    name: str
    bar: str
    value: float | None
    shown: str
    verdict: Verdict
    note: str = ""


def reached(
    name: str,
    value: float | None,
    bar: float,
    *,
    most: bool = False,
    strict: bool = False,
    form: str = "{:.3f}",
    note: str = "",
) -> Figure:
    """A figure judged against a number: at least ``bar``, or at most when ``most`` is set; not equal to it when ``strict``
    is. A value of None was not run."""
    sign = ("<" if most else ">") + ("" if strict else "=")
    wanted = f"{sign} {form.format(bar)}"
    if value is None:
        return Figure(name=name, bar=wanted, value=None, shown="-", verdict="not run", note=note)
    passed = (value < bar if most else value > bar) or (value == bar and not strict)
    verdict: Verdict = "pass" if passed else "not yet"
    return Figure(name=name, bar=wanted, value=value, shown=form.format(value), verdict=verdict, note=note)


def told(name: str, value: float | None, *, form: str = "{:.3f}", note: str = "") -> Figure:
    """A figure without a bar."""
    shown = "-" if value is None else form.format(value)
    return Figure(name=name, bar="", value=value, shown=shown, verdict="", note=note)


def missing(name: str, bar: str, verdict: Verdict, note: str) -> Figure:
    """A figure that there is not, and why."""
    return Figure(name=name, bar=bar, value=None, shown="-", verdict=verdict, note=note)


def figure_table(figures: Sequence[Figure]) -> str:
    """Name, bar, figure, verdict and note, one line each."""
    rows = [(f.name, f.bar, f.shown, f.verdict, f.note) for f in figures]
    return aligned(("figure", "bar", "reached", "verdict", "note"), rows, right=(2,))


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell, a rule under the head, no trailing spaces."""
    table = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
