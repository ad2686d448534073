"""Windows: the part of the canvas that an object and its effects can reach, so that only that part is computed.

Windows of similar size share a batch; their pixels are written to a canvas through one strided view, without a loop over
objects. Everything about them is worked out with NumPy and sent to the device in one piece, so that a GPU is never waited
for. This module knows boxes and views, not what is drawn in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .atlas import CELL, Atlas
from .effects import CONTACT_SIGMA, DROP_SIGMA, GLOW_SIGMA, blur_radius
from .pack import PackedScenes

MIP_BELOW = 0.75
"""A sprite is halved, up to LEVELS times, while its side on the canvas is less than this share of what it is drawn from:
against aliasing."""
LEVELS = 3
STEPS = 4
"""Window sides are multiples of this share of the longer side: few batches, little waste."""
PIXELS = 1 << 24
"""The most that one batch of windows computes at once: about 1 GB of intermediate results."""
CASTS = {"rim": 3, "drop": 3, "contact": 0, "reflection": 0, "glow": 4}
"""What can lie around or below an object, and the column of its numbers that is 0 when it does not."""
_NUMBERS = ("place", "paint", "lines", *CASTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A batch of objects in windows of ``height`` x ``width`` pixels: the ``rows`` of the plan's arrays. ``level``: how
    often their sprites are halved. ``casts``: which part of the plan's list of casters is theirs, for each of CASTS."""

    height: int
    width: int
    level: int
    rows: slice
    casts: dict[str, slice]


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowTensors:
    """A window's arrays on the device, for n objects, by rising layer.

    int64 (n,): ``scene``, ``layer``, ``top``, ``left``, ``sprite``. float32 (n, k): ``numbers`` by name, as in
    :class:`~acetate.datasets.pack.PackedScenes`; "lines" are the heights of an object's centre and of its ground, in
    pixels of the window. ``casters``: int64 (m,) positions in 0..n-1 of those that cast each of CASTS, never empty.
    """

    window: Window
    scene: Tensor
    layer: Tensor
    top: Tensor
    left: Tensor
    sprite: Tensor
    numbers: dict[str, Tensor]
    casters: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All windows of a batch of scenes, and the arrays that a device needs to draw them. ``order``: the objects' rows in
    the packed scenes, as windows and arrays have them."""

    windows: list[Window]
    order: np.ndarray
    arrays: dict[str, np.ndarray]

    def tensors(self, sent: dict[str, Tensor]) -> list[WindowTensors]:
        """The windows with their parts of ``arrays`` as ``sent`` to a device."""
        found = []
        for window in self.windows:
            scene, layer, top, left, sprite = sent["places"][:, window.rows].unbind(0)
            casters = {name: sent["casters"][part] for name, part in window.casts.items()}
            numbers = {name: sent[name][window.rows] for name in _NUMBERS}
            found.append(WindowTensors(window=window, scene=scene, layer=layer, top=top, left=left, sprite=sprite,
                                       numbers=numbers, casters=casters))  # fmt: skip
        return found


def content_boxes(atlas: Atlas) -> np.ndarray:
    """(S, 4) float64: x0, y0, x1, y1 of what is drawn in each cell, in its pixels from the middle."""
    sides: list[np.ndarray] = []
    for across in (1, 2):
        seen = atlas.pixels[..., 3].max(axis=across) > 0
        sides += [seen.argmax(1), CELL - seen[:, ::-1].argmax(1)]
    x0, x1, y0, y1 = sides
    return np.stack([x0, y0, x1, y1], 1) - CELL / 2


def levels(size: np.ndarray, short: int) -> np.ndarray:
    """How often (int64) the sprites of objects of that ``size`` are halved on a canvas whose shorter side is ``short``."""
    side = size * np.float32(short)
    return np.sum([side < np.float32(MIP_BELOW * CELL / 2**k) for k in range(LEVELS)], 0)


def reach(packed: PackedScenes, contents: np.ndarray, height: int, width: int) -> np.ndarray:
    """(M, 4) float64: x0, y0, x1, y1 in pixels beyond which an object's layer is empty; may leave the canvas."""
    short = min(height, width)
    cx, cy, size, cos, sin, mirrored = packed.place.astype(np.float64).T
    centre, side = np.stack([cx * width, cy * height]), size * short
    # Sampling reads half a texel too far, and a texel of a halved sprite is several pixels that may straddle an edge.
    texel = 2.0 ** levels(packed.place[:, 2], short)
    room = np.array([-1, -1, 1, 1])[:, None] * 1.5 * texel
    x0, y0, x1, y1 = (contents[packed.sprite].T + room) / CELL
    across, down = np.stack([x0, x1, x0, x1]) * mirrored, np.stack([y0, y0, y1, y1])
    corners = centre + side * np.stack([cos * across - sin * down, sin * across + cos * down], 1)
    boxes = np.concatenate([corners.min(0) - 1, corners.max(0) + 1]).T
    width_of_rim = packed.rim[:, 3].astype(np.float64)[:, None] * short
    boxes += np.array([-1, -1, 1, 1]) * np.where(width_of_rim > 0, width_of_rim + 2, 0)
    whole = boxes.copy()

    def include(where: np.ndarray, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> None:
        for column, (side, grow) in enumerate(
            ((x0, np.minimum), (y0, np.minimum), (x1, np.maximum), (y1, np.maximum))
        ):
            whole[where, column] = grow(whole[where, column], side[where])

    dx, dy, _, strength = packed.drop.astype(np.float64).T * short
    soft = blur_radius(DROP_SIGMA, short) + 1
    # The silhouette is blurred where it stands and shifted then: both places belong to the window.
    before, after = np.minimum(0, [dx, dy]) - soft, np.maximum(0, [dx, dy]) + soft
    include(strength > 0, *(boxes.T + np.concatenate([before, after])))
    ground = centre[1] + packed.ground.astype(np.float64) * side
    soft = blur_radius(CONTACT_SIGMA, short) + 1
    flat = np.abs(boxes[:, 1::2] - centre[1][:, None]).max(1) * packed.contact[:, 1] + soft
    include(packed.contact[:, 0] > 0, boxes[:, 0] - soft, ground - flat, boxes[:, 2] + soft, ground + flat)
    end = ground + (packed.reflection[:, 1] + packed.reflection[:, 2]).astype(np.float64) * short + 1
    include(packed.reflection[:, 0] > 0, boxes[:, 0], ground - 1, boxes[:, 2], end)
    soft = blur_radius(GLOW_SIGMA, short) + 1
    include(packed.glow[:, 4] > 0, *(boxes + np.array([-soft, -soft, soft, soft])).T)
    return whole


def plan_windows(packed: PackedScenes, contents: np.ndarray, height: int, width: int) -> Plan:
    """Every object in a window of the canvas that holds all it can reach there, in batches of one size.

    ``contents``: of :func:`content_boxes`.
    """
    if not len(packed.sprite):
        return Plan(windows=[], order=np.empty(0, np.int64), arrays={})
    sides = np.array([width, height])
    boxes = reach(packed, contents, height, width)
    low = np.clip(np.floor(boxes[:, :2]).astype(np.int64), 0, sides)
    high = np.clip(np.ceil(boxes[:, 2:]).astype(np.int64), 0, sides)
    step = -(-max(height, width) // STEPS)
    wanted = np.minimum(np.maximum(1, -(-(high - low) // step)) * step, sides)
    low = np.minimum(low, sides - wanted)
    kinds = np.column_stack([wanted, levels(packed.place[:, 2], min(height, width))])
    order = np.lexsort((packed.owner[:, 1], *kinds.T))
    kinds, low, numbers = kinds[order], low[order], _numbers(packed, order, low[order], height, width)
    owner = packed.owner[order]
    places = np.stack([owner[:, 0], owner[:, 1], low[:, 1], low[:, 0], packed.sprite[order]])
    casters: list[np.ndarray] = []
    found = []
    for first, last in _runs(kinds):
        across, down, level = kinds[first].tolist()
        casts = {}
        for name, column in CASTS.items():
            members = np.flatnonzero(numbers[name][first:last, column] > 0)
            if members.size:
                start = sum(map(len, casters))
                casts[name] = slice(start, start + len(members))
                casters.append(members)
        found.append(Window(height=down, width=across, level=level, rows=slice(first, last), casts=casts))
    together = np.concatenate([np.empty(0, np.int64), *casters])
    return Plan(windows=found, order=order, arrays={"places": places, "casters": together, **numbers})


def _runs(kinds: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) of runs of equal rows of ``kinds`` (width, height, level), none larger than PIXELS allows."""
    ends = [*(np.flatnonzero((kinds[1:] != kinds[:-1]).any(1)) + 1).tolist(), len(kinds)]
    runs, first = [], 0
    for end in ends:
        most = max(1, PIXELS // max(int(kinds[first, 0] * kinds[first, 1]), CELL * CELL))
        runs += [(start, min(start + most, end)) for start in range(first, end, most)]
        first = end
    return runs


def _numbers(
    packed: PackedScenes, order: np.ndarray, low: np.ndarray, height: int, width: int
) -> dict[str, np.ndarray]:
    """What drawing needs to know of each object, float32 (M, k), in that order; ``low``: corners of their windows."""
    centre = packed.place[order, 1] * height - low[:, 1]
    ground = centre + packed.ground[order] * packed.place[order, 2] * min(height, width)
    numbers = {name: getattr(packed, name)[order] for name in ("place", "paint", *CASTS)}
    return {**numbers, "lines": np.stack([centre, ground], 1).astype(np.float32)}


def view(canvas: Tensor, height: int, width: int) -> Tensor:
    """Every window of that size of (..., H, W), as a view (..., H - height + 1, W - width + 1, height, width)."""
    return canvas.unfold(-2, height, 1).unfold(-2, width, 1)
