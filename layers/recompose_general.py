"""Recomposition where blend modes, clipping, group masks or group opacities are involved.

No formula is inverted: how much each layer's colour moves the result is measured with the compositor (one
rendering per layer), the minimum-norm change for these slopes is made, and the caller keeps it only where
the picture came nearer. Slopes of the non-separable modes are taken channel by channel. This module never
decides what is good enough.
"""

from __future__ import annotations

import numpy as np

from .composite import drawn_factor, render
from .document import Box
from .solve import solve_colour
from .working import WorkingLayer, WorkingStack

PROBE = 1 / 8
"""How far colours are moved to measure a slope, as a part of the full range."""

FLAT = 1e-3
"""Slopes smaller than this move nothing worth changing."""


def solve_measured(
    stack: WorkingStack, leaves: list[WorkingLayer], part: Box, target: np.ndarray, wanted: np.ndarray
) -> None:
    """Change the layers of one tile in place, once, towards the target.

    ``target``: (h, w, 4) whole levels; ``wanted``: (h, w) bool. Where the picture is opaque and the stack
    is not, the lowest layer is made opaque if it is an ordinary one; other wrong alphas are left to the
    caller.
    """
    if not leaves:
        return
    levels, (height, width) = stack.levels, wanted.shape
    base = render(stack.nodes, part)
    thin = wanted & (target[..., 3] == levels) & (base.alpha < (levels - 0.5) / levels)
    if thin.any() and _make_opaque(leaves[0], part, target, thin):
        base = render(stack.nodes, part)
    result = base.straight()
    color = np.zeros((len(leaves), 3, height, width), np.float32)
    slopes = np.zeros_like(color)
    for index, leaf in enumerate(leaves):
        rows, columns = leaf.window(part)
        saved = leaf.read(part)
        planes = np.moveaxis(saved[..., :3], -1, 0).astype(np.float32)
        color[index, :, rows, columns] = planes
        if not saved[..., 3].any():
            continue
        probe = np.where(planes <= levels / 2, 1, -1) * np.float32(np.ceil(levels * PROBE))
        leaf.view(part)[..., :3] = np.moveaxis(planes + probe, 0, -1)
        moved = render(stack.nodes, part).straight()
        leaf.write(part, saved)
        slope = (moved - result)[:, rows, columns] / (probe / levels)
        slopes[index, :, rows, columns] = np.where(np.abs(slope) > FLAT, slope, 0)
    size = height * width
    goal = np.moveaxis(target[..., :3], -1, 0).astype(np.float32).reshape(3, size)
    flat_color, flat_slopes = color.reshape(-1, 3, size), slopes.reshape(-1, 3, size)
    # solve_colour wants sum(slopes * color) to be the present result, so the rest moves to the target's side.
    rest = result.reshape(3, size) * levels - (flat_slopes * flat_color).sum(axis=0)
    solve_colour(flat_color, flat_slopes, goal - rest, (wanted & (target[..., 3] > 0)).reshape(size), levels)
    for index, leaf in enumerate(leaves):
        rows, columns = leaf.window(part)
        leaf.view(part)[..., :3] = np.moveaxis(np.clip(color[index, :, rows, columns], 0, levels), 0, -1)


def _make_opaque(leaf: WorkingLayer, part: Box, target: np.ndarray, where: np.ndarray) -> bool:
    if not leaf.simple:
        return False
    inside = leaf.part(part)
    window = leaf.window(part)
    chosen = where[window] & np.broadcast_to(drawn_factor(leaf.layer, inside) == 1, where[window].shape)
    pixels = leaf.view(part)
    fresh = chosen & (pixels[..., 3] == 0)
    pixels[fresh] = target[window][fresh]
    pixels[chosen, 3] = target[window][chosen, 3]
    return bool(chosen.any())
