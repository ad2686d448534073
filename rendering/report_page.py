"""``report.html``: what needs attention first, then every result with its picture, files, time and recomposition error.

One file that needs no other. Whatever comes from the list is escaped; the page runs no scripts and loads nothing.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median
from urllib.parse import quote

from .report_style import STYLE
from .summary import Line, Run
from .thumbnail import UNREADABLE, thumbnail

LARGE, SMALL, MANY = 176, 72, 1000
"""Pixels of a thumbnail, and of each one in a report of more than a thousand results."""
PICTURED = 10_000
"""Results that have a thumbnail in the page: each has a kilobyte or more, and a browser is to open the page."""
_STATES = ("done", "failed", "rejected", "waiting")
_HEAD = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>acetate render</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}</style></head><body>
"""


@dataclass(frozen=True, kw_only=True)
class _Tile:
    name: str
    value: str
    kind: str = ""


def page(lines: Sequence[Line], run: Run | None = None) -> str:
    """The whole page. ``run``: what the last render did of it."""
    done = [line for line in lines if line.state == "done"]
    open_lines = [line for line in lines if line.state != "done"]
    parts = [_HEAD, *_summary(lines, done, run)]
    if open_lines:
        parts.append(f"<h2>Needs attention<small>{len(open_lines)}</small></h2>\n<table>\n")
        titles = ("job", "row", "state", "task", "why", "tries")
        parts.append("<tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>\n")
        parts += [_row(line) for line in open_lines]
        parts.append("</table>\n")
    if done:
        side = LARGE if len(done) <= MANY else SMALL
        parts.append(f'<h2>Results<small>{len(done)}</small></h2>\n<div class="cards">\n')
        if len(done) > PICTURED:
            parts.append(
                f"<p>The first {PICTURED} have pictures here; all have preview.png in their folders.</p>\n"
            )
        parts += [_card(line, side if number < PICTURED else 0) for number, line in enumerate(done)]
        parts.append("</div>\n")
    return "".join([*parts, "</body></html>\n"])


def _summary(lines: Sequence[Line], done: Sequence[Line], run: Run | None) -> Iterator[str]:
    states = Counter(line.state for line in lines)
    facts = [f"{len(lines)} job{'s' * (len(lines) != 1)}"]
    if run is not None:
        facts.append(f"this run made {run.made} in {clock(run.seconds)}")
        facts.append(f"{run.workers} worker{'s' * (run.workers != 1)}")
    yield f"<h1>acetate render</h1>\n<p>{escape(' · '.join(facts))}</p>\n"
    shares = (f'<i class="{state}" style="flex:{states[state]}"></i>' for state in _STATES if states[state])
    yield f'<div class="bar" role="img" aria-label="{escape(", ".join(_counted(states)))}">{"".join(shares)}</div>\n'
    yield '<dl class="tiles">'
    for tile in _tiles(states, done, run):
        kind = f' class="{tile.kind}"' if tile.kind else ""
        yield f"<div><dt>{escape(tile.name)}</dt><dd{kind}>{escape(tile.value)}</dd></div>"
    yield "</dl>\n"


def _counted(states: Counter[str]) -> list[str]:
    return [f"{states[state]} {state}" for state in _STATES if states[state]]


def _tiles(states: Counter[str], done: Sequence[Line], run: Run | None) -> Iterator[_Tile]:
    yield _Tile(name="done", value=str(states["done"]), kind="good")
    for state in _STATES[1:]:
        if states[state]:
            yield _Tile(name=state, value=str(states[state]), kind=state)
    if run is not None and run.made and run.seconds:
        yield _Tile(name="documents per minute", value=f"{run.made / run.seconds * 60:.1f}")
        yield _Tile(name="models at work", value=f"{min(1.0, run.busy / (run.seconds * run.workers)):.0%}")
    times = [line.seconds for line in done if line.seconds is not None]
    if times:
        yield _Tile(name="seconds each, median", value=f"{median(times):.2f}")
        yield _Tile(name="slowest", value=f"{max(times):.2f} s")
    worst = max((line.error for line in done if line.error is not None), default=None)
    if worst is not None:
        yield _Tile(
            name="largest recomposition error",
            value=f"{worst:g}/255",
            kind="good" if worst <= 1 else "failed",
        )


def _row(line: Line) -> str:
    cells = [
        f'<td class="words">{escape(line.id) or "–"}</td>',
        f'<td class="number">{line.row}</td>',
        f'<td class="{escape(line.state)}">{escape(line.state)}</td>',
        f"<td>{escape(line.task)}</td>",
        f'<td class="words">{escape(_short(line.detail, 600))}</td>',
        f'<td class="number">{line.attempts or ""}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _card(line: Line, side: int) -> str:
    """``side``: pixels of the thumbnail, 0 for none."""
    folder = quote(line.id)
    picture = "" if line.preview is None or not side else _thumbnail(line.preview, side)
    facts = [line.task]
    if line.canvas is not None:
        facts.append(f"{line.canvas[0]} × {line.canvas[1]}")
    if line.layers:
        facts.append(f"{line.layers} layer{'s' * (line.layers != 1)}")
    measured = [] if line.seconds is None else [f"{line.seconds:.2f} s"]
    if line.error is not None:
        kind = "good" if line.error <= 1 else "failed"
        measured.append(f'<span class="{kind}">error {line.error:g}/255</span>')
    lost = ""
    if line.dropped:
        lost = f'<span class="failed">not taken over: {escape(_short("; ".join(line.dropped), 300))}</span>'
    files = "".join(f'<a href="{folder}/{quote(name)}">{escape(_kind(name))}</a>' for name in line.files)
    return (
        f'<div class="card"><div class="picture">{picture}</div><div><b><a href="{folder}/">{escape(line.id)}</a></b>'
        f'<span class="what">{escape(_short(line.detail, 300))}</span>'
        f'<span class="facts">{escape(" · ".join(facts))}</span><span class="facts">{" · ".join(measured)}</span>{lost}'
        f'<span class="files">{files}</span></div></div>\n'
    )


def _kind(name: str) -> str:
    return "folder" if name == "document" else name.removeprefix("document.")


def clock(seconds: float) -> str:
    """ "8.2 s", "3 min 20 s" or "2 h 05 min" """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return (
        f"{whole // 60} min {whole % 60:02d} s"
        if whole < 3600
        else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _thumbnail(path: Path, side: int) -> str:
    small = thumbnail(path, side)
    if small is None:
        return UNREADABLE
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/webp;base64,{data}" width="{small.width}" height="{small.height}" alt="">'
