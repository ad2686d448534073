"""One page with a small picture of every result. Draws what it is handed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..contact_sheet import DARK, GREY, INK, LIGHT, PAPER
from .summary import Line
from .thumbnail import UNREADABLE, thumbnail

CELL, CAPTION, GAP, MARGIN, COLUMNS = 120, 22, 12, 28, 10
MOST = 1000
"""Pictures on a sheet; of longer lists the first ones are shown, and the sheet says so."""


def draw_sheet(lines: Sequence[Line]) -> Image.Image:
    """An RGB picture of the first 1000 results that have a preview."""
    shown = lines[:MOST]
    columns = min(COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    width = 2 * MARGIN + max(columns, 3) * (CELL + GAP) - GAP
    page = Image.new("RGB", (width, 2 * MARGIN + 40 + rows * (CELL + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    count = (
        f"{len(lines)} results"
        if len(shown) == len(lines)
        else f"the first {len(shown)} of {len(lines)} results"
    )
    draw.text((MARGIN, MARGIN), count, INK, ImageFont.load_default(20))
    squares = (np.indices((CELL, CELL)) // 10).sum(axis=0)
    board = Image.fromarray(np.where(squares % 2 == 0, LIGHT, DARK).astype(np.uint8))
    small = ImageFont.load_default(11)
    for index, line in enumerate(shown):
        left = MARGIN + index % columns * (CELL + GAP)
        top = MARGIN + 40 + index // columns * (CELL + CAPTION + GAP)
        assert line.preview is not None
        picture = thumbnail(line.preview, CELL)
        if picture is None:
            draw.text((left + CELL // 2, top + CELL // 2), UNREADABLE, GREY, small, anchor="mm")
        else:
            place = (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2)
            page.paste(board.crop((0, 0, *picture.size)).convert("RGB"), place)
            page.paste(picture, place, picture)
        name = line.id if len(line.id) <= 20 else line.id[:19] + "…"
        draw.text((left, top + CELL + 4), name, GREY, small)
    return page
