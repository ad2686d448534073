"""Layers from the size a model worked at to the size of the picture, with the picture as guide.

Alpha: the fast guided filter (He, Sun, Tang, *Guided Image Filtering*, section 3.5, colour guide; He and
Sun, *Fast Guided Filter*): linear coefficients alpha = a . I + b are fitted in small windows at the model's
size, enlarged, and applied to the full-size picture I, so edges follow the picture's own. The result is
held between the smallest and the largest nearby alpha of the model, and values near 0 and 1 are snapped.
Colour: the picture's own where a layer is seen practically alone, else the layer's, enlarged on
premultiplied values.

What differs from the papers: the clamp and the snap. Layers that reach outside the canvas, and every layer
when the picture is smaller than the document, are resized without a guide. Works in strips; beside the
result only a strip is held in float. Run ``recompose`` afterwards for exactness. This module knows nothing
of models or files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .blend import BlendMode
from .composite import intersect, quantise, to_float
from .document import Box, Group, Layer, LayeredImage, Mask, Node
from .edges import pad_colours
from .recompose import picture_pixels
from .resample import resize, resize_plane

RADIUS = 3
"""Half the window of the guided filter, in pixels of the model's size."""
EPSILON = 1e-4
"""Regularisation of the fit: guide variance (of values in [0, 1]) below which an edge is not followed."""
SNAP = 0.02
"""Alphas nearer than this to 0 or 1 become exactly that; up to twice as far they are pulled along."""
ALONE = 0.9
"""From this share of the visible result on, a layer starts to take its colour from the picture itself."""
STRIP = 32


def upsample_layers(doc: LayeredImage, image: object) -> LayeredImage:
    """The document at the size of ``image`` (a Pillow picture or (h, w, 4) array), its layers guided by it.

    Offsets, boxes and masks scale along; names, modes and structure stay. A picture of the document's own
    size returns the document as it is. Every pixel array is at the document's depth.
    """
    picture = picture_pixels(image, doc.depth)  # type: ignore[arg-type]
    height, width = picture.shape[:2]
    if (width, height) == (doc.width, doc.height):
        return doc
    scale = (width / doc.width, height / doc.height)
    fresh: dict[int, Layer] = {}
    guided = [
        entry for entry in _entries(doc.layers) if intersect(entry.layer.box, doc.box) == entry.layer.box
    ]
    if min(scale) >= 1 and guided:
        fresh = _guided_layers(doc, guided, picture)
    layers = _scaled_nodes(doc.layers, scale, fresh)
    return doc.replace(width=width, height=height, layers=layers)


@dataclass(frozen=True)
class _Entry:
    """A visible leaf with what its place in the tree makes of it."""

    layer: Layer
    opacity: float
    plain: bool
    """Drawn as a plain 'over' without masks, so that its contribution is known from alphas alone."""


def _entries(nodes: tuple[Node, ...], opacity: float = 1.0, plain: bool = True) -> Iterator[_Entry]:
    for node in nodes:
        if not node.visible:
            continue
        through = node.blend in (BlendMode.NORMAL, BlendMode.PASS_THROUGH)
        simple = plain and through and node.mask is None and not node.clipping
        if isinstance(node, Layer):
            yield _Entry(node, opacity * node.opacity, simple)
        else:
            yield from _entries(node.layers, opacity * node.opacity, simple)


def _scaled_box(box: Box, scale: tuple[float, float]) -> Box:
    x0, y0 = (int(np.floor(box[axis] * scale[axis] + 1e-9)) for axis in (0, 1))
    x1, y1 = (int(np.ceil(box[axis + 2] * scale[axis] - 1e-9)) for axis in (0, 1))
    return (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def _scaled_mask(mask: Mask | None, scale: tuple[float, float]) -> Mask | None:
    if mask is None:
        return None
    x0, y0, x1, y1 = _scaled_box(mask.box, scale)
    return dataclasses.replace(mask, pixels=resize_plane(mask.pixels, (x1 - x0, y1 - y0)), offset=(x0, y0))


def _scaled_nodes(
    nodes: tuple[Node, ...], scale: tuple[float, float], fresh: dict[int, Layer]
) -> tuple[Node, ...]:
    result: list[Node] = []
    for node in nodes:
        mask = _scaled_mask(node.mask, scale)
        if isinstance(node, Group):
            result.append(node.replace(layers=_scaled_nodes(node.layers, scale, fresh), mask=mask))
            continue
        asked = node.provenance.box
        provenance = dataclasses.replace(node.provenance, box=_scaled_box(asked, scale) if asked else None)
        layer = fresh.get(id(node))
        if layer is None:
            x0, y0, x1, y1 = _scaled_box(node.box, scale)
            layer = node.replace(pixels=resize(node.pixels, (x1 - x0, y1 - y0)), offset=(x0, y0))
        result.append(layer.replace(mask=mask, provenance=provenance))
    return tuple(result)


class _Guide:
    """The picture at the document's size and the window statistics of its colours."""

    def __init__(self, picture: np.ndarray, size: tuple[int, int]) -> None:
        self.picture = picture
        small = [resize_plane(self._plane(picture, channel), size) for channel in range(3)]
        self.small = np.stack([to_float(plane) for plane in small])
        self.mean = np.stack([_window_mean(plane) for plane in self.small])
        self.inverse = self._inverse_covariance()

    def _inverse_covariance(self) -> np.ndarray:
        """The inverse of each window's regularised 3x3 colour covariance, (3, 3, h, w), by cofactors."""
        covariance = np.empty((3, 3, *self.mean.shape[1:]), np.float64)
        for i in range(3):
            for j in range(i, 3):
                value = _window_mean(self.small[i] * self.small[j]) - self.mean[i] * self.mean[j]
                covariance[i, j] = covariance[j, i] = value + (EPSILON if i == j else 0)
        cofactors = np.empty_like(covariance)
        for i in range(3):
            for j in range(3):
                (a, b), (c, d) = ((i + 1) % 3, (i + 2) % 3), ((j + 1) % 3, (j + 2) % 3)
                cofactors[i, j] = covariance[a, c] * covariance[b, d] - covariance[a, d] * covariance[b, c]
        determinant = (covariance[0] * cofactors[0]).sum(axis=0)
        return (cofactors / determinant).astype(np.float32)

    @staticmethod
    def _plane(picture: np.ndarray, channel: int) -> np.ndarray:
        """One colour over grey: a transparent picture guides by its shape too."""
        if picture[..., 3].min() == np.iinfo(picture.dtype).max:
            return np.ascontiguousarray(picture[..., channel])
        alpha = to_float(picture[..., 3])
        return to_float(picture[..., channel]) * alpha + np.float32(0.5) * (1 - alpha)

    def coefficients(self, alpha: np.ndarray) -> np.ndarray:
        """The averaged fit (4, h, w) of alpha (h, w): three slopes and the constant."""
        mean = _window_mean(alpha)
        cross = [_window_mean(self.small[c] * alpha) - self.mean[c] * mean for c in range(3)]
        slopes = sum(self.inverse[:, c] * cross[c] for c in range(3))
        constant = mean - (slopes * self.mean).sum(axis=0)
        return np.stack([_window_mean(plane) for plane in (*slopes, constant)])

    def strip(self, rows: slice) -> np.ndarray:
        """Guide values (rows, 3, W) float32 of full-size rows."""
        return np.stack([to_float(self._plane(self.picture[rows], channel)) for channel in range(3)], axis=1)


def _window_mean(plane: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    return uniform_filter(plane, 2 * RADIUS + 1, mode="nearest")


def _weights(start: int, stop: int, scale: float, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For result pixels [start, stop): the two source pixels of linear interpolation and the share of the
    second."""
    at = (np.arange(start, stop) + 0.5) / scale - 0.5
    low = np.floor(at)
    first = np.clip(low, 0, length - 1).astype(np.intp)
    second = np.clip(low + 1, 0, length - 1).astype(np.intp)
    return first, second, (at - low).astype(np.float32)


class _Enlarger:
    """One layer's small planes (h, k, w) and the linear interpolation of any of its full-size rows."""

    def __init__(
        self, planes: np.ndarray, area: Box, scale: tuple[float, float], size: tuple[int, int]
    ) -> None:
        self.planes, self.scale = planes, scale
        x0, y0, x1, y1 = _scaled_box(area, scale)
        self.box = (x0, y0, min(x1, size[0]), min(y1, size[1]))
        self.origin = area[:2]
        self.columns = self._along(x0, self.box[2], 0, planes.shape[2])

    def _along(
        self, start: int, stop: int, axis: int, length: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, second, share = _weights(start, stop, self.scale[axis], length + self.origin[axis])
        return np.maximum(first - self.origin[axis], 0), np.maximum(second - self.origin[axis], 0), share

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Planes (rows, k, W) of the full-size rows [start, stop) of the box."""
        first, second, share = self._along(start, stop, 1, self.planes.shape[0])
        low, high = int(first.min()), int(second.max()) + 1
        small = self.planes[low:high]
        left, right, across = self.columns
        wide = np.take(small, left, axis=2) * (1 - across) + np.take(small, right, axis=2) * across
        step = np.diff(wide, axis=0, append=wide[-1:])
        result = np.empty((stop - start, *wide.shape[1:]), np.float32)
        # Row by row stays in the cache, and leaves the threads of a BLAS library out of it.
        for row, (top, bottom, part) in enumerate(zip(first - low, second - low, share, strict=True)):
            np.multiply(step[top], part if bottom > top else np.float32(0), out=result[row])
            result[row] += wide[top]
        return result


def _small_planes(layer: Layer, doc: LayeredImage, guide: _Guide, area: Box) -> np.ndarray:
    """(h, 10, w) of ``area``: guided fit (4), bounds of alpha (2), weighted colour (3) and its weight."""
    from scipy.ndimage import maximum_filter, minimum_filter

    x, y = layer.offset
    canvas = np.zeros((doc.height, doc.width, 4), np.float32)
    canvas[y : y + layer.height, x : x + layer.width] = to_float(layer.pixels)
    alpha = np.ascontiguousarray(canvas[..., 3])
    window = (slice(area[1], area[3]), slice(area[0], area[2]))
    # The faint weight under alpha 0 lets padded colours answer where an enlarged edge reaches into nothing.
    weight = alpha[window] + np.float32(1e-3)
    color = np.moveaxis(pad_colours(canvas[window])[..., :3], -1, 0) * weight
    fit = guide.coefficients(alpha)[(slice(None), *window)]
    low, high = minimum_filter(alpha, 3)[window], maximum_filter(alpha, 3)[window]
    return np.ascontiguousarray(np.stack([*fit, low, high, *color, weight], axis=1), dtype=np.float32)


def _snapped(alpha: np.ndarray) -> np.ndarray:
    low = np.where(alpha < 2 * SNAP, np.maximum(2 * (alpha - SNAP), 0), alpha)
    return np.where(alpha > 1 - 2 * SNAP, np.minimum(1 - 2 * (1 - SNAP - alpha), 1), low)


def _guided_layers(doc: LayeredImage, entries: list[_Entry], picture: np.ndarray) -> dict[int, Layer]:
    """Full-size layers by the identity of the layers they replace."""
    height, width = picture.shape[:2]
    scale = (width / doc.width, height / doc.height)
    guide = _Guide(picture, (doc.width, doc.height))
    work: list[tuple[_Entry, _Enlarger, np.ndarray]] = []
    for entry in entries:
        x0, y0, x1, y1 = entry.layer.box
        area = intersect((x0 - RADIUS, y0 - RADIUS, x1 + RADIUS, y1 + RADIUS), doc.box)
        assert area is not None
        enlarger = _Enlarger(_small_planes(entry.layer, doc, guide, area), area, scale, (width, height))
        bx0, by0, bx1, by1 = enlarger.box
        work.append((entry, enlarger, np.zeros((by1 - by0, bx1 - bx0, 4), picture.dtype)))
    for start in range(0, height, STRIP):
        _fill_strip(work, guide, slice(start, min(start + STRIP, height)), doc.depth)
    return {
        id(entry.layer): _placed(entry.layer, enlarger.box, pixels, scale) for entry, enlarger, pixels in work
    }


def _fill_strip(
    work: list[tuple[_Entry, _Enlarger, np.ndarray]], guide: _Guide, rows: slice, depth: int
) -> None:
    seen = guide.strip(rows)
    height, _, width = seen.shape
    picture = guide.picture[rows]
    through = np.ones((height, width), np.float32)
    for entry, enlarger, result in reversed(work):
        x0, y0, x1, y1 = enlarger.box
        first, last = max(rows.start, y0), min(rows.stop, y1)
        if first >= last:
            continue
        planes = enlarger.rows(first, last)
        here = (slice(first - rows.start, last - rows.start), slice(x0, x1))
        colors = seen[here[0], :, here[1]]
        fit = planes[:, 3] + sum(planes[:, c] * colors[:, c] for c in range(3))
        alpha = _snapped(np.minimum(np.maximum(fit, planes[:, 4]), planes[:, 5]))
        drawn = alpha * np.float32(entry.opacity)
        share = np.clip((drawn * through[here] - ALONE) / (1 - ALONE), 0, 1) if entry.plain else None
        target = result[first - y0 : last - y0]
        target[..., 3] = quantise(alpha, depth)
        if share is not None:
            share *= picture[here][..., 3] > 0
        for channel in range(3):
            color = planes[:, 6 + channel] / planes[:, 9]
            if share is not None:
                color += share * (to_float(picture[here][..., channel]) - color)
            target[..., channel] = quantise(color, depth)
        through[here] *= 1 - np.minimum(drawn, 1)


def _placed(layer: Layer, box: Box, pixels: np.ndarray, scale: tuple[float, float]) -> Layer:
    """The layer with its full-size pixels, cropped to its scaled box and what grew beyond it."""
    rows, columns = np.flatnonzero(pixels[..., 3].any(axis=1)), np.flatnonzero(pixels[..., 3].any(axis=0))
    x0, y0, x1, y1 = _scaled_box(layer.box, scale)
    if rows.size:
        x0, x1 = min(x0, box[0] + int(columns[0])), max(x1, box[0] + int(columns[-1]) + 1)
        y0, y1 = min(y0, box[1] + int(rows[0])), max(y1, box[1] + int(rows[-1]) + 1)
    x0, y0, x1, y1 = max(x0, box[0]), max(y0, box[1]), min(x1, box[2]), min(y1, box[3])
    part = pixels[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
    return layer.replace(pixels=part if part.shape == pixels.shape else part.copy(), offset=(x0, y0))
