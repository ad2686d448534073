"""Which size a model works at, and boxes from pixels to tokens. Integers only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError

Box = tuple[int, int, int, int]

MAX_SIDE = 4096
FLUX_CELL = 16
"""Pixels along each side of a token of FLUX."""
FLUX_SIDE = 1024
"""Pixels along each side of FLUX's canvas where nobody says otherwise."""


def bucket_size(width: int, height: int, resolution: int, multiple: int = 32) -> tuple[int, int]:
    """(width, height) near ``resolution`` ** 2 pixels with the aspect of the input, each a multiple of
    ``multiple``.

    The rule of Qwen-Image-Layered: w = sqrt(A r), h = w / r, both rounded to the multiple. Aspects beyond
    (resolution / multiple) ** 2 are squeezed into that limit, so that neither side vanishes nor the area
    explodes.
    """
    limit = (resolution / multiple) ** 2
    ratio = min(max(width / height, 1 / limit), limit)
    wide = math.sqrt(resolution * resolution * ratio)
    tall = wide / ratio
    return max(1, round(wide / multiple)) * multiple, max(1, round(tall / multiple)) * multiple


def working_size(
    width: int,
    height: int,
    *,
    resolution: int,
    multiple: int,
    cell: int,
    wanted_height: int | None = None,
    wanted_width: int | None = None,
) -> tuple[int, int]:
    """(width, height) that an input of ``width`` x ``height`` is resized to before it is encoded.

    ``cell``: pixels per token side. Explicit sizes are taken as they are and must be multiples of the cell;
    with only one side given the other follows the aspect. Raises InputError for sizes that no model could
    take.
    """
    if wanted_height is None and wanted_width is None:
        if not multiple <= resolution <= MAX_SIDE:
            raise InputError(f"The resolution must lie between {multiple} and {MAX_SIDE}; got {resolution}.")
        return bucket_size(width, height, resolution, multiple)
    if wanted_height is None:
        wanted_height = max(1, round((wanted_width or 0) * height / width / cell)) * cell
    elif wanted_width is None:
        wanted_width = max(1, round(wanted_height * width / height / cell)) * cell
    assert wanted_width is not None
    for name, value in (("width", wanted_width), ("height", wanted_height)):
        if not cell <= value <= MAX_SIDE or value % cell:
            raise InputError(
                f"The working {name} must be a multiple of {cell} between {cell} and {MAX_SIDE}; got {value}."
            )
    return wanted_width, wanted_height


def check_canvas(width: int, height: int) -> None:
    """Raises InputError when a canvas to generate is empty or larger than a model can take."""
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= MAX_SIDE:
            raise InputError(f"The {name} must lie between 1 and {MAX_SIDE} pixels; got {value}.")


def flux_canvas(
    width: int | None, height: int | None, aspect: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(width, height) of a canvas for FLUX in pixels, as asked; what is left open is 1024, or follows ``aspect``, the size
    of a picture. Raises InputError for sizes that are no whole tokens or too large."""
    if aspect is not None and (width is None or height is None):
        return working_size(
            *aspect,
            resolution=FLUX_SIDE,
            multiple=FLUX_CELL,
            cell=FLUX_CELL,
            wanted_height=height,
            wanted_width=width,
        )
    width, height = FLUX_SIDE if width is None else width, FLUX_SIDE if height is None else height
    for name, side in (("width", width), ("height", height)):
        if side % FLUX_CELL or not FLUX_CELL <= side <= MAX_SIDE:
            raise InputError(
                f"The {name} must be a multiple of {FLUX_CELL} between {FLUX_CELL} and {MAX_SIDE}; got {side}."
            )
    return width, height


def check_boxes(
    boxes: Sequence[Sequence[int] | None] | None, layers: int, width: int, height: int
) -> tuple[Box | None, ...] | None:
    """The pixel boxes as integer tuples, one per layer, None where a layer has the whole canvas.

    ``boxes`` shorter than ``layers`` is filled up with None. Returns None when no layer has a box. Raises
    InputError for a box that is empty, leaves the canvas or belongs to the background.
    """
    if boxes is None or all(box is None for box in boxes):
        return None
    if len(boxes) > layers:
        raise InputError(
            f"{len(boxes)} boxes were given for {layers} layers; give at most one for each layer."
        )
    checked: list[Box | None] = []
    for number, box in enumerate(boxes, start=1):
        if box is None:
            checked.append(None)
            continue
        if len(box) != 4 or any(int(value) != value for value in box):
            raise InputError(f"A box is four whole numbers x0, y0, x1, y1; layer {number} got {tuple(box)}.")
        x0, y0, x1, y1 = (int(value) for value in box)
        if x1 <= x0 or y1 <= y0:
            raise InputError(
                f"The box of layer {number}, {(x0, y0, x1, y1)}, is empty; x1 > x0 and y1 > y0 are needed."
            )
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise InputError(
                f"The box of layer {number}, {(x0, y0, x1, y1)}, leaves the {width} x {height} canvas; move it inside."
            )
        checked.append((x0, y0, x1, y1))
    if checked[0] is not None:
        raise InputError(
            "The first layer is the background and fills the canvas; give boxes from the second layer on."
        )
    return (*checked, *[None] * (layers - len(checked)))


def token_box(box: Box, cell: int) -> Box:
    """The smallest box on the token grid that holds a pixel box: floor and ceil."""
    x0, y0, x1, y1 = box
    return x0 // cell, y0 // cell, -(-x1 // cell), -(-y1 // cell)


def scaled_box(box: Box, size: tuple[int, int], working: tuple[int, int]) -> Box:
    """The smallest pixel box at ``working`` (width, height) that holds a box of a canvas of ``size``."""
    x0, y0, x1, y1 = box
    (width, height), (wide, tall) = size, working
    return x0 * wide // width, y0 * tall // height, -(-x1 * wide // width), -(-y1 * tall // height)
