"""The arithmetic of exact recomposition: vectors of pixels in, whole levels out.

Everything is in levels (0..L, L = 255 or 65535) on arrays whose last axis is pixels and whose first is
layers, bottom to top. This module knows nothing of documents, tiles or compositing modes; ``recompose.py``
feeds it.
"""

from __future__ import annotations

import numpy as np

NEARLY_OPAQUE = 15 / 16
"""From this alpha on a layer is itself made opaque where the picture is; below, the lowest layer is."""

NEARLY_ABSENT = 1 / 16
"""Up to this alpha a layer is not the one whose alpha is raised; the lowest layer is."""

SAFE_RESIDUAL = 0.45
"""Residuals up to here (in levels) round to the wanted level in any renderer; larger ones are worked down."""


def contributions(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What share of the stack's result each layer makes up, and the alpha of the result.

    ``alpha``: (n, M) effective alphas in [0, 1] (opacity and mask included) of layers drawn in normal mode.
    Returns (n, M) shares that sum to 1 where anything shows (the straight result is their weighted mean),
    and (M,) alpha.
    """
    shares = np.empty_like(alpha)
    through = np.ones(alpha.shape[1:], np.float32)
    for index in range(len(alpha) - 1, -1, -1):
        np.multiply(alpha[index], through, out=shares[index])
        through = through * (1 - alpha[index])
    total = shares.sum(axis=0)
    shares /= np.where(total > 0, total, np.float32(1))
    return shares, total


def solve_colour(
    color: np.ndarray, shares: np.ndarray, target: np.ndarray, wanted: np.ndarray, levels: int
) -> None:
    """Change colours, in place, as little as possible so that their weighted mean rounds to the target.

    Minimises the sum of squared changes d_i under sum_i p_i d_i = target - sum_i p_i c_i and 0 <= c_i + d_i
    <= L, so a layer changes in proportion to its share p_i and hidden parts stay; then rounds and works the
    residual down by whole levels of the largest shares. With shares that sum to 1 the residual always ends
    at or below half a level.

    ``color``: (n, 3, M) float32 whole levels; ``shares``: (n, 1, M) or (n, 3, M), of any sign; ``target``:
    (3, M) whole levels; ``wanted``: (M,) or (3, M) bool, other pixels stay as they are.
    """
    residual = target - (shares * color).sum(axis=0)
    residual *= wanted
    power = (shares * shares).sum(axis=0)
    step = residual / np.where(power > 0, power, np.float32(1))
    moved = color + shares * step
    outside = ((moved < 0) | (moved > levels)).any(axis=0)
    if outside.any():
        channel, pixel = np.nonzero(outside)
        p = shares[:, 0 if shares.shape[1] == 1 else channel, pixel]
        moved[:, channel, pixel] = _bounded(color[:, channel, pixel], p, residual[channel, pixel], levels)
    np.rint(moved, out=moved)
    residual = target - (shares * moved).sum(axis=0)
    residual *= wanted
    left = np.abs(residual) > SAFE_RESIDUAL
    if left.any():
        channel, pixel = np.nonzero(left)
        p = shares[:, 0 if shares.shape[1] == 1 else channel, pixel]
        moved[:, channel, pixel] = _whole_steps(moved[:, channel, pixel], p, residual[channel, pixel], levels)
    color[...] = moved


def _bounded(color: np.ndarray, p: np.ndarray, residual: np.ndarray, levels: int) -> np.ndarray:
    """Water filling: the minimum-norm change within [0, L]; all arrays (n, K) but ``residual`` (K,)."""
    # Where bounds are met, the tolerance of rounding spares the small shares a long way.
    aim = np.sign(residual) * np.maximum(np.abs(residual) - SAFE_RESIDUAL, 0)
    moved, free, left = color.copy(), p != 0, aim
    # A value that leaves its bounds while the multiplier grows never returns, so fixing it is final: n
    # rounds do.
    for _ in range(len(color)):
        power = np.where(free, p * p, 0).sum(axis=0)
        step = left / np.where(power > 0, power, np.float32(1))
        proposal = color + np.where(free, p * step, 0)
        over = free & ((proposal < 0) | (proposal > levels))
        moved = np.where(free, np.clip(proposal, 0, levels), moved)
        if not over.any():
            break
        left = left - np.where(over, p * (moved - color), 0).sum(axis=0)
        free &= ~over
    return moved


def _whole_steps(color: np.ndarray, p: np.ndarray, residual: np.ndarray, levels: int) -> np.ndarray:
    """Work residuals down by whole levels, largest share first; a second round serves values that met a
    bound."""
    order = np.argsort(-np.abs(p), axis=0, kind="stable")
    moved, left = color.copy(), residual.copy()
    columns = np.arange(color.shape[1])
    for rank in [*range(len(color))] * 2:
        layer = order[rank]
        share, value = p[layer, columns], moved[layer, columns]
        usable = (np.abs(share) > 1e-6) & (np.abs(left) > SAFE_RESIDUAL)
        size = np.where(usable, np.abs(share), np.float32(1))
        nearest = np.rint(np.abs(left) / size)
        # A small share takes only the steps that bring the residual to the safe side, not to nothing.
        fewest = np.ceil((np.abs(left) - SAFE_RESIDUAL) / size)
        step = np.where(size > 2 * SAFE_RESIDUAL, nearest, fewest) * np.sign(left) * np.sign(share)
        fresh = np.where(usable, np.clip(value + step, 0, levels), value)
        moved[layer, columns] = fresh
        left = left - share * (fresh - value)
    return moved


def solve_alpha(
    alpha: np.ndarray, factor: np.ndarray, covered: np.ndarray, target: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """New alphas whose stack has the target's alpha, and where that was possible.

    Too much alpha: every layer's contribution shrinks by one factor (colours keep their shares). Too
    little: one layer is raised: where the picture is opaque the lowest one, unless another is nearly opaque
    already; elsewhere the most opaque one, as that is the smallest change. ``alpha``: (n, K) whole levels;
    ``factor``: (n, K) opacity times mask; ``covered``: (n, K) bool, where the layer has a pixel;
    ``target``: (K,) whole levels. Returns (n, K) whole levels and (K,) bool.
    """
    effective = alpha / levels * factor
    total = 1 - np.prod(1 - effective, axis=0)
    goal = target / np.float32(levels)
    result, possible = _raised(alpha, effective, factor, covered, goal, total, levels)
    lower = goal < total
    result[:, lower] = _lowered(
        alpha[:, lower], effective[:, lower], factor[:, lower], goal[lower], total[lower], levels
    )
    return result, possible | lower


def _lowered(
    alpha: np.ndarray,
    effective: np.ndarray,
    factor: np.ndarray,
    goal: np.ndarray,
    total: np.ndarray,
    levels: int,
) -> np.ndarray:
    scale = goal / np.where(total > 0, total, 1)
    result = np.zeros_like(alpha)
    before, after = np.zeros_like(total), np.zeros_like(total)
    # Top to bottom with the rounding error fed forward, so the total never strays by more than half a level.
    for index in range(len(alpha) - 1, -1, -1):
        before = before + (1 - before) * effective[index]
        want = (scale * before - after) / np.where(after < 1, 1 - after, 1)
        value = np.rint(want / np.where(factor[index] > 0, factor[index], 1) * levels)
        result[index] = np.clip(value, 0, alpha[index])
        after = after + (1 - after) * (result[index] / levels * factor[index])
    return result


def _raised(
    alpha: np.ndarray,
    effective: np.ndarray,
    factor: np.ndarray,
    covered: np.ndarray,
    goal: np.ndarray,
    total: np.ndarray,
    levels: int,
) -> tuple[np.ndarray, np.ndarray]:
    columns = np.arange(alpha.shape[1])
    room = np.where(total < 1, 1 - total, 1)
    wanted = 1 - (1 - goal) * (1 - effective) / room
    # A layer of half opacity cannot be made opaque; a tolerance of a tenth of a level absorbs float noise.
    feasible = covered & (wanted <= factor + 0.1 / levels) & (factor > 0)
    opaque = goal >= 1
    best = np.where(feasible, effective, -1).argmax(axis=0)
    lowest = feasible.argmax(axis=0)
    chosen = np.where(
        effective[best, columns] >= np.where(opaque, NEARLY_OPAQUE, NEARLY_ABSENT), best, lowest
    )
    possible = feasible[chosen, columns]
    value = np.rint(wanted[chosen, columns] / np.where(possible, factor[chosen, columns], 1) * levels)
    result = alpha.copy()
    result[chosen, columns] = np.where(possible, np.clip(value, 0, levels), alpha[chosen, columns])
    return result, possible
