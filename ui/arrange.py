"""Edits that only a panel needs: putting a node anywhere in the tree, and putting new layers where another was.

Pure functions from document to document, like those in ``layers.edits``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..layers.document import Group, LayeredImage, Node
from ..layers.edits.properties import drawn_like
from ..layers.select import Path, insert_at, node_at, replace_at

MAX_NESTING = 16


def place(doc: LayeredImage, selectors: Sequence[str], parent: str | None, index: int) -> LayeredImage:
    """Move nodes into the group ``parent`` (None: the document itself), below the node that is ``index`` there now.

    They come to lie together, in the order they have in the document; one that lies inside another of them goes with it.
    Raises InputError for a locked node or group, and for a parent that is no group or lies inside one of the nodes.
    """
    paths = _outermost(sorted({doc.find_path(selector) for selector in selectors}))
    if not paths:
        raise InputError("Name at least one layer to move.")
    for path in paths:
        _refuse_locked(doc, path)
    goal: tuple[int, ...] = ()
    inside: tuple[Node, ...] = doc.layers
    if parent is not None:
        goal = doc.find_path(parent)
        group = node_at(doc.layers, goal)
        if not isinstance(group, Group):
            raise InputError(f"{group.name!r} is a layer, not a group; layers go into groups only.")
        for path in paths:
            if goal[: len(path)] == path:
                raise InputError(f"The group {node_at(doc.layers, path).name!r} cannot go into itself.")
        if len(goal) >= MAX_NESTING:
            raise InputError(f"Groups are nested {MAX_NESTING} deep at most.")
        _refuse_locked(doc, goal)
        inside = group.layers
    if not 0 <= index <= len(inside):
        raise InputError(f"There is no place {index} here; the lowest is 0 and the highest {len(inside)}.")
    moved = tuple(node_at(doc.layers, path) for path in paths)
    goal_place = (*goal, index)
    target, rest = list(goal_place), doc.layers
    for path in reversed(paths):  # from the top, so that the paths of those below still hold
        rest = replace_at(rest, path, lambda _: ())
        # Taking the node away shifts what lies above it in the same group.
        depth = len(path) - 1
        if len(goal_place) > depth and goal_place[:depth] == path[:depth] and goal_place[depth] > path[depth]:
            target[depth] -= 1
    return doc.with_layers(insert_at(rest, tuple(target), moved))


def put_above(doc: LayeredImage, selector: str | None, new: Node) -> LayeredImage:
    """A new node right above the named one, or on top of everything."""
    if selector is None:
        return doc.with_layers((*doc.layers, new))
    path = doc.find_path(selector)
    return doc.with_layers(insert_at(doc.layers, (*path[:-1], path[-1] + 1), (new,)))


def put_below(doc: LayeredImage, selector: str | None, new: Node) -> LayeredImage:
    """A new node right below the named one, or beneath everything."""
    if selector is None:
        return doc.with_layers((new, *doc.layers))
    path = doc.find_path(selector)
    if node_at(doc.layers, path).clipping:
        raise InputError("Below a clipped layer lies the one it is clipped to: choose that one instead.")
    return doc.with_layers(insert_at(doc.layers, path, (new,)))


def put_instead(doc: LayeredImage, selector: str, new: Node) -> LayeredImage:
    """A new node at the place of another, with its opacity, blend mode, visibility and clipping."""
    path = doc.find_path(selector)
    _refuse_locked(doc, path)

    return doc.with_layers(replace_at(doc.layers, path, lambda old: (drawn_like(new, old),)))


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Sorted paths without those that lie inside another of them."""
    found: list[Path] = []
    for path in paths:
        if not found or path[: len(found[-1])] != found[-1]:
            found.append(path)
    return found


def _refuse_locked(doc: LayeredImage, path: tuple[int, ...]) -> None:
    for depth in range(1, len(path) + 1):
        node = node_at(doc.layers, path[:depth])
        if node.locked:
            raise InputError(f"The layer {node.name!r} is locked; unlock it first.")
