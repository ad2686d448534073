"""Compositing: the visible stack of layers as one image, tile by tile.

W3C *Compositing and Blending* section 5 with the rules PSD adds. With straight colours c, alphas a,
backdrop b and source s, a node is drawn as

    a  = a_s + a_b (1 - a_s)
    ca = c_s a_s (1 - a_b) + c_b a_b (1 - a_s) + a_s a_b B(c_b, c_s)

- opacity and mask multiply a_s; a mask covers what lies outside its pixels by its ``default``;
- clipped layers are drawn onto the colour of their base, whose shape (alpha) is kept; base and clipped
  layers then enter the stack as one, with the base's blend mode; a hidden base hides them. A clipping node
  with no base below it is drawn as an ordinary one;
- an isolated group is drawn on nothing, then enters the stack like a layer; a pass-through group is drawn
  onto the backdrop itself, and opacity and mask lead from the untouched backdrop to that result. A
  pass-through group that is clipped, or has layers clipped to it, is drawn isolated in normal mode.

All maths is float32 and per pixel, so tile size never changes a bit of the result. Inside, colours are
premultiplied planes (3, h, w); the public functions take and give straight (h, w, 4). This module knows
nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .blend import BlendMode, blend, dissolve_threshold
from .document import Box, Group, Layer, LayeredImage, Mask, Node

if TYPE_CHECKING:
    from PIL import Image

TILE = 512
"""Side of a tile in pixels: its float32 planes (5 MiB) stay near the processor's cache."""

LEVELS = {8: 255, 16: 65535}
"""The largest level of a channel by bit depth."""


def quantise(pixels: np.ndarray, depth: int) -> np.ndarray:
    """Float values in [0, 1] (clipped) as uint8 (depth 8) or uint16 (depth 16), rounded half up; any
    shape."""
    levels = LEVELS[depth]
    scaled = np.multiply(pixels, np.float32(levels), dtype=np.float32)
    scaled += np.float32(0.5)
    np.clip(scaled, 0, levels, out=scaled)
    return scaled.astype(np.uint8 if depth == 8 else np.uint16)


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8, uint16 or float32 pixels as float32 in [0, 1], exact division by the largest level; any
    shape."""
    if pixels.dtype == np.float32:
        return np.asarray(pixels)
    return np.divide(pixels, np.float32(255 if pixels.dtype == np.uint8 else 65535), dtype=np.float32)


def to_depth(pixels: np.ndarray, depth: int) -> np.ndarray:
    """Pixels of any accepted dtype as uint8 or uint16, rounded half up; the same array where nothing
    changes."""
    if pixels.dtype == (np.uint8 if depth == 8 else np.uint16):
        return pixels
    return quantise(to_float(pixels), depth)


def intersect(a: Box, b: Box) -> Box | None:
    """The common part of two boxes, or None."""
    box = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return box if box[0] < box[2] and box[1] < box[3] else None


def bounds(node: Node) -> Box | None:
    """The smallest box that holds every pixel of a layer or of a group's layers; None for an empty group."""
    if isinstance(node, Layer):
        return node.box
    boxes = [box for box in map(bounds, node.layers) if box is not None]
    if not boxes:
        return None
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


def tiles(box: Box, tile: int) -> Iterator[Box]:
    """The boxes of a grid of ``tile`` pixels over ``box``, row by row."""
    for y in range(box[1], box[3], tile):
        for x in range(box[0], box[2], tile):
            yield (x, y, min(x + tile, box[2]), min(y + tile, box[3]))


@dataclass(slots=True)
class Planes:
    """A piece of canvas: colour (3, h, w) and alpha (h, w), float32. Straight or premultiplied as the user
    says."""

    box: Box
    color: np.ndarray
    alpha: np.ndarray

    @classmethod
    def empty(cls, box: Box) -> Planes:
        height, width = box[3] - box[1], box[2] - box[0]
        return cls(box, np.zeros((3, height, width), np.float32), np.zeros((height, width), np.float32))

    def view(self, box: Box) -> Planes:
        x, y = self.box[:2]
        rows, columns = slice(box[1] - y, box[3] - y), slice(box[0] - x, box[2] - x)
        return Planes(box, self.color[:, rows, columns], self.alpha[rows, columns])

    def straight(self) -> np.ndarray:
        """The straight colour (3, h, w) of premultiplied planes, 0 where alpha is 0, never above 1."""
        nothing = self.alpha <= 0
        color = self.color / np.where(nothing, np.float32(1), self.alpha)
        np.minimum(color, np.float32(1), out=color)
        color[:, nothing] = 0
        return color


def mask_coverage(mask: Mask, box: Box) -> np.ndarray | None:
    """How much shows in ``box``: float32 (h, w) in [0, 1]; None for a disabled mask (everything shows)."""
    if not mask.enabled:
        return None
    coverage = np.full((box[3] - box[1], box[2] - box[0]), mask.default, np.float32)
    part = intersect(mask.box, box)
    if part is not None:
        x, y = mask.offset
        inside = to_float(mask.pixels[part[1] - y : part[3] - y, part[0] - x : part[2] - x])
        coverage[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]] = inside
    return coverage


def drawn_factor(node: Node, box: Box) -> np.ndarray | np.float32:
    """Opacity times mask: a number where there is no mask, else float32 (h, w)."""
    opacity = np.float32(node.opacity)
    coverage = mask_coverage(node.mask, box) if node.mask is not None else None
    return opacity if coverage is None else coverage * opacity


def runs(nodes: Sequence[Node]) -> list[tuple[Node, list[Node]]]:
    """The nodes as (base, clipped nodes above it), bottom to top."""
    result: list[tuple[Node, list[Node]]] = []
    for node in nodes:
        if node.clipping and result:
            result[-1][1].append(node)
        else:
            result.append((node, []))
    return result


def _layer_source(layer: Layer, box: Box) -> Planes | None:
    """Straight planes of a layer's part in ``box``, opacity and mask in the alpha; None where nothing
    shows."""
    part = intersect(layer.box, box)
    if part is None or layer.opacity <= 0:
        return None
    x, y = layer.offset
    pixels = layer.pixels[part[1] - y : part[3] - y, part[0] - x : part[2] - x]
    if not pixels[..., 3].any():
        return None
    alpha = to_float(np.ascontiguousarray(pixels[..., 3]))
    factor = drawn_factor(layer, part)
    if isinstance(factor, np.ndarray) or factor != 1:
        alpha = alpha * factor
    color = np.empty((3, *alpha.shape), np.float32)
    for channel in range(3):
        color[channel] = to_float(pixels[..., channel])
    return Planes(part, color, alpha)


def _group_source(group: Group, box: Box) -> Planes | None:
    """Straight planes of a group drawn on nothing, opacity and mask in the alpha; None where nothing
    shows."""
    whole = bounds(group)
    part = intersect(whole, box) if whole is not None else None
    if part is None or group.opacity <= 0:
        return None
    planes = Planes.empty(part)
    paint(planes, group.layers)
    if not planes.alpha.any():
        return None
    return Planes(part, planes.straight(), planes.alpha * drawn_factor(group, part))


def _source(node: Node, box: Box) -> Planes | None:
    return _layer_source(node, box) if isinstance(node, Layer) else _group_source(node, box)


def _clip_onto(base: Planes, node: Node) -> None:
    """Draw a clipped node onto the straight colour of its base in place; the base's alpha stays as it is."""
    source = _source(node, base.box)
    if source is None:
        return
    under = base.view(source.box)
    alpha = source.alpha
    if node.blend is BlendMode.DISSOLVE:
        alpha = _dissolved(source)
    mixed = source.color if _draws_normal(node) else blend(node.blend, under.color, source.color, axis=0)
    under.color *= 1 - alpha
    under.color += mixed * alpha


def _draws_normal(node: Node) -> bool:
    return node.blend in (BlendMode.NORMAL, BlendMode.PASS_THROUGH, BlendMode.DISSOLVE)


def _dissolved(source: Planes) -> np.ndarray:
    x0, y0, x1, y1 = source.box
    return (source.alpha >= dissolve_threshold(x0, y0, x1 - x0, y1 - y0)).astype(np.float32)


def _draw(canvas: Planes, source: Planes, mode: BlendMode) -> None:
    """Draw straight source planes onto the premultiplied canvas in place."""
    under = canvas.view(source.box)
    alpha = _dissolved(source) if mode is BlendMode.DISSOLVE else source.alpha
    if mode in (BlendMode.NORMAL, BlendMode.PASS_THROUGH, BlendMode.DISSOLVE):
        if alpha.min() >= 1:
            under.color[...] = source.color
            under.alpha[...] = 1
            return
        keep = 1 - alpha
        under.color *= keep
        source.color *= alpha
        under.color += source.color
    else:
        mixed = blend(mode, under.straight(), source.color, axis=0)
        keep = 1 - alpha
        added = source.color * (alpha * (1 - under.alpha))
        mixed *= alpha * under.alpha
        under.color *= keep
        under.color += added
        under.color += mixed
    under.alpha *= keep
    under.alpha += alpha


def _pass_through(canvas: Planes, group: Group) -> None:
    """Draw the children of a pass-through group onto the canvas in place."""
    whole = bounds(group)
    part = intersect(whole, canvas.box) if whole is not None else None
    if part is None or group.opacity <= 0:
        return
    under = canvas.view(part)
    factor = drawn_factor(group, part)
    if not isinstance(factor, np.ndarray) and factor >= 1:
        paint(under, group.layers)
        return
    color, alpha = under.color.copy(), under.alpha.copy()
    paint(under, group.layers)
    under.color *= factor
    under.color += color * (1 - factor)
    under.alpha *= factor
    under.alpha += alpha * (1 - factor)


def paint(canvas: Planes, nodes: Sequence[Node]) -> None:
    """Draw nodes, bottom to top, onto premultiplied planes in place; only the pixels in the canvas box are
    read."""
    for base, clipped in runs(nodes):
        if not base.visible:
            continue
        clipped = [node for node in clipped if node.visible]
        if (
            isinstance(base, Group)
            and base.blend is BlendMode.PASS_THROUGH
            and not clipped
            and not base.clipping
        ):
            _pass_through(canvas, base)
            continue
        source = _source(base, canvas.box)
        if source is None:
            continue
        for node in clipped:
            _clip_onto(source, node)
        _draw(canvas, source, base.blend)


def render(nodes: Sequence[Node], box: Box) -> Planes:
    """The nodes in ``box`` as premultiplied planes, in one piece (callers tile)."""
    canvas = Planes.empty(box)
    paint(canvas, nodes)
    return canvas


def _straight_pixels(planes: Planes) -> np.ndarray:
    height, width = planes.alpha.shape
    pixels = np.empty((height, width, 4), np.float32)
    pixels[..., :3] = planes.straight().transpose(1, 2, 0)
    np.clip(planes.alpha, 0, 1, out=pixels[..., 3])
    return pixels


def _by_tiles(
    nodes: Sequence[Node],
    box: Box,
    tile: int,
    dtype: type,
    channels: int,
    finish: Callable[[Planes], np.ndarray],
) -> np.ndarray:
    result: np.ndarray = np.empty((box[3] - box[1], box[2] - box[0], channels), dtype)
    for part in tiles(box, tile):
        rows, columns = slice(part[1] - box[1], part[3] - box[1]), slice(part[0] - box[0], part[2] - box[0])
        result[rows, columns] = finish(render(nodes, part))
    return result


def composite_nodes(nodes: Sequence[Node], box: Box, *, tile: int = TILE) -> np.ndarray:
    """Nodes composited on nothing, as float32 (h, w, 4) in [0, 1], straight alpha, for any box of the
    canvas plane.

    Raises InputError for an empty box.
    """
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InputError(f"The box {box} is empty; give (x0, y0, x1, y1) with x0 < x1 and y0 < y1.")
    return _by_tiles(nodes, box, tile, np.float32, 4, _straight_pixels)


def composite(doc: LayeredImage, box: Box | None = None, *, tile: int = TILE) -> np.ndarray:
    """The visible stack in ``box`` (default: the canvas) as float32 (h, w, 4) in [0, 1], straight alpha.

    Colour is 0 where the alpha is 0. Beside the result only one tile is held in float. Raises InputError
    for a box that is empty or reaches outside the canvas.
    """
    return composite_nodes(doc.layers, _checked_box(doc, box), tile=tile)


def _checked_box(doc: LayeredImage, box: Box | None) -> Box:
    if box is None:
        return doc.box
    if intersect(box, doc.box) != tuple(box):
        raise InputError(f"The box {tuple(box)} must be part of the canvas, {doc.width}x{doc.height}.")
    return box


def flatten_array(
    doc: LayeredImage, depth: int | None = None, box: Box | None = None, *, tile: int = TILE
) -> np.ndarray:
    """The visible stack as uint8 or uint16 (h, w, 4), straight alpha, rounded half up once.

    ``depth`` (8 or 16) defaults to the document's. No float copy larger than a tile is made.
    """
    depth = doc.depth if depth is None else depth
    if depth not in LEVELS:
        raise InputError(f"A flat picture has 8 or 16 bits per channel, not {depth}.")
    dtype = np.uint8 if depth == 8 else np.uint16
    area = _checked_box(doc, box)
    return _by_tiles(
        doc.layers, area, tile, dtype, 4, lambda planes: quantise(_straight_pixels(planes), depth)
    )


def flatten_image(doc: LayeredImage, background: tuple[int, int, int] | None = None) -> Image.Image:
    """The visible stack as an 8-bit Pillow picture: RGBA, or RGB over a background colour (0..255 each)."""
    from PIL import Image

    if background is None:
        return Image.fromarray(flatten_array(doc, 8), "RGBA")
    if len(background) != 3 or any(not 0 <= value <= 255 for value in background):
        raise InputError(
            f"A background is three numbers from 0 to 255 (red, green, blue), not {background!r}."
        )
    behind = (np.asarray(background, np.float32) / np.float32(255))[:, None, None]

    def over(planes: Planes) -> np.ndarray:
        return quantise((planes.color + behind * (1 - planes.alpha)).transpose(1, 2, 0), 8)

    return Image.fromarray(_by_tiles(doc.layers, doc.box, TILE, np.uint8, 3, over), "RGB")
