"""Refuses edits that would take this machine's memory before they begin: pixels are made by scaling and by merging.

Knows the edits' words and their arithmetic of sizes; changes nothing.
"""

from __future__ import annotations

import math

from ..errors import InputError
from ..layers.composite import bounds
from ..layers.document import Box, Group, LayeredImage, Node
from ..layers.edits.grammar import split_arguments
from ..layers.io.limits import Limits
from ..layers.select import node_at


def check_before(doc: LayeredImage, operation: str, limits: Limits) -> None:
    """Raise InputError where ``operation`` (in the grammar of ``acetate edit``) would make too many pixels."""
    word, _, rest = operation.partition(":")
    arguments = split_arguments(rest)
    word = word.strip().lower().replace("_", "-")
    if word == "scale":
        factors = [float(value) for value in arguments[1:3]]
        _check(bounds(doc.find(arguments[0])), limits, factors[0], factors[-1])
    elif word == "rotate":
        _check(bounds(doc.find(arguments[0])), limits, math.sqrt(2), math.sqrt(2))
    elif word == "merge-group":
        _check(bounds(doc.find(arguments[0])), limits)
    elif word == "merge-down":
        path = doc.find_path(arguments[0])
        siblings: tuple[Node, ...] = doc.layers
        if len(path) > 1:
            parent = node_at(doc.layers, path[:-1])
            assert isinstance(parent, Group)
            siblings = parent.layers
        if path[-1] > 0:
            _check(bounds(Group(layers=siblings[path[-1] - 1 : path[-1] + 1])), limits)


def check_after(doc: LayeredImage, limits: Limits) -> None:
    """Raise InputError for a document that has grown beyond what may be opened here."""
    limits.check_size(doc.width, doc.height, "the canvas")
    if sum(1 for _ in doc.walk()) > limits.layers:
        raise InputError(f"A document has at most {limits.layers} layers here: merge some of them first.")
    pixels = 0
    for layer in doc.leaves():
        pixels += layer.width * layer.height
        if max(abs(value) for value in layer.offset) > 4 * limits.side:
            raise InputError(f"The layer {layer.name!r} would lie too far outside the canvas.")
    if pixels > limits.total_pixels:
        raise InputError(
            "The layers would hold more pixels than this studio allows: crop or merge some first."
        )


def _check(box: Box | None, limits: Limits, factor_x: float = 1.0, factor_y: float = 1.0) -> None:
    if box is None or not (math.isfinite(factor_x) and math.isfinite(factor_y)):
        return  # the edit itself says what is wrong
    width, height = abs((box[2] - box[0]) * factor_x), abs((box[3] - box[1]) * factor_y)
    if max(width, height) > limits.side or width * height > limits.pixels:
        raise InputError(
            f"The result would have {width * height / 1e6:.0f} megapixels, more than the {limits.pixels / 1e6:.0f} "
            "allowed here: make it smaller."
        )
