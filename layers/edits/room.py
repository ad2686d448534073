"""Refuses edits whose result would be larger than acetate opens, before memory is taken for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..document import Box, Group, Node

Size = tuple[int, int]


def check_room(node: Node, size: Callable[[Box], Size], what: str) -> None:
    """Raise InputError where the pixels and masks of ``node``, of which ``size`` gives (width, height) after the edit by
    their canvas box before it, would exceed what acetate opens; ``what`` names the result.
    """
    from ..io.limits import Budget

    budget = Budget(what)
    for name, box in _boxes(node):
        budget.pixels(*size(box), name)


def check_canvas(width: int, height: int, what: str) -> None:
    """Raise InputError for ``what`` of more pixels, or a longer side, than one canvas or layer may have."""
    from ..io.limits import LIMITS

    LIMITS.check_size(width, height, what)


def _boxes(node: Node) -> Iterator[tuple[str, Box]]:
    if node.mask is not None:
        yield f"the mask of {node.name}", node.mask.box
    if not isinstance(node, Group):
        yield node.name, node.box
        return
    for child in node.layers:
        yield from _boxes(child)
