"""Edits of where pixels are: move, scale, rotate, flip, crop, trim.

A node's mask goes with it. Moving, flipping and quarter turns are exact; all else resamples premultiplied
values. A group is transformed as one picture about the middle of its layers: half pixels are settled once for
the node, so that what lay edge to edge still does after scaling and quarter turns. Results larger than acetate
opens are refused before memory is taken.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ...errors import InputError
from .. import resample
from ..composite import bounds, intersect, runs
from ..document import Box, Group, Layer, LayeredImage, Mask, Node
from .properties import changed
from .room import Size, check_canvas, check_room

Place = Callable[[np.ndarray, Box], tuple[np.ndarray, tuple[int, int]]]
"""Takes pixels (h, w[, 4]) and their canvas box, gives the transformed pixels and their offset."""


def _transformed(node: Node, place: Place) -> Node:
    mask = None if node.mask is None else _transformed_mask(node.mask, place)
    if isinstance(node, Group):
        return node.replace(layers=tuple(_transformed(child, place) for child in node.layers), mask=mask)
    pixels, offset = place(node.pixels, node.box)
    return node.replace(pixels=pixels, offset=offset, mask=mask)


def _transformed_mask(mask: Mask, place: Place) -> Mask:
    pixels, offset = place(mask.pixels, mask.box)
    if mask.default > 0:
        # Corners that a turn opens are outside the mask's pixels, so they get the coverage of the outside.
        inside, _ = place(np.ones(mask.pixels.shape, np.float32), mask.box)
        filled = resample.to_float(pixels) + np.float32(mask.default) * (1 - inside)
        pixels = resample.like(filled, mask.pixels.dtype)
    return dataclasses.replace(mask, pixels=pixels, offset=offset)


def _whole_box(node: Node) -> Box:
    box = bounds(node)
    if box is None:
        raise InputError(f"The group {node.name!r} is empty; there is nothing to transform.")
    return box


def _middle(node: Node) -> tuple[float, float]:
    box = _whole_box(node)
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def move(doc: LayeredImage, selector: str, dx: int, dy: int) -> LayeredImage:
    """Move a node by whole pixels, right and down; what leaves the canvas is kept."""
    dx, dy = int(dx), int(dy)
    return changed(
        doc,
        selector,
        lambda node: (_transformed(node, lambda pixels, box: (pixels, (box[0] + dx, box[1] + dy))),),
    )


def scale(doc: LayeredImage, selector: str, factor_x: float, factor_y: float | None = None) -> LayeredImage:
    """Scale a node about its middle (``factor_y`` defaults to ``factor_x``); edges are rounded to whole pixels, the same
    edge of two layers alike, and sizes are at least 1 pixel.

    Raises InputError for factors that are not above 0, and for a result larger than acetate opens.
    """
    factor_y = factor_x if factor_y is None else factor_y
    if not (0 < factor_x < math.inf and 0 < factor_y < math.inf):
        raise InputError(f"Scale factors must be above 0, not {factor_x} and {factor_y}; use flip to mirror.")

    def change(node: Node) -> tuple[Node, ...]:
        whole = _whole_box(node)
        across, down = _Axis(whole[0], whole[2], factor_x), _Axis(whole[1], whole[3], factor_y)

        def size(box: Box) -> Size:
            return across.length(box[0], box[2]), down.length(box[1], box[3])

        def place(pixels: np.ndarray, box: Box) -> tuple[np.ndarray, tuple[int, int]]:
            resize = resample.resize_plane if pixels.ndim == 2 else resample.resize
            return resize(pixels, size(box)), (across.edge(box[0]), down.edge(box[1]))

        check_room(node, size, "the scaled document")
        return (_transformed(node, place),)

    return changed(doc, selector, change)


class _Axis:
    """Scaling along one axis: whole edges to whole edges. Distances from the node's first edge are scaled, so scaling there
    and back ends where it began."""

    def __init__(self, first: int, last: int, factor: float) -> None:
        self.first = first
        self.factor = min(factor, 1e9)  # far too large already, and no infinity comes of it
        self.start = first
        length = self.length(first, last)
        self.start = _near((first + last) / 2 - length / 2, first)

    def edge(self, value: int) -> int:
        """Where the whole coordinate ``value`` comes to lie; halves go up."""
        return self.start + math.floor((value - self.first) * self.factor + 0.5 + 1e-9)

    def length(self, low: int, high: int) -> int:
        return max(1, self.edge(high) - self.edge(low))


def _near(value: float, start: int) -> int:
    """A whole place for ``value``; halves go towards ``start``, so that turning there and back ends where
    it began."""
    shift = value - start
    return start + int(math.copysign(math.ceil(abs(shift) - 0.5 - 1e-9), shift))


def rotate(doc: LayeredImage, selector: str, degrees: float) -> LayeredImage:
    """Turn a node counter-clockwise about its middle; multiples of 90 degrees are exact, four of 90 end where it began.

    Raises InputError for an angle that is no finite number, and for a result larger than acetate opens.
    """
    if not math.isfinite(degrees):
        raise InputError(f"An angle must be a number of degrees, not {degrees}.")
    if degrees % 90 == 0:
        turns = round(degrees / 90) % 4
        return changed(doc, selector, lambda node: (_transformed(node, _quarter_turns(node, turns)),))

    def change(node: Node) -> tuple[Node, ...]:
        cx, cy = _middle(node)
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

        def size(box: Box) -> Size:
            width, height = box[2] - box[0], box[3] - box[1]
            return (
                math.ceil(width * abs(cos) + height * abs(sin)),
                math.ceil(width * abs(sin) + height * abs(cos)),
            )

        def place(pixels: np.ndarray, box: Box) -> tuple[np.ndarray, tuple[int, int]]:
            turned, _ = resample.rotate(pixels, degrees)
            height, width = turned.shape[:2]
            mx, my = (box[0] + box[2]) / 2 - cx, (box[1] + box[3]) / 2 - cy
            # y points down, so counter-clockwise is (x cos + y sin, y cos - x sin).
            x, y = cx + mx * cos + my * sin - width / 2, cy + my * cos - mx * sin - height / 2
            return turned, (_near(x, box[0]), _near(y, box[1]))

        check_room(node, size, "the turned document")
        return (_transformed(node, place),)

    return changed(doc, selector, change)


def _quarter_turns(node: Node, turns: int) -> Place:
    """Turns everything in ``node`` about one middle, whole pixels to whole pixels."""
    x0, y0, x1, y1 = _whole_box(node)
    # Twice the middle before and after. Where one side is odd and the other even, a quarter turn puts the middle of the
    # pixels half a pixel off; by the side that is odd, which changes with every turn, it goes there and comes back.
    cx, cy = x0 + x1, y0 + y1
    odd = turns % 2 * ((cx + cy) % 2)
    off = odd if (x1 - x0) % 2 else -odd

    def place(pixels: np.ndarray, box: Box) -> tuple[np.ndarray, tuple[int, int]]:
        turned = resample.quarter_turns(pixels, turns)
        mx, my = box[0] + box[2] - cx, box[1] + box[3] - cy
        for _ in range(turns):
            mx, my = my, -mx
        height, width = turned.shape[:2]
        return turned, ((cx + off + mx - width) // 2, (cy + off + my - height) // 2)

    return place


def flip(doc: LayeredImage, selector: str, direction: str = "horizontal") -> LayeredImage:
    """Mirror a node in place, left to right ("horizontal") or top to bottom ("vertical"); exact."""
    if direction not in ("horizontal", "vertical"):
        raise InputError(f"A flip is 'horizontal' or 'vertical', not {direction!r}.")
    axis = 1 if direction == "horizontal" else 0

    def change(node: Node) -> tuple[Node, ...]:
        cx, cy = _middle(node)

        def place(pixels: np.ndarray, box: Box) -> tuple[np.ndarray, tuple[int, int]]:
            x = round(2 * cx) - box[2] if axis == 1 else box[0]
            y = round(2 * cy) - box[3] if axis == 0 else box[1]
            return np.ascontiguousarray(np.flip(pixels, axis)), (x, y)

        return (_transformed(node, place),)

    return changed(doc, selector, change)


def crop(doc: LayeredImage, box: Box, selector: str | None = None) -> LayeredImage:
    """Cut the canvas to ``box``, or, with a selector, a node's pixels to it.

    The canvas may also grow; layers keep the pixels outside it (``crop`` them to the canvas to drop those).
    Layers of a group that lie outside the box go, with the layers clipped to them. Raises InputError for an empty box, for
    a canvas larger than acetate opens, or where nothing of a selected layer would remain.
    """
    x0, y0, x1, y1 = (int(value) for value in box)
    if x0 >= x1 or y0 >= y1:
        raise InputError(f"The box {x0},{y0},{x1},{y1} is empty; give x0,y0,x1,y1 with x0 < x1 and y0 < y1.")
    if selector is not None:
        return changed(doc, selector, lambda node: (_cut(node, (x0, y0, x1, y1)),))

    check_canvas(x1 - x0, y1 - y0, "the canvas")

    def place(pixels: np.ndarray, at: Box) -> tuple[np.ndarray, tuple[int, int]]:
        return pixels, (at[0] - x0, at[1] - y0)

    layers = tuple(_transformed(node, place) for node in doc.layers)
    return doc.replace(width=x1 - x0, height=y1 - y0, layers=layers)


def _cut(node: Node, box: Box) -> Node:
    if isinstance(node, Group):
        inside: list[Node] = []
        for base, clipped in runs(node.layers):
            # A clipped layer that outlived its base would be clipped to whatever comes next below.
            if _reaches(base, box):
                inside += [base, *(child for child in clipped if _reaches(child, box))]
        return node.replace(layers=tuple(_cut(child, box) for child in inside))
    part = intersect(node.box, box)
    if part is None:
        raise InputError(
            f"Nothing of the layer {node.name!r} lies in the box {box}; delete the layer instead."
        )
    x, y = node.offset
    return node.replace(
        pixels=node.pixels[part[1] - y : part[3] - y, part[0] - x : part[2] - x], offset=part[:2]
    )


def _reaches(node: Node, box: Box) -> bool:
    whole = bounds(node)
    return whole is not None and intersect(whole, box) is not None


def trim(doc: LayeredImage, selector: str | None = None) -> LayeredImage:
    """Cut a node's layers (default: all) to the box of their visible pixels; an empty layer keeps one
    pixel."""
    if selector is not None:
        return changed(doc, selector, lambda node: (_trimmed(node),))
    return doc.with_layers(tuple(node if node.locked else _trimmed(node) for node in doc.layers))


def _trimmed(node: Node) -> Node:
    if isinstance(node, Group):
        return node.replace(layers=tuple(_trimmed(child) for child in node.layers))
    box = content_box(node)
    return node if box == node.box else _cut(node, box)


def content_box(layer: Layer) -> Box:
    """The smallest canvas box of the layer's pixels with alpha above 0 (its first pixel where there is
    none)."""
    seen = np.asarray(layer.pixels[..., 3]) > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    x, y = layer.offset
    if not rows.size:
        return (x, y, x + 1, y + 1)
    return (x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1)
