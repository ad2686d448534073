"""Windows: the part of the canvas that an object and its effects can reach, so that only that part is computed.

Windows of similar size share a batch; their pixels are read from and written to a canvas through one strided view, without
a loop over objects. This module knows boxes and views, not what is drawn in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .effects import CONTACT_SIGMA, DROP_SIGMA, GLOW_SIGMA, blur_radius
from .pack import PackedScenes
from .sprites import CELL

MIP_BELOW = 0.75
"""A sprite drawn at less than this share of its atlas size is taken from the half-size level, against aliasing."""
STEPS = 8
"""Window sides are multiples of this share of the longer side: few batches, little waste."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A batch of n objects in windows of ``height`` x ``width`` pixels. ``objects``: their rows in the packed scenes, by
    rising layer; ``left``, ``top``: corner pixels; all int64 (n,). ``halved``: their sprites are taken at half size."""

    height: int
    width: int
    halved: bool
    objects: np.ndarray
    left: np.ndarray
    top: np.ndarray


def reach(packed: PackedScenes, height: int, width: int) -> np.ndarray:
    """(M, 4) float64: x0, y0, x1, y1 in pixels beyond which an object's layer is empty; may leave the canvas."""
    short = min(height, width)
    cx, cy, size, cos, sin, _ = packed.place.astype(np.float64).T
    x, y = cx * width, cy * height
    # Bilinear sampling reads half a texel beyond a sprite's edge, and a texel of the half-size level is two pixels.
    half = size * short * (0.5 + 2 / CELL) * (np.abs(cos) + np.abs(sin)) + 1
    boxes = np.stack([x - half, y - half, x + half, y + half], 1)
    whole = boxes.copy()

    def include(where: np.ndarray, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> None:
        part = np.stack([x0, y0, x1, y1], 1)[where]
        whole[where] = np.concatenate([np.minimum(whole[where, :2], part[:, :2]), np.maximum(whole[where, 2:], part[:, 2:])], 1)

    dx, dy, _, strength = packed.drop.astype(np.float64).T * short
    soft = blur_radius(DROP_SIGMA, short) + 1
    # The silhouette is blurred where it stands and shifted then: both places belong to the window.
    before, after = np.minimum(0, [dx, dy]) - soft, np.maximum(0, [dx, dy]) + soft
    include(strength > 0, *(boxes.T + np.concatenate([before, after])))
    ground = y + packed.ground.astype(np.float64) * size * short
    soft = blur_radius(CONTACT_SIGMA, short) + 1
    flat = half * packed.contact[:, 1] + soft
    include(packed.contact[:, 0] > 0, boxes[:, 0] - soft, ground - flat, boxes[:, 2] + soft, ground + flat)
    end = ground + (packed.reflection[:, 1] + packed.reflection[:, 2]).astype(np.float64) * short + 1
    include(packed.reflection[:, 0] > 0, boxes[:, 0], ground - 1, boxes[:, 2], end)
    soft = blur_radius(GLOW_SIGMA, short) + 1
    include(packed.glow[:, 4] > 0, *(boxes + np.array([-soft, -soft, soft, soft])).T)
    return whole


def windows(packed: PackedScenes, height: int, width: int) -> list[Window]:
    """Every object in a window of the canvas that holds all it can reach there, in batches of one size."""
    if not len(packed.sprite):
        return []
    sides = np.array([width, height])
    boxes = reach(packed, height, width)
    low = np.clip(np.floor(boxes[:, :2]).astype(np.int64), 0, sides)
    high = np.clip(np.ceil(boxes[:, 2:]).astype(np.int64), 0, sides)
    step = -(-max(height, width) // STEPS)
    wanted = np.maximum(1, -(-(high - low).max(1) // step)) * step
    halved = packed.place[:, 2] * np.float32(min(height, width)) < np.float32(MIP_BELOW * CELL)
    found = []
    for side, half in sorted(set(zip(wanted.tolist(), halved.tolist(), strict=True))):
        members = np.flatnonzero((wanted == side) & (halved == half))
        members = members[np.argsort(packed.owner[members, 1], kind="stable")]
        size = np.minimum(side, sides)
        left, top = np.minimum(low[members], sides - size).T
        found.append(Window(height=int(size[1]), width=int(size[0]), halved=half, objects=members, left=left, top=top))
    return found


def view(canvas: Tensor, height: int, width: int) -> Tensor:
    """Every window of that size of (..., H, W), as a view (..., H - height + 1, W - width + 1, height, width)."""
    return canvas.unfold(-2, height, 1).unfold(-2, width, 1)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
