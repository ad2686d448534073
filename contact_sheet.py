"""A contact sheet: the picture, what the layers give back, and every layer on a checkerboard, on one page.

Draws what it is handed and judges nothing. Uses only the typeface that ships inside Pillow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .layers.blend import BlendMode
from .layers.document import Layer, LayeredImage

PAPER, INK, GREY, HAIRLINE = (250, 249, 246), (32, 31, 29), (124, 121, 115), (217, 214, 207)
LIGHT, DARK = 255, 228
"""The two squares of the checkerboard."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Measures of a sheet in pixels."""

    width: int = 1600
    margin: int = 56
    gap: int = 28
    caption: int = 46
    head: int = 118
    square: int = 10
    max_columns: int = 5
    max_cell_height: int = 520


def contact_sheet(
    document: LayeredImage,
    picture: Image.Image | None = None,
    *,
    title: str,
    facts: str = "",
    sheet: Sheet | None = None,
) -> Image.Image:
    """The sheet as an RGB picture ``sheet.width`` pixels wide.

    ``picture``: what was taken apart (RGBA), shown first when given. ``facts``: the line below the title; by default the
    number of layers and the size. Every layer is shown at its place on the whole canvas with its own opacity and mask,
    but in normal mode, since a blend mode means nothing over a checkerboard; the caption names the mode.
    """
    sheet = sheet or Sheet()
    leaves = document.leaves()
    count = f"{len(leaves)} layers" if len(leaves) != 1 else "1 layer"
    cells = [] if picture is None else [("Input", "", picture)]
    cells.append(("Recomposed" if picture is not None else "All layers", count, document.flatten()))
    cells += [(layer.name, _details(layer), _alone(document, layer)) for layer in leaves]

    columns = _columns(len(cells), sheet.max_columns)
    cell_width = (sheet.width - 2 * sheet.margin - (columns - 1) * sheet.gap) // columns
    scale = min(cell_width / document.width, sheet.max_cell_height / document.height)
    size = (max(1, round(document.width * scale)), max(1, round(document.height * scale)))
    rows = -(-len(cells) // columns)
    height = sheet.head + rows * (size[1] + sheet.caption + sheet.gap) + sheet.margin - sheet.gap
    page = Image.new("RGB", (sheet.width, height), PAPER)
    draw = ImageDraw.Draw(page)
    facts = facts or f"{count}, {document.width} x {document.height} px"
    draw.text((sheet.margin, 38), title, INK, ImageFont.load_default(30))
    draw.text((sheet.margin, 80), facts, GREY, ImageFont.load_default(16))
    for index, (name, details, image) in enumerate(cells):
        left = sheet.margin + (index % columns) * (cell_width + sheet.gap)
        top = sheet.head + (index // columns) * (size[1] + sheet.caption + sheet.gap)
        page.paste(_on_checkerboard(image, size, sheet.square), (left, top))
        draw.rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=HAIRLINE)
        _caption(draw, name, details, left, top + size[1] + 10, size[0])
    return page


def _columns(cells: int, most: int) -> int:
    """The number of columns that leaves the fewest empty places; the larger of two equally good ones."""
    return cells if cells <= most else min(range(most, 2, -1), key=lambda columns: -cells % columns)


def _details(layer: Layer) -> str:
    words = [f"{layer.width} x {layer.height}"]
    if layer.blend is not BlendMode.NORMAL:
        words.insert(0, layer.blend.value)
    if layer.opacity < 1:
        words.insert(0, f"{layer.opacity:.0%}")
    return ", ".join(words) if layer.visible else "hidden"


def _alone(document: LayeredImage, layer: Layer) -> Image.Image:
    shown = replace(layer, blend=BlendMode.NORMAL, clipping=False, visible=True)
    return document.with_layers((shown,)).flatten()


def _on_checkerboard(image: Image.Image, size: tuple[int, int], square: int) -> Image.Image:
    """``image`` over a checkerboard, resampled on premultiplied values to ``size``; RGB."""
    small = (
        image.convert("RGBA")
        .convert("RGBa")
        .resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        .convert("RGBA")
    )
    rows, columns = np.indices((size[1], size[0])) // square
    board = np.where((rows + columns) % 2 == 0, LIGHT, DARK).astype(np.uint8)
    backdrop = Image.fromarray(board).convert("RGBA")
    backdrop.alpha_composite(small)
    return backdrop.convert("RGB")


def _caption(draw: ImageDraw.ImageDraw, name: str, details: str, left: int, top: int, width: int) -> None:
    large, small = ImageFont.load_default(17), ImageFont.load_default(14)
    room = width - (draw.textlength(details, small) + 16 if details else 0)
    draw.text((left, top), _fitted(draw, name, large, room), INK, large)
    draw.text((left + width, top + 2), details, GREY, small, anchor="ra")


def _fitted(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: float
) -> str:
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(text + "…", font) > room:
        text = text[:-1]
    return text.rstrip() + "…"
