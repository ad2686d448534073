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
from .sprites import CELL, Atlas

MIP_BELOW = 0.75
"""A sprite drawn at less than this share of its atlas size is taken from the half-size level, against aliasing."""
STEPS = 4
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


def content_boxes(atlas: Atlas) -> np.ndarray:
    """(S, 4) float64: x0, y0, x1, y1 of what is drawn in each cell, from -0.5 to 0.5, with room for bilinear sampling."""
    sides: list[np.ndarray] = []
    for across in (1, 2):
        seen = atlas.pixels[..., 3].max(axis=across) > 0
        sides += [seen.argmax(1), CELL - seen[:, ::-1].argmax(1)]
    x0, x1, y0, y1 = sides
    # Sampling reads half a texel too far, and a texel of the half-size level is two pixels that may straddle an edge.
    return np.stack([x0 - 2, y0 - 2, x1 + 2, y1 + 2], 1) / CELL - 0.5


def reach(packed: PackedScenes, contents: np.ndarray, height: int, width: int) -> np.ndarray:
    """(M, 4) float64: x0, y0, x1, y1 in pixels beyond which an object's layer is empty; may leave the canvas."""
    short = min(height, width)
    cx, cy, size, cos, sin, mirrored = packed.place.astype(np.float64).T
    centre, side = np.stack([cx * width, cy * height]), size * short
    x0, y0, x1, y1 = contents[packed.sprite].T
    across, down = np.stack([x0, x1, x0, x1]) * mirrored, np.stack([y0, y0, y1, y1])
    corners = centre + side * np.stack([cos * across - sin * down, sin * across + cos * down], 1)
    boxes = np.concatenate([corners.min(0) - 1, corners.max(0) + 1]).T
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


def windows(packed: PackedScenes, contents: np.ndarray, height: int, width: int) -> list[Window]:
    """Every object in a window of the canvas that holds all it can reach there, in batches of one size."""
    if not len(packed.sprite):
        return []
    sides = np.array([width, height])
    boxes = reach(packed, contents, height, width)
    low = np.clip(np.floor(boxes[:, :2]).astype(np.int64), 0, sides)
    high = np.clip(np.ceil(boxes[:, 2:]).astype(np.int64), 0, sides)
    step = -(-max(height, width) // STEPS)
    wanted = np.minimum(np.maximum(1, -(-(high - low) // step)) * step, sides)
    halved = packed.place[:, 2] * np.float32(min(height, width)) < np.float32(MIP_BELOW * CELL)
    kinds, kind = np.unique(np.column_stack([wanted, halved]), axis=0, return_inverse=True)
    found = []
    for number, (across, down, half) in enumerate(kinds.tolist()):
        members = np.flatnonzero(kind == number)
        members = members[np.argsort(packed.owner[members, 1], kind="stable")]
        left, top = np.minimum(low[members], sides - (across, down)).T
        found.append(
            Window(height=down, width=across, halved=bool(half), objects=members, left=left, top=top)
        )
    return found


def view(canvas: Tensor, height: int, width: int) -> Tensor:
    """Every window of that size of (..., H, W), as a view (..., H - height + 1, W - width + 1, height, width)."""
    return canvas.unfold(-2, height, 1).unfold(-2, width, 1)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
