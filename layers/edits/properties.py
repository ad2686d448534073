"""Edits of how a node is drawn or named: nothing here looks at pixels.

Every edit takes a document and a selector (id, unique name or "#0.2") and returns a new document.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ...errors import InputError
from ..blend import BlendMode
from ..document import Group, Layer, LayeredImage, Node
from ..select import Path, node_at, replace_at


def changed(doc: LayeredImage, selector: str, change: Callable[[Node], tuple[Node, ...]]) -> LayeredImage:
    """The document with the selected node replaced; raises InputError where it, or a group around it, is
    locked."""
    path = doc.find_path(selector)
    refuse_locked(doc, path)
    return doc.with_layers(replace_at(doc.layers, path, change))


def refuse_locked(doc: LayeredImage, path: Path) -> None:
    """Raise InputError where the node at ``path``, or a group around it, is locked; the empty path is the document."""
    for depth in range(1, len(path) + 1):
        node = node_at(doc.layers, path[:depth])
        if node.locked:
            raise InputError(f"The layer {node.name!r} is locked; unlock it first.")


def _set(doc: LayeredImage, selector: str, **changes: Any) -> LayeredImage:
    return changed(doc, selector, lambda node: (dataclasses.replace(node, **changes),))


def rename(doc: LayeredImage, selector: str, name: str) -> LayeredImage:
    """Give a node another name (1 to 255 characters)."""
    return _set(doc, selector, name=name)


def set_opacity(doc: LayeredImage, selector: str, opacity: float) -> LayeredImage:
    """Set a node's opacity, 0 (nothing) to 1."""
    return _set(doc, selector, opacity=float(opacity))


def set_blend(doc: LayeredImage, selector: str, blend: BlendMode | str) -> LayeredImage:
    """Set a node's blend mode; 'pass-through' only for groups."""
    return _set(doc, selector, blend=BlendMode.parse(blend))


def set_clipping(doc: LayeredImage, selector: str, clipping: bool = True) -> LayeredImage:
    """Clip a node to the shape of the layer below it, or release it."""
    return _set(doc, selector, clipping=bool(clipping))


def show(doc: LayeredImage, selector: str) -> LayeredImage:
    """Make a node visible (a group around it may still hide it)."""
    return _set(doc, selector, visible=True)


def hide(doc: LayeredImage, selector: str) -> LayeredImage:
    """Make a node invisible."""
    return _set(doc, selector, visible=False)


def lock(doc: LayeredImage, selector: str) -> LayeredImage:
    """Lock a node: every other edit of it, or of what is inside, is refused until it is unlocked. A locked layer may be
    duplicated (the copy is locked too), and moves with a group around it."""
    return _locked(doc, selector, True)


def unlock(doc: LayeredImage, selector: str) -> LayeredImage:
    """Unlock a node."""
    return _locked(doc, selector, False)


def _locked(doc: LayeredImage, selector: str, locked: bool) -> LayeredImage:
    def change(node: Layer | Group) -> tuple[Node, ...]:
        return (node.replace(locked=locked),)

    return doc.with_layers(replace_at(doc.layers, doc.find_path(selector), change))


def drawn_like(new: Node, old: Node) -> Node:
    """``new`` with the opacity, blend mode, visibility, clipping and mask of ``old``, whose place it takes."""
    kept: dict[str, Any] = {
        "opacity": old.opacity,
        "visible": old.visible,
        "clipping": old.clipping,
        "mask": old.mask,
    }
    if isinstance(new, Layer) or isinstance(old, Layer):  # a layer cannot be pass-through
        kept["blend"] = BlendMode.NORMAL if old.blend is BlendMode.PASS_THROUGH else old.blend
    return new.replace(**kept)
