"""An overview of records: one row each, the picture first, then every layer on a checkerboard.

For looking at a data set before training on it. Draws what it is handed and judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .records import Record

PAPER, INK, GREY = (250, 249, 246), (32, 31, 29), (124, 121, 115)
LIGHT, DARK = 255, 228
"""The two squares of the checkerboard."""
GAP, LINE = 8, 16
"""Pixels between pictures; height of a line of text."""


def records_sheet(records: Sequence[Record], titles: Sequence[str], *, side: int = 128) -> Image.Image:
    """RGB picture with a row per record: ``titles`` and caption above; ``side`` is the longer side of each cell."""
    columns = max(len(record.layers) for record in records) + 1
    sizes = [_fitted(record.canvas, side) for record in records]
    width = GAP + columns * (side + GAP)
    page = Image.new("RGB", (width, sum(height + 3 * LINE + GAP for _, height in sizes) + GAP), PAPER)
    draw, font, top = ImageDraw.Draw(page), ImageFont.load_default(12), GAP
    for record, title, size in zip(records, titles, sizes, strict=True):
        draw.text((GAP, top), _cut(draw, f"{title}  {record.caption}", font, width - 2 * GAP), INK, font)
        cells = [
            ("", record.merged),
            *((layer.caption, full) for layer, full in zip(record.layers, record.stack(), strict=True)),
        ]
        for column, (caption, pixels) in enumerate(cells):
            left = GAP + column * (side + GAP)
            page.paste(_shown(pixels, size), (left, top + LINE))
            draw.text((left, top + LINE + size[1]), _cut(draw, caption, font, side), GREY, font)
        top += size[1] + 3 * LINE + GAP
    return page


def _fitted(canvas: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(canvas)
    return max(1, round(canvas[0] * scale)), max(1, round(canvas[1] * scale))


def _shown(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels), "RGBA").convert("RGBa")
    small = picture.resize(
        size, Image.Resampling.BOX if size[0] < picture.width else Image.Resampling.NEAREST
    )
    rows, columns = np.indices((size[1], size[0])) // 8
    board = np.where((rows + columns) % 2 == 0, LIGHT, DARK).astype(np.uint8)
    backdrop = Image.fromarray(board).convert("RGBA")
    backdrop.alpha_composite(small.convert("RGBA"))
    return backdrop.convert("RGB")


def _cut(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int
) -> str:
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(text + "…", font) > room:
        text = text[:-1]
    return text.rstrip() + "…"
