"""Keeps objects whole: what a model spread over several layers is put together on the layer that holds most of it.

A small model finds objects but tears them apart: an ear stays in the background, half a face lies on another layer. Here
the model says *where* something lies and *which layer* it belongs to, and the picture says what belongs together:

1. seeds are where the object layers together cover (alpha over 0.4); near them, a background is filled in from outside;
2. where that background explains its own surroundings it is believed, and each pixel gets the least alpha with which some
   colour over it gives the picture, or the model's coverage where the outline encloses it; elsewhere the model's alpha;
3. touching pixels are one part; parts that lie close and look alike, such as the letters of a word, are one object;
4. objects go to layers, one each while layers last, so that as much of the model's coverage as possible is respected. An
   object that the model itself put on two layers in large shares, one of which no other object needs, stays divided.

Nothing of this is learned, nothing depends on a model. Knows arrays and layers; no files, no networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from .composite import to_float
from .document import Layer, LayeredImage
from .inpaint import fill_smoothly

COVERED, SPECK, TINY = 0.4, 0.0006, 0.004
"""Coverage that counts as an object; shares of the canvas below which a part is dust, or belongs to what is next to it."""
REACH, GAP = 12, 16
"""Parts of the canvas' size: how far an object may go on beyond what the model saw, how far its parts may lie apart."""
BELIEVED = 0.05
"""Error on its surroundings up to which a filled-in background is believed."""
DIVIDED = 0.3
"""Share of an object on a second layer from which on it stays divided."""
_EIGHT = np.ones((3, 3))


def keep_whole(document: LayeredImage, picture: np.ndarray) -> LayeredImage:
    """The document, background first, with every object on one layer; its own size, names and order stay.

    ``picture``: what the layers show, (H, W, 4) uint8, uint16 or float32 of the document's size. Returns the document as it
    is when it has no object layers, when nothing on them covers anything, when the picture is transparent somewhere (then no
    background can be told from the rest), or when a layer is not a plain one of the canvas' size.
    """
    shown, stack = to_float(picture), [layer for layer in document.layers if isinstance(layer, Layer)]
    plain = len(stack) == len(document.layers) and all(_is_plain(layer, document) for layer in stack)
    if len(stack) < 2 or not plain or shown[..., 3].min() < 1:
        return document
    pixels = np.stack([to_float(layer.pixels) for layer in stack])
    found = whole_layers(pixels, shown[..., :3])
    if found is pixels:
        return document
    levels = np.floor(found * 255 + 0.5).astype(np.uint8)
    return document.with_layers(
        tuple(layer.replace(pixels=one) for layer, one in zip(stack, levels, strict=True))
    )


def whole_layers(layers: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The same for arrays: ``layers`` float32 (N, H, W, 4) straight, background first; ``picture`` (H, W, 3). ``layers``
    itself comes back when there is nothing to do."""
    alpha = layers[1:, ..., 3]
    seen, coverage = _seen(alpha)
    size = float(np.sqrt(coverage.size))
    ground = _find_ground(layers[0, ..., :3], picture, coverage, size)
    if ground is None:
        return layers
    region, numbers = _parts(ground, size)
    if not len(numbers):
        return layers
    parts = _measure(region, numbers, ground, seen, picture)
    objects = _grouped(parts, size)
    shares = np.array([parts.mass[members].sum(0) for members in objects])
    owner, second = _assigned(shares / shares.sum(1, keepdims=True))
    colour = _colour_over(picture, ground)
    out = np.zeros_like(layers)
    out[0, ..., :3] = np.where((region > 0)[..., None], ground.colour, picture)
    out[0, ..., 3] = 1
    for members, first, other in zip(objects, owner, second, strict=True):
        inside = np.isin(region, numbers[members])
        if other is None:
            out[1 + first, inside, :3] = colour[inside]
            out[1 + first, inside, 3] = ground.alpha[inside]
        else:
            _divide(out, layers, seen, inside, colour, ground.alpha, sorted((first, other)), size)
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ground:
    """``colour`` (H, W, 3) of the background; ``alpha`` (H, W) of everything over it; ``solid``: where objects are."""

    colour: np.ndarray
    alpha: np.ndarray
    solid: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """``mass`` (K, layers): the model's coverage of each part; ``weight`` (K,); ``colour`` (K, 3); ``gaps`` (K, K)."""

    mass: np.ndarray
    weight: np.ndarray
    colour: np.ndarray
    gaps: np.ndarray
    area: int


def _is_plain(layer: Layer, document: LayeredImage) -> bool:
    return layer.box == (0, 0, document.width, document.height)


def _seen(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of each layer can be seen (n, H, W), and of all of them together (H, W)."""
    through, seen = np.ones_like(alpha[0]), np.zeros_like(alpha)
    for index in range(len(alpha) - 1, -1, -1):
        seen[index] = alpha[index] * through
        through = through * (1 - alpha[index])
    return seen, 1 - through


def _closed(mask: np.ndarray, radius: int) -> np.ndarray:
    """Gaps up to twice the radius closed, also along the canvas' border."""
    wide = np.pad(mask, 2 * radius)
    closed = ndimage.binary_closing(wide, structure=_EIGHT, iterations=radius)
    return closed[2 * radius : -2 * radius, 2 * radius : -2 * radius] | mask


def _least_alpha(picture: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The smallest alpha with which some colour over ``ground`` gives ``picture``."""
    change = picture - ground
    room = np.where(change > 0, 1 - ground, ground)
    return np.clip((np.abs(change) / np.maximum(room, 1e-3)).max(-1), 0, 1)


def _find_ground(own: np.ndarray, picture: np.ndarray, coverage: np.ndarray, size: float) -> _Ground | None:
    """Steps 1 and 2; None when the layers cover nothing."""
    covered = _closed(coverage > COVERED, max(1, round(size / 64)))
    seeds, count = ndimage.label(covered, structure=_EIGHT)
    area = ndimage.sum(coverage, seeds, np.arange(1, count + 1)) if count else np.empty(0)
    seed = np.isin(seeds, 1 + np.flatnonzero(area > 0.001 * coverage.size))
    if not seed.any():
        return None
    distance = ndimage.distance_transform_edt(~seed)
    near = distance <= size / REACH
    colour, alpha, solid = own.copy(), np.where(near, coverage, 0).astype(np.float32), covered & near
    wide = distance <= 1.7 * size / REACH
    if (~near).mean() > 0.08 and (~wide).mean() > 0.04:
        filled, guessed = fill_smoothly(picture, ~near), fill_smoothly(picture, ~wide)
        blobs, count = ndimage.label(near, structure=_EIGHT)
        nearest = ndimage.distance_transform_edt(~near, return_distances=False, return_indices=True)
        ring = np.where(wide & ~near, blobs[tuple(nearest)], 0)
        for blob in range(1, count + 1):
            around, inside = ring == blob, blobs == blob
            error = np.median(np.abs(guessed - picture).max(-1)[around]) if around.sum() > 20 else 1.0
            if error > BELIEVED:
                continue
            noise = max(0.04, 2 * error)
            least = _least_alpha(picture, filled)
            outline = ndimage.binary_fill_holes(_closed((least > noise + 0.06) & inside, 1)) & inside
            believed = np.maximum(np.clip((least - noise) / 0.75, 0, 1), coverage * outline)
            colour[inside], alpha[inside] = filled[inside], believed[inside]
            solid[inside] = _closed((believed > 0.35) & inside, 1)[inside]
    return _Ground(colour=colour, alpha=alpha, solid=solid)


def _parts(ground: _Ground, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Step 3, first half: to which part each pixel belongs (H, W), 0 for none, and the parts' numbers."""
    labels, count = ndimage.label(ground.solid, structure=_EIGHT)
    numbers = np.arange(1, count + 1)
    if count:
        numbers = numbers[ndimage.sum(ground.alpha, labels, numbers) > SPECK * labels.size]
    core = np.where(np.isin(labels, numbers), labels, 0)
    if not len(numbers):
        return core, numbers
    distance, nearest = ndimage.distance_transform_edt(core == 0, return_indices=True)
    return np.where(distance <= size / REACH, core[tuple(nearest)], 0), numbers


def _measure(
    region: np.ndarray, numbers: np.ndarray, ground: _Ground, seen: np.ndarray, picture: np.ndarray
) -> _Parts:
    cores = [(region == number) & ground.solid for number in numbers]
    mass = [(seen * ground.alpha)[:, region == number].sum(1) + 1e-6 for number in numbers]
    distances = [ndimage.distance_transform_edt(~core) for core in cores]
    return _Parts(
        mass=np.array(mass),
        weight=np.array([ground.alpha[region == number].sum() for number in numbers]),
        colour=np.array(
            [np.average(picture[core], axis=0, weights=ground.alpha[core] + 1e-6) for core in cores]
        ),
        gaps=np.array([[far[core].min() for core in cores] for far in distances]),
        area=region.size,
    )


def _grouped(parts: _Parts, size: float) -> list[list[int]]:
    """Step 3, second half: lists of parts that make one object each, the heaviest first."""
    count, gap = len(parts.weight), size / GAP
    main = parts.mass.argmax(1)
    unlike = np.abs(parts.colour[:, None] - parts.colour[None]).max(-1)
    smaller = np.minimum(parts.weight[:, None], parts.weight[None])
    together = (parts.gaps <= gap) & (unlike < 0.2)
    together |= (parts.gaps <= 0.6 * gap) & (smaller < TINY * parts.area)
    together |= (parts.gaps <= 0.4 * gap) & (main[:, None] == main[None])
    group = list(range(count))
    for one, other in np.argwhere(together):
        keep, drop = group[one], group[other]
        group = [keep if number == drop else number for number in group]
    found = [[i for i in range(count) if group[i] == number] for number in set(group)]
    return sorted(found, key=lambda members: (-parts.weight[members].sum(), members))


def _assigned(shares: np.ndarray) -> tuple[list[int], list[int | None]]:
    """Step 4: the layer of every object (rows of ``shares``, which add up to 1), and its second layer or None."""
    count, layers = shares.shape
    owner = shares.argmax(1)
    rows, columns = linear_sum_assignment(-shares[:layers])
    owner[rows] = columns
    free = set(range(layers)) - set(owner.tolist())
    second: list[int | None] = [None] * count
    for row in sorted(range(count), key=lambda row: -max((shares[row, k] for k in free), default=0)):
        best = max(free, key=lambda k: shares[row, k], default=None)
        if best is not None and shares[row, best] >= DIVIDED:
            second[row] = best
            free.remove(best)
    return owner.tolist(), second


def _colour_over(picture: np.ndarray, ground: _Ground) -> np.ndarray:
    """The colour (H, W, 3) which, at the ground's alpha, gives the picture; mid-grey where alpha is 0."""
    alpha = ground.alpha[..., None]
    colour = (picture - (1 - alpha) * ground.colour) / np.maximum(alpha, 1e-3)
    return np.where(alpha > 1e-3, np.clip(colour, 0, 1), 0.5)


def _divide(
    out: np.ndarray,
    layers: np.ndarray,
    seen: np.ndarray,
    inside: np.ndarray,
    colour: np.ndarray,
    alpha: np.ndarray,
    pair: list[int],
    size: float,
) -> None:
    """An object on two layers: each keeps the pixels on which it is seen most, the lower one also what lies hidden."""
    lower, upper = pair
    soft = max(1, round(size / 64))
    on_top = ndimage.gaussian_filter(seen[upper], soft) >= ndimage.gaussian_filter(seen[lower], soft)
    hidden = on_top & (layers[1 + lower, ..., 3] > 0.5)
    out[1 + upper, inside, :3] = colour[inside]
    out[1 + upper, inside, 3] = (alpha * on_top)[inside]
    beneath = np.where(hidden[..., None], layers[1 + lower, ..., :3], colour)
    out[1 + lower, inside, :3] = beneath[inside]
    out[1 + lower, inside, 3] = np.where(on_top, layers[1 + lower, ..., 3] * hidden, alpha)[inside]
