"""Which layers of a plain document are worth learning from: rules for layers, rules for whole files, and merging.

After Qwen-Image-Layered (arXiv 2512.15603, section 3.3): layers that do not change the picture go, anomalous ones go, and
layers that do not overlap are merged. Everything works on leaves (``leaves.py``) and says why it drops what it drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError
from ..layers.blend import BlendMode
from ..layers.composite import intersect
from ..layers.document import Box
from .leaves import Leaf

_CHANGE = 0.5 / 255
_FAINT = 8
"""Level of alpha from which a pixel counts as part of a layer's shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is kept. Layers: ``min_pixels`` and ``min_share`` (of the canvas) that must be seen; ``min_alpha``, the level
    of 255 that the alpha must reach somewhere. ``merge`` layers that do not overlap: "all" that can be (as the paper
    does), only the nearest until ``max_layers`` remain ("needed"), or "none". Files: ``min_layers`` and ``max_layers`` in
    the end; ``min_side`` and ``max_pixels`` of the canvas; ``max_repainted``: share of the canvas that one layer whose
    blend mode was baked may repaint (it then shows its backdrop a second time, which is no layer to learn)."""

    min_pixels: int = 16
    min_share: float = 1e-4
    min_alpha: int = 6
    merge: Literal["all", "needed", "none"] = "all"
    min_layers: int = 2
    max_layers: int = 20
    min_side: int = 64
    max_pixels: int = 2**25
    max_repainted: float = 0.4

    def __post_init__(self) -> None:
        if self.merge not in ("all", "needed", "none"):
            raise InputError(f"merge must be 'all', 'needed' or 'none', not {self.merge!r}")
        if not 1 <= self.min_layers <= self.max_layers:
            raise InputError(f"layers must satisfy 1 <= min <= max, not {self.min_layers}..{self.max_layers}")


def _free_above(leaves: Sequence[Leaf], size: tuple[int, int]) -> list[np.ndarray]:
    """For each leaf the share of each of its pixels that what lies above leaves to be seen: (h, w) float32."""
    free: np.ndarray = np.ones((size[1], size[0]), np.float32)
    found = []
    for leaf in reversed(leaves):
        window = _window(leaf.box)
        found.append(free[window].copy())
        free[window] *= 1 - leaf.alpha.astype(np.float32) / 255
    return found[::-1]


def visible_changes(leaves: Sequence[Leaf], size: tuple[int, int]) -> list[np.ndarray]:
    """For each leaf how much its removal would change the picture at each of its pixels: (h, w) float32, 0..1, the largest
    of the four premultiplied channels. ``size``: (width, height)."""
    picture: np.ndarray = np.zeros((size[1], size[0], 4), np.float32)
    changes = []
    for leaf, free in zip(leaves, _free_above(leaves, size), strict=True):
        under = picture[_window(leaf.box)]
        alpha = leaf.rgba[..., 3:].astype(np.float32) / 255
        added: np.ndarray = np.ones((*leaf.alpha.shape, 4), np.float32)
        added[..., :3] = leaf.rgba[..., :3].astype(np.float32) / 255
        added = (added - under) * alpha
        changes.append(np.abs(added).max(-1) * free)
        under += added
    return changes


def _window(box: Box) -> tuple[slice, slice]:
    return slice(box[1], box[3]), slice(box[0], box[2])


def _within(box: Box, outer: Box) -> Box:
    """``box`` in the coordinates of ``outer``."""
    return box[0] - outer[0], box[1] - outer[1], box[2] - outer[0], box[3] - outer[1]


def drop_unchanging(leaves: Sequence[Leaf], size: tuple[int, int]) -> tuple[list[Leaf], list[str]]:
    """(the leaves whose removal would change the picture by half a level somewhere, why each of the others went)."""
    kept, reasons = [], []
    # What lies under full cover can go at once: whatever covers it and is covered itself lies under the same cover.
    for leaf, free in zip(leaves, _free_above(leaves, size), strict=True):
        if (leaf.alpha * free).max() < 0.5:
            reasons.append(f"{leaf.name!r} is hidden")
        else:
            kept.append(leaf)
    while True:
        # What repeats the colours beneath it can go one at a time where such leaves touch: of two twins one must stay.
        twins: list[Leaf] = []
        for leaf, change in reversed(list(zip(kept, visible_changes(kept, size), strict=True))):
            if change.max() < _CHANGE and not any(intersect(leaf.box, other.box) for other in twins):
                twins.append(leaf)
                reasons.append(f"{leaf.name!r} repeats what lies beneath")
        if not twins:
            return kept, reasons
        kept = [leaf for leaf in kept if all(leaf is not twin for twin in twins)]


def drop_anomalous(
    leaves: Sequence[Leaf], size: tuple[int, int], rules: Rules
) -> tuple[list[Leaf], list[str]]:
    """(the leaves that are large and dense enough to be learned, why each of the others went)."""
    kept, reasons = [], []
    least = max(rules.min_pixels, rules.min_share * size[0] * size[1])
    for leaf, change in zip(leaves, visible_changes(leaves, size), strict=True):
        if leaf.alpha.max() < rules.min_alpha:
            reasons.append(f"{leaf.name!r} is almost transparent")
        elif np.count_nonzero(change >= _CHANGE) < least:
            reasons.append(f"{leaf.name!r} is too small")
        else:
            kept.append(leaf)
    return kept, reasons


def overlap(a: Leaf, b: Leaf) -> bool:
    """Whether a pixel has something of both."""
    box = intersect(a.box, b.box)
    if box is None:
        return False
    first, second = (leaf.alpha[_window(_within(box, leaf.box))] > 0 for leaf in (a, b))
    return bool((first & second).any())


def merge_apart(leaves: Sequence[Leaf], how: Literal["all", "needed", "none"], most: int) -> list[Leaf]:
    """The leaves with such as overlap nowhere put on one layer; the picture stays exactly the same.

    A leaf may sink to a layer beneath if it overlaps neither that one nor any between. "all": each sinks as deep as it
    can. "needed": the pair whose common box wastes the least area is merged while there are more than ``most``.
    """
    if how == "none":
        return list(leaves)
    touch = np.array(
        [[overlap(a, b) for b in leaves[:i]] + [False] * (len(leaves) - i) for i, a in enumerate(leaves)]
    )
    touch = touch | touch.T
    groups: list[list[int]] = []
    for index in range(len(leaves)):
        touching = [place for place, group in enumerate(groups) if touch[index, group].any()]
        place = touching[-1] + 1 if touching else 0
        if how == "needed" or place == len(groups):
            groups.append([index])
        else:
            groups[place].append(index)
    while how == "needed" and len(groups) > most and (pair := _nearest(groups, leaves, touch)) is not None:
        low, high = pair
        groups[low] += groups.pop(high)
    return [_united([leaves[index] for index in group]) for group in groups]


def _nearest(groups: list[list[int]], leaves: Sequence[Leaf], touch: np.ndarray) -> tuple[int, int] | None:
    """The two groups (lower, higher) that can be merged with the least waste of area."""
    areas = [_area([leaves[i] for i in group]) for group in groups]
    best, pair = float("inf"), None
    for high in range(1, len(groups)):
        for low in range(high - 1, -1, -1):
            if touch[np.ix_(groups[high], groups[low])].any():
                break
            waste = _area([leaves[i] for i in groups[low] + groups[high]]) - areas[low] - areas[high]
            if waste < best:
                best, pair = waste, (low, high)
    return pair


def _hull(group: Sequence[Leaf]) -> Box:
    x0, y0, x1, y1 = zip(*(leaf.box for leaf in group), strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _area(group: Sequence[Leaf]) -> int:
    x0, y0, x1, y1 = _hull(group)
    return (x1 - x0) * (y1 - y0)


def _united(group: list[Leaf]) -> Leaf:
    if len(group) == 1:
        return group[0]
    box = _hull(group)
    pixels: np.ndarray = np.zeros((box[3] - box[1], box[2] - box[0], 4), np.uint8)
    for leaf in group:
        np.copyto(pixels[_window(_within(leaf.box, box))], leaf.rgba, where=leaf.rgba[..., 3:] > 0)
    names = tuple(dict.fromkeys(name for leaf in group for name in leaf.names))
    return Leaf(names=names, box=box, rgba=pixels)


def refuse_file(leaves: Sequence[Leaf], size: tuple[int, int], rules: Rules) -> str | None:
    """Why a file's layers are not worth a record; None when they are. Called before merging but for the counts."""
    for leaf in leaves:
        share = np.count_nonzero(leaf.alpha > 127) / (size[0] * size[1])
        if leaf.blend is not BlendMode.NORMAL and share > rules.max_repainted:
            return f"the {leaf.blend.value} layer {leaf.name!r} repaints {share:.0%} of the canvas"
    return None


def refuse_count(count: int, rules: Rules) -> str | None:
    """Why a record of so many layers is not wanted; None when it is."""
    if count < rules.min_layers:
        return f"{count} of its layers can be used, fewer than {rules.min_layers}"
    if count > rules.max_layers:
        return f"{count} layers remain, more than {rules.max_layers}"
    return None


def refuse_size(size: tuple[int, int], rules: Rules) -> str | None:
    """Why a canvas is not wanted; None when it is."""
    width, height = size
    if min(size) < rules.min_side:
        return f"its canvas of {width} x {height} pixels is smaller than {rules.min_side}"
    if width * height > rules.max_pixels:
        return (
            f"its canvas of {width} x {height} pixels is larger than {rules.max_pixels / 1e6:.0f} megapixels"
        )
    return None
