"""Contact sheets of many scenes on one page: what was given, what came out, what would have been right. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, GREY, HAIRLINE = (250, 249, 246), (32, 31, 29), (124, 121, 115), (217, 214, 207)
LIGHT, DARK = 255, 226
SQUARE = 8
CELL = 128
GAP = 8
MARGIN = 32
HEAD = 84
LABEL = 20
PANEL_GAP = 36
LABEL_WIDTH = 84


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row of pictures (H, W, 4) uint8 with a word in front of it."""

    label: str
    pictures: Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What belongs to one scene: a caption and its strips."""

    caption: str
    strips: Sequence[Strip]


def sheet(title: str, facts: str, panels: Sequence[Panel], *, columns: int = 2) -> Image.Image:
    """All panels in order, ``columns`` side by side, as one RGB picture."""
    across = max((len(strip.pictures) for panel in panels for strip in panel.strips), default=1)
    down = max((len(panel.strips) for panel in panels), default=1)
    width = LABEL_WIDTH + across * (CELL + GAP)
    height = LABEL + down * (CELL + GAP) + GAP
    rows = -(-len(panels) // columns)
    size = (2 * MARGIN + columns * width + (columns - 1) * PANEL_GAP, HEAD + rows * (height + GAP) + MARGIN)
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 20), title, INK, ImageFont.load_default(24))
    draw.text((MARGIN, 54), facts, GREY, ImageFont.load_default(14))
    for number, panel in enumerate(panels):
        left = MARGIN + (number % columns) * (width + PANEL_GAP)
        top = HEAD + (number // columns) * (height + GAP)
        _draw_panel(page, draw, panel, left, top, width)
    return page


def _draw_panel(
    page: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int, width: int
) -> None:
    draw.text((left, top), _cut(draw, panel.caption, width), INK, ImageFont.load_default(13))
    for row, strip in enumerate(panel.strips):
        y = top + LABEL + row * (CELL + GAP)
        draw.text((left, y + CELL // 2 - 8), strip.label, GREY, ImageFont.load_default(13))
        for column, picture in enumerate(strip.pictures):
            x = left + LABEL_WIDTH + column * (CELL + GAP)
            page.paste(_on_squares(picture), (x, y))
            draw.rectangle((x - 1, y - 1, x + CELL, y + CELL), outline=HAIRLINE)


def _on_squares(picture: np.ndarray) -> Image.Image:
    """A straight RGBA picture over a checkerboard, CELL pixels square."""
    image = Image.fromarray(picture)
    if image.size != (CELL, CELL):
        image = image.resize((CELL, CELL), Image.Resampling.LANCZOS)  # Pillow premultiplies by itself
    rows, columns = np.indices((CELL, CELL)) // SQUARE
    board = np.where((rows + columns) % 2 == 0, LIGHT, DARK).astype(np.uint8)
    backdrop = Image.fromarray(board).convert("RGBA")
    backdrop.alpha_composite(image)
    return backdrop.convert("RGB")


def _cut(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    font = ImageFont.load_default(13)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text.rstrip() + "…"
