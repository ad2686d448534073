"""Exact recomposition: the smallest change to the layers after which they flatten to a given picture.

The bound is on what is saved: pixels, masks and opacities are first rounded to the document's depth
(opacities to 1/255, as PSD stores them), the changes are whole levels, and the result is checked with the
compositor that flattens documents. Afterwards every pixel of the flattened document equals the picture
within 1 level, nearly always exactly, alpha included; colour under alpha 0 does not exist for a flattened
image and is not compared. Per tile:

1. pixels that already agree are left alone, so a second run finds next to nothing to do: it tries again only
   where the first was not exact, and there a very faint layer may still move by a level of alpha;
2. alphas change only where the alpha of the stack is wrong (``solve_alpha``);
3. colours change by the minimum-norm amount, in proportion to what each layer contributes
   (``solve_colour``), so what is hidden stays as it is;
4. where blend modes, clipping, group masks or group opacities are in the tile the contributions are measured
   with the compositor itself and the step is repeated (``recompose_general.py``);
5. pixels that still miss the bound are set to the picture, opaque, on the topmost layer if that is an ordinary
   one, else on a layer named "Residual" added on top. They are counted in the report.

Hidden nodes are never touched; locked ones are treated like others. This module knows nothing of files and
models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .composite import LEVELS, drawn_factor, quantise, render, tiles, to_depth
from .document import Box, LayeredImage, Node
from .solve import contributions, solve_alpha, solve_colour
from .working import WorkingLayer, WorkingStack

if TYPE_CHECKING:
    from PIL import Image

TILE = 256
MAX_PASSES = 8


@dataclass(frozen=True, kw_only=True)
class RecomposeReport:
    """What recomposition found and changed. Errors and changes are in levels of 1/255, whatever the depth.

    Changes are per canvas pixel: the largest over layers (and channels); mean and share run over all pixels.
    """

    error_before_mean: float
    error_before_max: float
    psnr_before: float
    """In dB over the four channels; infinite where nothing differed."""
    colour_change_mean: float
    colour_change_max: float
    colour_change_share: float
    """Share of pixels in [0, 1] where the colour of some visible layer pixel changed."""
    alpha_change_mean: float
    alpha_change_max: float
    alpha_change_share: float
    error_after_max: float
    psnr_after: float
    forced_pixels: int = 0
    """Pixels set to the picture outright because no smaller change reached the bound."""

    def as_dict(self) -> dict[str, Any]:
        """The fields, JSON-able: an infinite PSNR is None."""
        values = dataclasses.asdict(self)
        return {key: None if isinstance(v, float) and math.isinf(v) else v for key, v in values.items()}


class _Tally:
    """Sums over tiles for the report."""

    def __init__(self) -> None:
        self.error_sum = self.square_before = self.square_after = 0.0
        self.error_max = self.after_max = 0
        self.color_sum = self.alpha_sum = 0.0
        self.color_max = self.alpha_max = self.color_pixels = self.alpha_pixels = self.forced = 0

    def before(self, error: np.ndarray) -> None:
        self.error_sum += float(error.sum(dtype=np.float64))
        self.error_max = max(self.error_max, int(error.max()))
        self.square_before += float(np.square(error, dtype=np.float64).sum())

    def after(self, error: np.ndarray) -> None:
        self.after_max = max(self.after_max, int(error.max()))
        self.square_after += float(np.square(error, dtype=np.float64).sum())

    def changed(self, color: np.ndarray, alpha: np.ndarray) -> None:
        self.color_sum += float(color.sum(dtype=np.float64))
        self.color_max = max(self.color_max, int(color.max()))
        self.color_pixels += int(np.count_nonzero(color))
        self.alpha_sum += float(alpha.sum(dtype=np.float64))
        self.alpha_max = max(self.alpha_max, int(alpha.max()))
        self.alpha_pixels += int(np.count_nonzero(alpha))

    def report(self, pixels: int, levels: int) -> RecomposeReport:
        unit = 255 / levels

        def psnr(square: float) -> float:
            return math.inf if square == 0 else 10 * math.log10(levels**2 * pixels * 4 / square)

        return RecomposeReport(
            error_before_mean=self.error_sum / (pixels * 4) * unit,
            error_before_max=self.error_max * unit,
            psnr_before=psnr(self.square_before),
            colour_change_mean=self.color_sum / pixels * unit,
            colour_change_max=self.color_max * unit,
            colour_change_share=self.color_pixels / pixels,
            alpha_change_mean=self.alpha_sum / pixels * unit,
            alpha_change_max=self.alpha_max * unit,
            alpha_change_share=self.alpha_pixels / pixels,
            error_after_max=self.after_max * unit,
            psnr_after=psnr(self.square_after),
            forced_pixels=self.forced,
        )


def picture_pixels(image: Image.Image | np.ndarray, depth: int) -> np.ndarray:
    """A picture as (h, w, 4) uint8 or uint16 at ``depth``; grey and RGB get an opaque alpha.

    ``image``: a Pillow picture of any mode but F (mode I holds 0 to 65535), or an array (h, w), (h, w, 3) or
    (h, w, 4), uint8, uint16 or floats in [0, 1]. Raises InputError for what is no such picture.
    """
    if not isinstance(image, np.ndarray):
        image = _pillow_pixels(image)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    floats = np.issubdtype(image.dtype, np.floating)
    if (
        image.ndim != 3
        or image.shape[2] not in (3, 4)
        or 0 in image.shape
        or not (floats or image.dtype in (np.uint8, np.uint16))
    ):
        raise InputError(
            f"The picture must be H x W x 4 uint8, uint16 or floats in [0, 1], not {image.shape} {image.dtype}."
        )
    if floats:
        # `not (a and b)` also catches NaN.
        if not (image.min() >= 0 and image.max() <= 1):
            raise InputError(
                "The picture's values must lie in [0, 1]: divide by 255 if they are 0..255, and let none be NaN."
            )
        image = image.astype(np.float32, copy=False)
    image = to_depth(image, depth)
    if image.shape[2] == 3:
        opaque = np.full((*image.shape[:2], 1), LEVELS[depth], image.dtype)
        image = np.concatenate((image, opaque), axis=2)
    return image


def _pillow_pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise InputError(
            "The picture holds floating-point pixels (mode F): give an array of floats in [0, 1], or 8 or 16 bits."
        )
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return np.asarray(image.convert("RGBA"))
    values = np.asarray(image)
    if values.size and not (values.min() >= 0 and values.max() <= 65535):
        raise InputError("The picture holds 32-bit grey values: give it 8 or 16 bits per channel.")
    return values.astype(np.uint16)


def recompose(doc: LayeredImage, image: Image.Image | np.ndarray) -> tuple[LayeredImage, RecomposeReport]:
    """The document with the smallest change after which it flattens to ``image`` within 1/255, and what
    changed.

    ``image``: a Pillow picture or an (h, w, 4) array (uint8, uint16 or floats in [0, 1], straight alpha) of the
    document's size, see :func:`picture_pixels`. Layers are returned at the document's depth; those that did
    not change are the same objects. Raises InputError where the sizes differ, and for what is no picture.
    """
    target = picture_pixels(image, doc.depth)
    if target.shape[:2] != (doc.height, doc.width):
        raise InputError(
            f"The picture has {target.shape[1]}x{target.shape[0]} pixels, the document {doc.width}x{doc.height}; "
            "use upsample_layers first to bring the layers to the picture's size."
        )
    stack = WorkingStack(doc)
    tally = _Tally()
    for part in tiles(doc.box, TILE):
        _recompose_tile(stack, part, target[part[1] : part[3], part[0] : part[2]], tally)
    return stack.finished(), tally.report(doc.width * doc.height, stack.levels)


def tile_error(nodes: Sequence[Node], part: Box, target: np.ndarray, depth: int) -> np.ndarray:
    """|flattened - target| in levels, int32 (4, h, w); colour does not count where the target's alpha is
    0."""
    planes = render(nodes, part)
    error = np.empty((4, *planes.alpha.shape), np.int32)
    straight = quantise(planes.straight(), depth)
    for channel in range(3):
        np.subtract(straight[channel], target[..., channel], out=error[channel], dtype=np.int32)
    np.subtract(quantise(planes.alpha, depth), target[..., 3], out=error[3], dtype=np.int32)
    np.abs(error, out=error)
    error[:3] *= target[..., 3] > 0
    return error


def _recompose_tile(stack: WorkingStack, part: Box, target: np.ndarray, tally: _Tally) -> None:
    error = tile_error(stack.nodes, part, target, stack.depth)
    tally.before(error)
    if not error.any():
        return
    leaves = stack.inside(part)
    before = [leaf.read(part) for leaf in leaves]
    worst = error.max(axis=0)
    simple = stack.is_simple(part)
    # Stopping only when nothing improves any more makes a second run a repetition of the last, failed pass.
    for _ in range(MAX_PASSES):
        if not worst.any():
            break
        saved = [leaf.read(part) for leaf in leaves]
        if simple:
            _solve_simple(leaves, part, target, worst > 0, stack.levels)
        else:
            from .recompose_general import solve_measured

            solve_measured(stack, leaves, part, target, worst > 0)
        fresh = tile_error(stack.nodes, part, target, stack.depth).max(axis=0)
        better = fresh < worst
        if not better.all():
            for leaf, pixels in zip(leaves, saved, strict=True):
                leaf.restore(part, pixels, ~better)
        worst = np.where(better, fresh, worst)
        if not better.any():
            break
    tally.forced += stack.force(part, target, worst > 1)
    tally.after(tile_error(stack.nodes, part, target, stack.depth))
    _count_changes(leaves, before, part, tally)


def _solve_simple(
    leaves: list[WorkingLayer], part: Box, target: np.ndarray, wanted: np.ndarray, levels: int
) -> None:
    """One pass over a tile whose visible layers are all drawn in normal mode with their own opacity and
    mask."""
    height, width = wanted.shape
    count, size = len(leaves), height * width
    if count == 0:
        return
    pixels = np.zeros((count, height, width, 4), np.float32)
    drawn = np.zeros((count, height, width), np.float32)
    for index, leaf in enumerate(leaves):
        inside = leaf.part(part)
        rows, columns = leaf.window(part)
        pixels[index, rows, columns] = leaf.view(inside)
        drawn[index, rows, columns] = drawn_factor(leaf.layer, inside)
    color = np.ascontiguousarray(np.moveaxis(pixels[..., :3], -1, 1)).reshape(count, 3, size)
    alpha = np.ascontiguousarray(pixels[..., 3]).reshape(count, size)
    factor = drawn.reshape(count, size)
    goal = np.moveaxis(target.reshape(size, 4), -1, 0).astype(np.float32)
    mask = wanted.reshape(size)

    total = 1 - np.prod(1 - alpha / levels * factor, axis=0)
    off = np.flatnonzero(mask & (np.floor(total * levels + np.float32(0.5)) != goal[3]))
    if off.size:
        covered = np.zeros((count, height, width), bool)
        for index, leaf in enumerate(leaves):
            covered[(index, *leaf.window(part))] = True
        covered = covered.reshape(count, size)[:, off]
        fresh, possible = solve_alpha(alpha[:, off], factor[:, off], covered, goal[3, off], levels)
        # The colour of an invisible pixel is not to be trusted: where alpha appears it starts as the
        # picture's.
        layer, column = np.nonzero((alpha[:, off] == 0) & (fresh > 0))
        color[layer, :, off[column]] = goal[:3, off[column]].T
        alpha[:, off] = np.where(possible, fresh, alpha[:, off])
    shares, total = contributions(alpha * (factor / np.float32(levels)))
    solve_colour(color, shares[:, None], goal[:3], mask & (total > 0) & (goal[3] > 0), levels)
    pixels[..., :3] = np.moveaxis(color.reshape(count, 3, height, width), 1, -1)
    pixels[..., 3] = alpha.reshape(count, height, width)
    for index, leaf in enumerate(leaves):
        leaf.write(part, pixels[(index, *leaf.window(part))])


def _count_changes(leaves: list[WorkingLayer], before: list[np.ndarray], part: Box, tally: _Tally) -> None:
    height, width = part[3] - part[1], part[2] - part[0]
    color, alpha = np.zeros((height, width), np.int32), np.zeros((height, width), np.int32)
    for leaf, old in zip(leaves, before, strict=True):
        new = leaf.read(part)
        if np.array_equal(old, new):
            continue
        leaf.changed = True
        change = np.abs(np.subtract(new, old, dtype=np.int32))
        seen = (old[..., 3] > 0) & (new[..., 3] > 0)
        window = leaf.window(part)
        color[window] = np.maximum(color[window], change[..., :3].max(axis=2) * seen)
        alpha[window] = np.maximum(alpha[window], change[..., 3])
    tally.changed(color, alpha)
