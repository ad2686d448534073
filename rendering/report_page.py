"""``report.html``: every job with its picture, time, recomposition error or reason, in one file that needs no other.

Whatever comes from the list is escaped; the page runs no scripts and loads nothing.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from .summary import Line

THUMBNAIL = 72
_ORDER = ("failed", "rejected", "waiting", "running", "done")
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>acetate render</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #201f1d; background: #faf9f6; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } p { color: #6b6761; margin: .3rem 0 1.4rem }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #d9d6cf; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.words { overflow-wrap: anywhere } img { display: block; background: repeating-conic-gradient(#fff 0 25%, #e4e4e4 0 50%)
  0 0 / 16px 16px }
.failed, .rejected { color: #a3231c } .waiting { color: #8a6100 } a { color: inherit }
</style></head><body>
"""


def page(lines: Sequence[Line]) -> str:
    """The whole page; failures come first, everything else in the order of the list."""
    states = Counter(line.state for line in lines)
    facts = [f"{states[state]} {state}" for state in reversed(_ORDER) if states[state]]
    seconds = sum(line.seconds or 0.0 for line in lines)
    if seconds:
        facts.append(f"{seconds:.1f} s of model time")
    worst = max((line.error for line in lines if line.error is not None), default=None)
    if worst is not None:
        facts.append(f"largest recomposition error {worst:g}/255")
    parts = [_HEAD, "<h1>acetate render</h1>\n", f"<p>{escape(', '.join(facts))}</p>\n", "<table>\n"]
    titles = ("", "job", "row", "state", "task", "what", "seconds", "error")
    parts.append("<tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>\n")
    ordered = sorted(lines, key=lambda line: line.state not in ("failed", "rejected", "waiting"))
    parts += [_row(line) for line in ordered]
    return "".join([*parts, "</table></body></html>\n"])


def _row(line: Line) -> str:
    name = escape(line.id) or "–"
    if line.state == "done":
        name = f'<a href="{quote(line.id)}/">{name}</a><br><small>{escape(", ".join(line.files))}</small>'
    cells = [
        f"<td>{_thumbnail(line.preview) if line.preview is not None else ''}</td>",
        f'<td class="words">{name}</td>',
        f'<td class="number">{line.row}</td>',
        f'<td class="{escape(line.state)}">{escape(line.state)}</td>',
        f"<td>{escape(line.task)}</td>",
        f'<td class="words">{escape(_short(line.detail))}</td>',
        f'<td class="number">{"" if line.seconds is None else f"{line.seconds:.2f}"}</td>',
        f'<td class="number">{"" if line.error is None else f"{line.error:g}/255"}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:299] + "…"


def _thumbnail(path: Path) -> str:
    with Image.open(path) as image:
        small = image.convert("RGBA")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/webp;base64,{data}" width="{small.width}" height="{small.height}" alt="">'
