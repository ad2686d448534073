"""Decomposition by palette: a few colours, one layer each, mixed per pixel. A baseline that needs no learning.

After Tan, Echevarria and Gingold, "Efficient palette-based decomposition and recoloring of images via RGBXY-space
geometry" (SIGGRAPH Asia 2018). Kept: the palette comes from the convex hull of the colours, weights are non-negative and sum
to one, and additive weights w become 'over' alphas a_i = w_i / sum_{j<=i} w_j with a constant colour per layer. Simplified:
hull vertices are removed (least volume first) where the paper collapses edges, and weights are the nearest mixture in RGB
(a least-squares problem on the simplex) where the paper interpolates in a five-dimensional hull; so colours outside the
simplified hull are met only as nearly as the palette allows.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..layers.composite import quantise, to_float

BIN = 16
"""Levels of 0..255 that share a colour while the palette is found."""
STEPS = 100
FULL_BODY = 4
"""Vertices below which a hull has no volume; from there on the least useful colour goes."""


def palette_layers(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """``count`` layers, uint8 (H, W, 4) straight, bottom (the largest) to top, of an opaque picture (H, W, 3 or 4)."""
    pixels = to_float(picture[..., :3]).reshape(-1, 3).astype(np.float64)
    palette = find_palette(pixels, count)
    weights = mix_weights(pixels, palette)
    order = np.argsort(-weights.sum(0), kind="stable")
    stacked = np.cumsum(weights[:, order], axis=1)
    layers = []
    for number, colour in enumerate(order):
        share = weights[:, colour]
        alpha = np.divide(share, stacked[:, number], out=np.zeros_like(share), where=stacked[:, number] > 0)
        if number == 0:
            alpha[:] = 1  # the bottom layer is opaque: what no other colour covers is its own
        layer = np.concatenate([np.broadcast_to(palette[colour], (len(pixels), 3)), alpha[:, None]], 1)
        layers.append(quantise(layer.reshape(*picture.shape[:2], 4), 8))
    empty = np.zeros_like(layers[0])
    return layers + [empty] * (count - len(layers))


def find_palette(pixels: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` colours (k, 3) out of pixels (n, 3) in [0, 1] that mix to the pixels as well as possible."""
    colours, shares = _binned(pixels)
    chosen = _hull(colours)
    while len(chosen) > max(count, FULL_BODY):
        chosen = chosen[_least_volume_lost(chosen)]
    while len(chosen) > count:
        errors = [_error(colours, shares, np.delete(chosen, i, 0)) for i in range(len(chosen))]
        chosen = np.delete(chosen, int(np.argmin(errors)), 0)
    return chosen


def mix_weights(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(n, k) weights, non-negative with sum one, of the mixture of ``palette`` (k, 3) nearest to each pixel (n, 3).

    Accelerated projected gradient; the step is one over the largest eigenvalue of the palette's Gram matrix.
    """
    gram, target = palette @ palette.T, pixels @ palette.T
    step = 1 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-9)
    weights = np.full((len(pixels), len(palette)), 1 / len(palette))
    ahead = weights
    momentum = np.cumsum(np.full(STEPS + 1, 0.5)) + 0.5
    for now, following in pairwise(momentum):
        fresh = _onto_simplex(ahead - step * (ahead @ gram - target))
        ahead = fresh + (now - 1) / following * (fresh - weights)
        weights = fresh
    return weights


def _onto_simplex(points: np.ndarray) -> np.ndarray:
    """The nearest points with non-negative coordinates of sum one (Duchi et al., ICML 2008)."""
    ordered = -np.sort(-points, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1) / np.arange(1, points.shape[1] + 1)
    kept = (ordered > excess).sum(1)
    return np.maximum(points - excess[np.arange(len(points)), kept - 1][:, None], 0)


def _binned(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours (m, 3) of the occupied cells of a colour grid, and the share of the pixels in each."""
    cells = (pixels * 255).astype(np.int64) // BIN
    keys, place = np.unique(cells @ np.array([1, 256, 65536]), return_inverse=True)
    counts = np.bincount(place, minlength=len(keys))
    means = np.stack([np.bincount(place, pixels[:, c]) for c in range(3)], 1) / counts[:, None]
    return means, counts / len(pixels)


def _hull(colours: np.ndarray) -> np.ndarray:
    """The colours on the convex hull, joggled where they lie in a plane; all of them when there are very few."""
    from scipy.spatial import ConvexHull

    if len(colours) <= FULL_BODY + 1:
        return colours
    return colours[ConvexHull(colours, qhull_options="QJ").vertices]


def _least_volume_lost(vertices: np.ndarray) -> np.ndarray:
    """Indices of all vertices but the one whose removal keeps the most volume."""
    from scipy.spatial import ConvexHull

    kept = [np.delete(np.arange(len(vertices)), i) for i in range(len(vertices))]
    volumes = [ConvexHull(vertices[rest], qhull_options="QJ").volume for rest in kept]
    return kept[int(np.argmax(volumes))]


def _error(colours: np.ndarray, shares: np.ndarray, palette: np.ndarray) -> float:
    mixed = mix_weights(colours, palette) @ palette
    return float((np.square(mixed - colours).sum(1) * shares).sum())
