"""Finding nodes in a tree of layers and rebuilding the tree around a change.

Paths are tuples of indices, bottom to top: (0, 2) is child 2 of node 0. This module knows only that a group
has ``layers``, an ``id`` and a ``name``; it never looks at pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .document import Node

Path = tuple[int, ...]


def children(node: Node) -> tuple[Node, ...] | None:
    """The nodes inside a group; None for a layer."""
    return getattr(node, "layers", None)


def walk_nodes(nodes: tuple[Node, ...], prefix: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node with its path, bottom to top, a group before its children."""
    for index, node in enumerate(nodes):
        yield (*prefix, index), node
        inside = children(node)
        if inside is not None:
            yield from walk_nodes(inside, (*prefix, index))


def node_at(nodes: tuple[Node, ...], path: Path) -> Node:
    """The node at a path; raises InputError where the path leads nowhere."""
    node: Node | None = None
    inside: tuple[Node, ...] | None = nodes
    for index in path:
        if inside is None or not 0 <= index < len(inside):
            shown = ".".join(map(str, path))
            raise InputError(f"There is no layer #{shown}: counting starts at 0 with the lowest layer.")
        node = inside[index]
        inside = children(node)
    if node is None:
        raise InputError("An empty path names no layer.")
    return node


def find_path(nodes: tuple[Node, ...], selector: str) -> Path:
    """The path of the node with that id, that unique name, or that index path written "#0.2"."""
    everything = list(walk_nodes(nodes))
    for path, node in everything:
        if node.id == selector:
            return path
    named = [path for path, node in everything if node.name == selector]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        places = ", ".join("#" + ".".join(map(str, path)) for path in named)
        raise InputError(f"{len(named)} layers are called {selector!r}; say which one: {places}.")
    if re.fullmatch(r"#\d{1,9}(\.\d{1,9})*", selector):
        path = tuple(int(part) for part in selector[1:].split("."))
        node_at(nodes, path)
        return path
    known = ", ".join(repr(node.name) for _, node in everything[:12]) or "none"
    more = f" and {len(everything) - 12} more" if len(everything) > 12 else ""
    raise InputError(f"There is no layer {selector!r}; the document has {known}{more}.")


def replace_at(
    nodes: tuple[Node, ...], path: Path, change: Callable[[Node], tuple[Node, ...]]
) -> tuple[Node, ...]:
    """The tree with the node at ``path`` replaced by what ``change`` makes of it (none, one or several
    nodes)."""
    head, rest = path[0], path[1:]
    node = nodes[head]
    inside = children(node)
    if rest and inside is not None:
        fresh: tuple[Node, ...] = (node.replace(layers=replace_at(inside, rest, change)),)
    else:
        fresh = change(node)
    return (*nodes[:head], *fresh, *nodes[head + 1 :])


def insert_at(nodes: tuple[Node, ...], path: Path, new: tuple[Node, ...]) -> tuple[Node, ...]:
    """The tree with ``new`` inserted so that its first node gets the path ``path``."""
    head, rest = path[0], path[1:]
    if not rest:
        return (*nodes[:head], *new, *nodes[head:])
    return replace_at(nodes, (head,), lambda g: (g.replace(layers=insert_at(children(g) or (), rest, new)),))
