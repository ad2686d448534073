"""Documents made plain: every visible leaf as one layer in normal mode, with the same picture.

Training data knows only straight RGBA layers drawn 'over' one another. Baked into them are opacity, masks, groups,
clipping and blend modes, by these rules:

- opacity and masks, a group's too, multiply the alpha. Where a half-transparent group shows two of its layers at one
  pixel that would change the picture, so such a group becomes one layer.
- a layer clipped to a base gets the base's shape, and the base keeps only the rest of its soft edge: with weights
  w_i = a_base a_i prod_{j>i}(1 - a_j) of the colours, the top one has alpha w, the next w / (1 - w above it) ...
- any other blend mode becomes the normal layer that draws the same over what lies beneath it: where that is opaque, the
  one with the least alpha (multiplied grey becomes black at low alpha, a screened glow white), elsewhere the only one.

The picture stays the same within rounding. Nothing here knows files, or judges what a layer is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..layers.blend import BlendMode, blend
from ..layers.composite import Planes, bounds, drawn_factor, intersect, paint, quantise, render, runs
from ..layers.document import Box, Group, Layer, LayeredImage, Node

PLAIN = (BlendMode.NORMAL, BlendMode.PASS_THROUGH, BlendMode.DISSOLVE)
_OPAQUE = 1 - 0.5 / 255
_SEEN = 0.25 / 255
"""A change of colour below a quarter of a level is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaf:
    """``rgba``: (h, w, 4) uint8, straight, of ``box`` within the canvas; ``names``: of the layers it was made from;
    ``blend``: the mode that was baked into it (NORMAL: none)."""

    names: tuple[str, ...]
    box: Box
    rgba: np.ndarray
    blend: BlendMode = BlendMode.NORMAL

    @property
    def name(self) -> str:
        """All names in one."""
        return " and ".join(self.names)

    @property
    def alpha(self) -> np.ndarray:
        """(h, w) uint8."""
        return self.rgba[..., 3]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A leaf in the making: straight planes."""

    name: str
    planes: Planes
    blend: BlendMode = BlendMode.NORMAL


def extract_leaves(doc: LayeredImage) -> Iterator[Leaf]:
    """The visible leaves of ``doc``, bottom to top, each cut to its alpha; hidden, empty and outlying ones are left out.

    A leaf is ready when it is yielded: the float copy of one layer (or of one half-transparent group) is held at a time.
    """
    for part in _walk(doc.layers, [], doc.box):
        planes = part.planes
        pixels = np.empty((*planes.alpha.shape, 4), np.uint8)
        pixels[..., 3] = quantise(planes.alpha, 8)
        rows, columns = np.flatnonzero(pixels[..., 3].any(1)), np.flatnonzero(pixels[..., 3].any(0))
        if not rows.size:
            continue
        pixels[..., :3] = quantise(planes.color, 8).transpose(1, 2, 0)
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        left, top = planes.box[:2]
        cut = np.ascontiguousarray(pixels[y0:y1, x0:x1])
        yield Leaf(
            names=(part.name,), box=(left + x0, top + y0, left + x1, top + y1), rgba=cut, blend=part.blend
        )


def _walk(nodes: Sequence[Node], below: Sequence[Node], canvas: Box) -> Iterator[_Part]:
    """Parts of ``nodes``, which are drawn onto ``below`` (nodes too: the backdrop of pass-through children)."""
    beneath = list(below)
    for base, clipped in runs(nodes):
        if (
            base.clipping and base.blend is BlendMode.PASS_THROUGH
        ):  # clipped to nothing, it is drawn on its own
            base = base.replace(blend=BlendMode.NORMAL)
        base = base.replace(clipping=False)
        shown = [node for node in clipped if node.visible]
        whole = bounds(base)
        box = intersect(whole, canvas) if whole is not None else None
        if base.visible and base.opacity > 0 and box is not None:
            yield from _run(base, shown, beneath, box)
            beneath += [base, *shown]


def _run(base: Node, clipped: list[Node], beneath: list[Node], box: Box) -> Iterator[_Part]:
    """Parts of one base and what is clipped to it; all are visible."""
    if base.blend not in PLAIN or (not clipped and _blends_through(base)):
        before = render(beneath, box)
        after = Planes(box, before.color.copy(), before.alpha.copy())
        paint(after, [base, *clipped])
        yield _Part(name=base.name, planes=least_normal(before, after), blend=base.blend)
    elif clipped:
        yield from _clipped(base, clipped, box)
    elif isinstance(base, Layer) or base.blend is BlendMode.DISSOLVE:  # a group dissolves as a whole
        yield _Part(name=base.name, planes=_alone(base, box))
    elif not _halved(base):
        yield from _walk(base.layers, beneath if base.blend is BlendMode.PASS_THROUGH else (), box)
    else:
        yield from _faded(base, box)


def _halved(group: Group) -> bool:
    """Whether opacity or a mask weakens the whole group."""
    return group.opacity < 1 or (group.mask is not None and group.mask.enabled)


def _blends_through(node: Node) -> bool:
    """A weakened pass-through group with blend modes inside, which mix with what lies beneath the group."""
    if isinstance(node, Layer) or node.blend is not BlendMode.PASS_THROUGH:
        return False
    return _halved(node) and _mixes(node)


def _mixes(group: Group) -> bool:
    for child in group.layers:
        if child.visible and child.blend not in PLAIN:
            return True
        if (
            isinstance(child, Group)
            and child.visible
            and child.blend is BlendMode.PASS_THROUGH
            and _mixes(child)
        ):
            return True
    return False


def _alone(node: Node, box: Box) -> Planes:
    """Straight planes of a node drawn on nothing in normal mode (dissolve: as it dissolves)."""
    mode = node.blend if node.blend is BlendMode.DISSOLVE else BlendMode.NORMAL
    planes = render([node.replace(blend=mode, clipping=False)], box)
    return Planes(box, planes.straight(), planes.alpha)


def _faded(group: Group, box: Box) -> Iterator[_Part]:
    """Parts of a group that opacity or a mask weakens: its own if no pixel shows two of them weakened, else one."""
    parts = list(_walk(group.layers, (), box))
    factor = np.broadcast_to(drawn_factor(group, box), (box[3] - box[1], box[2] - box[0]))
    count = np.zeros(factor.shape, np.uint16)
    for part in parts:
        rows, columns = _slices(part.planes.box, box)
        count[rows, columns] += part.planes.alpha > 0
    if (count[(factor > 0) & (factor < 1)] > 1).any():
        yield _Part(name=group.name, planes=_alone(group, box))
        return
    for part in parts:
        weak = part.planes.alpha * factor[_slices(part.planes.box, box)]
        yield _Part(name=part.name, planes=Planes(part.planes.box, part.planes.color, weak), blend=part.blend)


def _slices(inner: Box, outer: Box) -> tuple[slice, slice]:
    x, y = outer[:2]
    return slice(inner[1] - y, inner[3] - y), slice(inner[0] - x, inner[2] - x)


def _clipped(base: Node, clipped: list[Node], box: Box) -> Iterator[_Part]:
    """Parts of a base in normal mode and of what is clipped to it, by the weights of the module's second rule."""
    shape = _alone(base, box)
    colours, shares, names = [shape.color], [np.ones_like(shape.alpha)], [base.name]
    seen = shape.color
    for node in clipped:
        own = _alone(node, box)
        mixed = own.color if node.blend in PLAIN else blend(node.blend, seen, own.color, axis=0)
        seen = seen * (1 - own.alpha) + mixed * own.alpha
        colours.append(mixed)
        shares.append(own.alpha)
        names.append(node.name)
    left = np.ones_like(shape.alpha)  # of the run's own picture: what the layers above leave to be seen
    taken = np.zeros_like(shape.alpha)  # of the canvas: the weights of the layers above
    alphas: list[np.ndarray] = []
    for share in reversed(shares):
        weight = shape.alpha * share * left
        room = 1 - taken
        hidden = shape.alpha * share  # under full cover any alpha draws the same: keep what the layer has
        alphas.append(np.where(room > 1e-6, np.minimum(weight / np.maximum(room, 1e-6), 1), hidden))
        left = left * (1 - share)
        taken = taken + weight
    for name, colour, alpha in zip(names, colours, reversed(alphas), strict=True):
        yield _Part(name=name, planes=Planes(box, colour, alpha))


def least_normal(before: Planes, after: Planes) -> Planes:
    """Straight planes that, drawn over premultiplied ``before`` in normal mode, give ``after``.

    Where ``before`` is opaque the alpha is the least that can, in whole levels of 255; elsewhere only one alpha can.
    """
    change = after.color - before.color
    opaque = before.alpha > _OPAQUE
    backdrop = np.clip(before.color, 0, 1)
    room = np.where(change > 0, 1 - backdrop, backdrop)
    needed = np.where(np.abs(change) > _SEEN, np.abs(change) / np.maximum(room, 1e-6), 0).max(0)
    least = np.minimum(np.ceil(needed * 255 - 1e-3), 255) / 255
    only = (after.alpha - before.alpha) / np.where(opaque, 1, 1 - before.alpha)
    alpha = np.clip(np.where(opaque, least, only), 0, 1).astype(np.float32)
    drawn = after.color - before.color * (1 - alpha)
    color = np.clip(drawn / np.where(alpha > 0, alpha, 1), 0, 1)
    color[:, alpha <= 0] = 0
    return Planes(after.box, color.astype(np.float32), alpha)
