"""A document whose visible pixels may be written, for the length of one recomposition.

The layers of ``WorkingStack.nodes`` look at arrays that the working layers own and write; the compositor
sees every change at once. Nothing of the document that was given is touched. This module solves nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .blend import BlendMode
from .composite import LEVELS, bounds, intersect, runs, to_depth
from .document import Box, Group, Layer, LayeredImage, Mask, Node, Provenance

RESIDUAL_NAME = "Residual"


def _byte_opacity(opacity: float) -> float:
    """The opacity PSD will hold; exactly the same number where it already is one of those."""
    level = int(opacity * 255 + 0.5)
    return opacity if abs(opacity * 255 - level) < 1e-9 else level / 255


class WorkingLayer:
    """One visible layer with writeable pixels; boxes are in canvas coordinates."""

    def __init__(self, original: Layer, depth: int, simple: bool, box: Box | None = None) -> None:
        self.original = original
        self.changed = False
        self.simple = simple
        """Drawn in normal mode, straight onto the stack: no group opacity or mask, no clipping."""
        source = to_depth(original.pixels, depth)
        self.box = box or original.box
        if self.box == original.box:
            self.pixels = np.array(source)
        else:
            x0, y0, x1, y1 = self.box
            self.pixels = np.zeros((y1 - y0, x1 - x0, 4), source.dtype)
            ox, oy = original.offset
            self.pixels[oy - y0 : oy - y0 + original.height, ox - x0 : ox - x0 + original.width] = source
        mask = original.mask
        if mask is not None:
            mask = dataclasses.replace(mask, pixels=to_depth(mask.pixels, depth))
        self.layer = original.replace(
            pixels=self.pixels, offset=self.box[:2], opacity=_byte_opacity(original.opacity), mask=mask
        )

    def part(self, box: Box) -> Box:
        """The part of ``box`` this layer has pixels for (callers pass boxes it reaches into)."""
        inside = intersect(self.box, box)
        assert inside is not None
        return inside

    def window(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of that part within ``box``."""
        x0, y0, x1, y1 = self.part(box)
        return slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])

    def view(self, box: Box) -> np.ndarray:
        """The writeable pixels of the part of ``box``."""
        x0, y0, x1, y1 = self.part(box)
        x, y = self.box[:2]
        return self.pixels[y0 - y : y1 - y, x0 - x : x1 - x]

    def read(self, box: Box) -> np.ndarray:
        return self.view(box).copy()

    def write(self, box: Box, pixels: np.ndarray) -> None:
        self.view(box)[...] = pixels

    def restore(self, box: Box, pixels: np.ndarray, where: np.ndarray) -> None:
        """Put back ``pixels`` at the True places of ``where`` (h, w of ``box``)."""
        np.copyto(self.view(box), pixels, where=where[self.window(box)][..., None])

    def finished(self) -> Layer:
        """The layer to return: the original where nothing changed, without a margin that stayed empty."""
        untouched = (
            not self.changed
            and self.original.pixels.dtype == self.pixels.dtype
            and self.layer.opacity == self.original.opacity
            and (self.layer.mask is None or self.original.mask is None
                 or self.layer.mask.pixels.dtype == self.original.mask.pixels.dtype)
        )  # fmt: skip
        if untouched:
            return self.original
        if self.box == self.original.box:
            return self.layer
        x, y = self.box[:2]
        x0, y0, x1, y1 = self.original.box
        rows, columns = (
            np.flatnonzero(self.pixels[..., 3].any(axis=1)),
            np.flatnonzero(self.pixels[..., 3].any(axis=0)),
        )
        if rows.size:
            x0, x1 = min(x0, x + int(columns[0])), max(x1, x + int(columns[-1]) + 1)
            y0, y1 = min(y0, y + int(rows[0])), max(y1, y + int(rows[-1]) + 1)
        return self.layer.replace(
            pixels=self.pixels[y0 - y : y1 - y, x0 - x : x1 - x].copy(), offset=(x0, y0)
        )


def _plain(node: Node) -> bool:
    """True for a node whose drawing is linear 'over': normal mode, not clipped; a group also whole and
    unmasked."""
    normal = node.blend in (BlendMode.NORMAL, BlendMode.PASS_THROUGH) and not node.clipping
    if isinstance(node, Layer):
        return normal
    return normal and node.opacity == 1 and (node.mask is None or not node.mask.enabled)


class WorkingStack:
    """The visible leaves of a document as working layers, and the tree that draws them."""

    def __init__(self, doc: LayeredImage) -> None:
        self.doc, self.depth, self.levels = doc, doc.depth, LEVELS[doc.depth]
        self.leaves: list[WorkingLayer] = []
        self.awkward: list[Box] = []
        """Boxes of visible nodes that are not drawn as a plain 'over'."""
        self._tree = self._build(doc.layers, True)
        self.residual: WorkingLayer | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        drawn = self._layers(self._tree)
        return drawn if self.residual is None else (*drawn, self.residual.layer)

    def _build(self, nodes: tuple[Node, ...], simple: bool) -> list[object]:
        tree: list[object] = []
        for base, clipped in runs(nodes):
            group = [base, *clipped]
            for node in group:
                if not base.visible or not node.visible:
                    tree.append(node)
                    continue
                plain = simple and _plain(node) and len(group) == 1
                if not plain and (box := bounds(node)) is not None:
                    self.awkward.append(box)
                if isinstance(node, Layer):
                    leaf = WorkingLayer(
                        node, self.depth, plain, None if self.leaves else self._stretched(node, plain)
                    )
                    self.leaves.append(leaf)
                    tree.append(leaf)
                else:
                    tree.append((node, self._build(node.layers, plain)))
        return tree

    def _stretched(self, node: Layer, plain: bool) -> Box | None:
        """The lowest layer reaches over the canvas, so that it can fill what nothing covers."""
        if not plain:
            return None
        x0, y0, x1, y1 = node.box
        return (min(x0, 0), min(y0, 0), max(x1, self.doc.width), max(y1, self.doc.height))

    def _layers(self, tree: list[object], final: bool = False) -> tuple[Node, ...]:
        result: list[Node] = []
        for item in tree:
            if isinstance(item, WorkingLayer):
                result.append(item.finished() if final else item.layer)
            elif isinstance(item, tuple):
                result.append(self._group(item[0], self._layers(item[1], final)))
            elif isinstance(item, Layer | Group):
                result.append(item)
        return tuple(result)

    def _group(self, group: Group, children: tuple[Node, ...]) -> Group:
        mask: Mask | None = group.mask
        if mask is not None and mask.pixels.dtype != to_depth(mask.pixels[:1, :1], self.depth).dtype:
            mask = dataclasses.replace(mask, pixels=to_depth(mask.pixels, self.depth))
        opacity = _byte_opacity(group.opacity)
        same = all(a is b for a, b in zip(children, group.layers, strict=True))
        if same and mask is group.mask and opacity == group.opacity:
            return group
        return group.replace(layers=children, mask=mask, opacity=opacity)

    def inside(self, box: Box) -> list[WorkingLayer]:
        """The working layers that reach into ``box``, bottom to top."""
        return [leaf for leaf in self.leaves if intersect(leaf.box, box) is not None]

    def is_simple(self, box: Box) -> bool:
        """True where everything in ``box`` is drawn as a plain 'over'."""
        return not any(intersect(awkward, box) for awkward in self.awkward)

    def force(self, box: Box, target: np.ndarray, where: np.ndarray) -> int:
        """Set the True pixels of ``where`` to the target outright and return how many there were."""
        forced = int(np.count_nonzero(where))
        if not forced:
            return 0
        clear = where & (target[..., 3] < self.levels)
        if clear.any():
            # Nothing drawn on top lowers an alpha, so everything beneath goes.
            for leaf in self.inside(box):
                np.copyto(leaf.view(box)[..., 3], 0, where=clear[leaf.window(box)])
                leaf.changed = True
        top = self.leaves[-1] if self.leaves else None
        if top is not None and top.simple and top.layer.opacity == 1 and top.layer.mask is None:
            inside = intersect(top.box, box)
            if inside is not None:
                window = top.window(box)
                np.copyto(top.view(box), target[window], where=where[window][..., None])
                top.changed = True
                where = where.copy()
                where[window] = False
        if where.any():
            if self.residual is None:
                empty = np.zeros((1, 1, 4), np.uint8 if self.depth == 8 else np.uint16)
                layer = Layer(pixels=empty, name=RESIDUAL_NAME, provenance=Provenance(role="residual"))
                self.residual = WorkingLayer(layer, self.depth, True, self.doc.box)
            np.copyto(self.residual.view(box), target, where=where[..., None])
            self.residual.changed = True
        return forced

    def finished(self) -> LayeredImage:
        """The document with the changed layers; the very same document where nothing changed."""
        layers = self._layers(self._tree, final=True)
        if self.residual is not None:
            layers = (*layers, self._cropped_residual())
        same = len(layers) == len(self.doc.layers) and all(
            a is b for a, b in zip(layers, self.doc.layers, strict=True)
        )
        return self.doc if same else self.doc.with_layers(layers)

    def _cropped_residual(self) -> Layer:
        assert self.residual is not None
        pixels = self.residual.pixels
        rows, columns = np.flatnonzero(pixels[..., 3].any(axis=1)), np.flatnonzero(pixels[..., 3].any(axis=0))
        if not rows.size:
            return self.residual.layer
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        return self.residual.layer.replace(pixels=pixels[y0:y1, x0:x1].copy(), offset=(x0, y0))
