"""Refuses to write what acetate would refuse to read: a file written over its original would be lost.

Knows the readers' limits and what each format makes of masks and clipping; writes nothing itself.
"""

from __future__ import annotations

from ...errors import InputError
from ..composite import runs
from ..document import Group, Layer, LayeredImage, Node
from .formats import Format
from .limits import LIMITS, Budget, Limits

COORDINATE = 2**31 - 1
"""The largest offset, in pixels, that the readers accept."""


def check_readable(doc: LayeredImage, form: Format, limits: Limits = LIMITS) -> None:
    """Raise InputError, naming what is too large, for a document that the reader of ``form`` refuses under ``limits``.

    Canvas, sizes and places of layers and masks, all pixels together, number and nesting of layers. Of a flattened
    format only the canvas counts; a format that is never read is not checked.
    """
    if not form.reads:
        return
    try:
        limits.check_size(doc.width, doc.height, "the canvas")
        if form.layers:
            _check_nodes(doc, doc.layers, 0, form.name == "ora", Budget("the document", limits))
    except InputError as error:
        raise InputError(f"{error}; nothing was written") from error


def _check_nodes(doc: LayeredImage, nodes: tuple[Node, ...], depth: int, ora: bool, budget: Budget) -> None:
    for base, clipped in runs(nodes):
        level = depth
        if ora and clipped:  # the run becomes a stack of its own
            budget.node(depth)
            level += 1
        for node in (base, *clipped):
            budget.node(level)
            _check_pictures(doc, node, ora, budget)
            if isinstance(node, Group):
                _check_nodes(doc, node.layers, level + 1, ora, budget)


def _check_pictures(doc: LayeredImage, node: Node, ora: bool, budget: Budget) -> None:
    if isinstance(node, Layer):
        _check_place(node.offset, f"layer {node.name!r}")
        budget.pixels(node.width, node.height, node.name)
    if node.mask is None:
        return
    if not ora:
        height, width = node.mask.pixels.shape
        _check_place(node.mask.offset, f"the mask of {node.name!r}")
        budget.pixels(width, height, f"the mask of {node.name}")
    elif isinstance(node, Group) and node.mask.enabled:  # drawn on the whole canvas; a layer's is baked in
        budget.pixels(doc.width, doc.height, f"the mask of {node.name}")


def _check_place(offset: tuple[int, int], what: str) -> None:
    if max(map(abs, offset)) > COORDINATE:
        raise InputError(
            f"{what} lies at {offset[0]}, {offset[1]}, more than the {COORDINATE} pixels from the canvas that files hold: "
            "move it closer"
        )
