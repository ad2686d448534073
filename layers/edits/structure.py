"""Edits of the tree: reorder, duplicate, delete, group, ungroup, merge, split into connected parts."""

from __future__ import annotations

import numpy as np

from ...errors import InputError
from ..blend import BlendMode
from ..composite import bounds, composite_nodes, quantise, runs
from ..document import Group, Layer, LayeredImage, Node, Provenance
from ..select import Path, insert_at, node_at
from .properties import changed, refuse_locked
from .room import check_canvas

MAX_PARTS = 64


def _siblings(doc: LayeredImage, path: Path) -> tuple[Node, ...]:
    if len(path) == 1:
        return doc.layers
    parent = node_at(doc.layers, path[:-1])
    assert isinstance(parent, Group)
    return parent.layers


def _with_siblings(doc: LayeredImage, path: Path, siblings: tuple[Node, ...]) -> LayeredImage:
    """The document with the nodes beside ``path`` (and it) replaced; refused inside a locked group."""
    if len(path) == 1:
        return doc.with_layers(siblings)
    selector = "#" + ".".join(map(str, path[:-1]))
    return changed(doc, selector, lambda group: (group.replace(layers=siblings),))


def _copied(node: Node, name: str) -> Node:
    """The node with other ids all through."""
    if isinstance(node, Group):
        return node.replace(
            layers=tuple(_copied(child, child.name) for child in node.layers), name=name, id=""
        )
    return node.replace(name=name, id="")


def reorder(doc: LayeredImage, selector: str, to: int | str) -> LayeredImage:
    """Move a node among its siblings: to an index (0 = bottom), or "top", "bottom", "up", "down" (one
    step). Raises InputError for a place that does not exist."""
    path = doc.find_path(selector)
    refuse_locked(doc, path)
    siblings = _siblings(doc, path)
    last, here = len(siblings) - 1, path[-1]
    words = {"top": last, "bottom": 0, "up": min(here + 1, last), "down": max(here - 1, 0)}
    try:
        index = words[to] if to in words else int(to)
    except ValueError:
        raise InputError(
            f"A place is top, bottom, up, down or a number from 0 to {last}, not {to!r}."
        ) from None
    if not 0 <= index <= last:
        raise InputError(f"There is no place {index} here; the lowest is 0 and the highest {last}.")
    rest = list(siblings[:here] + siblings[here + 1 :])
    rest.insert(index, siblings[here])
    return _with_siblings(doc, path, tuple(rest))


def duplicate(doc: LayeredImage, selector: str, name: str | None = None) -> LayeredImage:
    """Put a copy of a node right above it, called "<name> copy" unless named; a locked node too, but nothing goes into a
    locked group."""
    path = doc.find_path(selector)
    refuse_locked(doc, path[:-1])
    node = node_at(doc.layers, path)
    copy = _copied(node, name or f"{node.name[:250]} copy")
    return doc.with_layers(insert_at(doc.layers, (*path[:-1], path[-1] + 1), (copy,)))


def delete(doc: LayeredImage, selector: str) -> LayeredImage:
    """Remove a node and all that is inside."""
    return changed(doc, selector, lambda node: ())


def group(doc: LayeredImage, selectors: list[str], name: str = "Group") -> LayeredImage:
    """Put sibling nodes into a new pass-through group at the place of the highest of them; their order stays.

    Where the nodes lie side by side the flattened picture stays the same. Raises InputError for nodes of
    different groups, and where a layer would be parted from what it is clipped to: those are grouped together.
    """
    if not selectors:
        raise InputError("Name at least one layer to group.")
    paths = sorted({doc.find_path(selector) for selector in selectors})
    if len({path[:-1] for path in paths}) > 1:
        raise InputError("Only layers of the same group can be grouped; move them together first.")
    for path in paths:
        refuse_locked(doc, path)
    siblings, chosen = _siblings(doc, paths[0]), {path[-1] for path in paths}
    _refuse_parting(siblings, chosen)
    inside = tuple(siblings[index] for index in sorted(chosen))
    new = Group(layers=inside, name=name)
    top = max(chosen)
    fresh = [
        new if index == top else node
        for index, node in enumerate(siblings)
        if index == top or index not in chosen
    ]
    return _with_siblings(doc, paths[0], tuple(fresh))


def _refuse_parting(siblings: tuple[Node, ...], chosen: set[int]) -> None:
    """Raise InputError where only a part of a base and the layers clipped to it is ``chosen``: a layer without
    its base would be clipped to nothing, one outside to all of the group.
    """
    index = 0
    for base, clipped in runs(siblings):
        inside = [index + place in chosen for place in range(1 + len(clipped))]
        index += len(inside)
        if any(inside) and not all(inside):
            other = clipped[inside[1:].index(not inside[0])]
            raise InputError(
                f"{other.name!r} is clipped to {base.name!r}; group the two, and all that is clipped there, together."
            )


def ungroup(doc: LayeredImage, selector: str) -> LayeredImage:
    """Replace a group by its layers; the flattened picture stays the same.

    Raises InputError where the group has a mask, opacity, blend mode or clipping that its layers cannot
    take over.
    """
    path = doc.find_path(selector)
    node = node_at(doc.layers, path)
    if not isinstance(node, Group):
        raise InputError(f"{node.name!r} is a layer, not a group; there is nothing to ungroup.")
    siblings = _siblings(doc, path)
    holds = path[-1] + 1 < len(siblings) and siblings[path[-1] + 1].clipping
    isolated = node.blend is BlendMode.NORMAL and all(
        child.blend is BlendMode.NORMAL for child in node.layers
    )
    plain = node.blend is BlendMode.PASS_THROUGH or isolated
    if not plain or node.opacity != 1 or node.mask is not None or node.clipping or holds:
        raise InputError(
            f"The group {node.name!r} has a mask, opacity, blend mode or clipping that its layers cannot take over; "
            "set it to normal, or merge the group."
        )
    children = [
        child.replace(visible=child.visible and node.visible, clipping=child.clipping and index > 0)
        for index, child in enumerate(node.layers)
    ]
    return changed(doc, selector, lambda _: tuple(children))


def _rasterised(doc: LayeredImage, nodes: tuple[Node, ...], like: Node) -> Layer:
    """Nodes drawn on nothing as one layer that takes name, blend mode, clipping and origin from ``like``."""
    boxes = [box for box in map(bounds, nodes) if box is not None]
    if not boxes:
        raise InputError(f"{like.name!r} is empty; there is nothing to merge.")
    box = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
    check_canvas(box[2] - box[0], box[3] - box[1], f"{like.name!r} with what is merged into it")
    pixels = quantise(composite_nodes(nodes, box), doc.depth)
    return Layer(
        pixels=pixels,
        name=like.name,
        offset=box[:2],
        blend=BlendMode.NORMAL if like.blend is BlendMode.PASS_THROUGH else like.blend,
        clipping=like.clipping,
        provenance=like.provenance if isinstance(like, Layer) else Provenance(),
    )


def merge_down(doc: LayeredImage, selector: str) -> LayeredImage:
    """Merge a node with the one below it into one layer at the document's depth, named as the lower one.

    Opacities and masks are drawn in; the lower one's blend mode stays the result's. For normal modes the
    flattened picture stays the same within rounding. Raises InputError where nothing is below, one of the two
    is hidden or locked, or the lower one is clipped and the upper one is not.
    """
    path = doc.find_path(selector)
    siblings, index = _siblings(doc, path), path[-1]
    upper = siblings[index]
    if index == 0:
        raise InputError(f"There is nothing below {upper.name!r} to merge it with.")
    lower = siblings[index - 1]
    for node in (upper, lower):
        if not node.visible:
            raise InputError(f"{node.name!r} is hidden; show it before merging.")
        if node.locked:
            raise InputError(f"The layer {node.name!r} is locked; unlock it first.")
    if not upper.clipping and index + 1 < len(siblings) and siblings[index + 1].clipping:
        raise InputError(f"Layers are clipped to {upper.name!r}; merge those into it first.")
    held = lower.clipping and index > 1  # clipping with nothing below is drawn as if it were not
    if held and not upper.clipping:
        raise InputError(
            f"{lower.name!r} is clipped and {upper.name!r} would be too; merge {lower.name!r} down first."
        )
    below = BlendMode.NORMAL if lower.blend is not BlendMode.DISSOLVE else lower.blend
    base = lower.replace(clipping=False, blend=below)
    drawn = upper.replace(clipping=upper.clipping and not held)
    merged = _rasterised(doc, (base, drawn), lower)
    return _with_siblings(doc, path, (*siblings[: index - 1], merged, *siblings[index + 1 :]))


def merge_group(doc: LayeredImage, selector: str) -> LayeredImage:
    """Turn a group into one layer at the document's depth; its own opacity and mask are drawn in."""

    def change(node: Node) -> tuple[Node, ...]:
        if not isinstance(node, Group):
            raise InputError(f"{node.name!r} is a layer, not a group; use merge_down to merge two layers.")
        drawn = node.replace(blend=BlendMode.NORMAL, clipping=False, visible=True)
        return (_rasterised(doc, (drawn,), node).replace(visible=node.visible),)

    return changed(doc, selector, change)


def split_parts(doc: LayeredImage, selector: str, min_pixels: int = 16) -> LayeredImage:
    """Split a layer into its connected parts (8 neighbours, alpha above 0), largest lowest, named "<name>
    1", ...

    Parts smaller than ``min_pixels``, and those beyond the 64 largest, join the nearest larger part, so no
    pixel is lost and the flattened picture stays the same. A layer of one part stays as it is.
    """
    path = doc.find_path(selector)
    siblings = _siblings(doc, path)
    if path[-1] + 1 < len(siblings) and siblings[path[-1] + 1].clipping and not siblings[path[-1]].clipping:
        raise InputError(f"Layers are clipped to {siblings[path[-1]].name!r}; merge those into it first.")

    def change(node: Node) -> tuple[Node, ...]:
        if not isinstance(node, Layer):
            raise InputError(f"{node.name!r} is a group; split one of its layers.")
        return _parts(node, min_pixels) or (node,)

    return changed(doc, selector, change)


def _parts(layer: Layer, min_pixels: int) -> tuple[Layer, ...]:
    from scipy.ndimage import distance_transform_edt, find_objects, label

    labels, count = label(np.asarray(layer.pixels[..., 3]) > 0, structure=np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    kept = [int(index) + 1 for index in order if sizes[index] >= min_pixels][:MAX_PARTS]
    if len(kept) < 2:
        return ()
    if len(kept) < count:
        large = np.isin(labels, kept)
        rows, columns = distance_transform_edt(~large, return_distances=False, return_indices=True)
        labels = np.where(labels > 0, labels[rows, columns], 0)
    boxes = find_objects(labels)
    parts = []
    for number, value in enumerate(kept, 1):
        window = boxes[value - 1]
        pixels = np.array(layer.pixels[window])
        pixels[labels[window] != value, 3] = 0
        offset = (layer.offset[0] + window[1].start, layer.offset[1] + window[0].start)
        parts.append(layer.replace(pixels=pixels, offset=offset, name=f"{layer.name[:250]} {number}", id=""))
    return tuple(parts)
