"""Edits that only a panel needs: putting a node anywhere in the tree, and putting new layers where another was.

Pure functions from document to document, like those in ``layers.edits``.
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..layers.document import Group, Layer, LayeredImage, Node
from ..layers.select import insert_at, node_at, replace_at

MAX_NESTING = 16


def place(doc: LayeredImage, selector: str, parent: str | None, index: int) -> LayeredImage:
    """Move a node into the group ``parent`` (None: the document itself), below the node that is ``index`` there now.

    Raises InputError for a locked node or group, a parent that is no group or lies inside the node.
    """
    path = doc.find_path(selector)
    node = node_at(doc.layers, path)
    _refuse_locked(doc, path)
    goal: tuple[int, ...] = ()
    inside: tuple[Node, ...] = doc.layers
    if parent is not None:
        goal = doc.find_path(parent)
        group = node_at(doc.layers, goal)
        if not isinstance(group, Group):
            raise InputError(f"{group.name!r} is a layer, not a group; layers go into groups only.")
        if goal[: len(path)] == path:
            raise InputError(f"The group {node.name!r} cannot go into itself.")
        if len(goal) >= MAX_NESTING:
            raise InputError(f"Groups are nested {MAX_NESTING} deep at most.")
        _refuse_locked(doc, goal)
        inside = group.layers
    if not 0 <= index <= len(inside):
        raise InputError(f"There is no place {index} here; the lowest is 0 and the highest {len(inside)}.")
    target = (*goal, index)
    # Taking the node away shifts what lies above it in the same group.
    depth = len(path) - 1
    removed = replace_at(doc.layers, path, lambda _: ())
    if len(target) > depth and target[:depth] == path[:depth] and target[depth] > path[depth]:
        target = (*target[:depth], target[depth] - 1, *target[depth + 1 :])
    return doc.with_layers(insert_at(removed, target, (node,)))


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

    def change(old: Node) -> tuple[Node, ...]:
        kept: dict[str, Any] = {
            "opacity": old.opacity,
            "visible": old.visible,
            "clipping": old.clipping,
            "mask": old.mask,
        }
        if isinstance(new, Layer) or isinstance(old, Layer):
            kept["blend"] = old.blend
        return (new.replace(**kept),)

    return doc.with_layers(replace_at(doc.layers, path, change))


def _refuse_locked(doc: LayeredImage, path: tuple[int, ...]) -> None:
    for depth in range(1, len(path) + 1):
        node = node_at(doc.layers, path[:depth])
        if node.locked:
            raise InputError(f"The layer {node.name!r} is locked; unlock it first.")
