"""How well layers survive a codec: colour, alpha, and what shows along edges on black, white and green.

    halo(b) = mean over the band of |over(L, b) - over(L', b)|,   the band: pixels within 2 of where the true alpha is cut

A halo is what an eye sees first: a rim that was hidden on the old background. Pure functions on arrays, straight uint8 RGBA;
no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import alpha_mae, decibels, mean_psnr, premultiplied, rgba_psnr, soft_iou
from .scenes import EvaluationScene

RADIUS = 2
CUT = 0.5
BACKDROPS: dict[str, tuple[float, float, float]] = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "green": (0.0, 0.6, 0.25),
}
CAP = 99.0


@dataclass(frozen=True, kw_only=True)
class CodecFigures:
    """``psnr``: dB of premultiplied RGBA, mean over layers, each capped at 60; ``pooled``: of all pixels together.
    ``alpha_mae`` and ``alpha_iou``: over the objects' layers. ``halo``: mean error along edges by backdrop, in [0, 1]."""

    psnr: float
    pooled: float
    backgrounds: float
    objects: float
    alpha_mae: float
    alpha_iou: float
    halo: dict[str, float]
    layers: int


@dataclass(frozen=True, kw_only=True)
class TiledFigures:
    """Tiles against whole pictures: dB of premultiplied RGBA between the two (99 where equal), the largest difference of a
    value in [0, 1], and the times of encoding and decoding a layer, as medians over the scenes."""

    psnr: float
    largest: float
    seconds: float
    whole_seconds: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.whole_seconds


def edge_band(layer: np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """bool H x W: pixels within ``radius`` of a place where alpha passes one half; none for a layer that has no edge."""
    from scipy.ndimage import binary_dilation, generate_binary_structure

    inside = layer[..., 3] > CUT * 255
    edge = np.zeros_like(inside)
    for axis in (0, 1):
        crossed = np.diff(inside, axis=axis)
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        edge[tuple(first)] |= crossed
        edge[tuple(second)] |= crossed
    if radius < 2 or not edge.any():
        return edge
    return binary_dilation(edge, generate_binary_structure(2, 2), iterations=radius - 1)


def halo_error(made: np.ndarray, truth: np.ndarray, backdrop: Sequence[float]) -> float | None:
    """Mean absolute error of the composites over ``backdrop``, along the true layer's edges; None where it has none."""
    band = edge_band(truth)
    if not band.any():
        return None
    one, other = (_over(pixels, backdrop)[band] for pixels in (made, truth))
    return float(np.abs(one - other).mean())


def score_layers(decoded: Sequence[np.ndarray], scenes: Sequence[EvaluationScene]) -> CodecFigures:
    """``decoded``: uint8 (N, H, W, 4) for each scene, what the codec made of its layers, background first."""
    every = [
        pair
        for made, scene in zip(decoded, scenes, strict=True)
        for pair in zip(made, scene.layers, strict=True)
    ]
    objects = [
        pair
        for made, scene in zip(decoded, scenes, strict=True)
        for pair in zip(made[1:], scene.layers[1:], strict=True)
    ]
    grounds = [(made[0], scene.layers[0]) for made, scene in zip(decoded, scenes, strict=True)]
    squares = [float(np.square(premultiplied(one) - premultiplied(other)).mean()) for one, other in every]
    halos: dict[str, float] = {}
    for name, colour in BACKDROPS.items():
        found = [value for one, other in objects if (value := halo_error(one, other, colour)) is not None]
        halos[name] = float(np.mean(found))
    return CodecFigures(
        psnr=_mean(every),
        pooled=min(decibels(float(np.mean(squares))), CAP),
        backgrounds=_mean(grounds),
        objects=_mean(objects),
        alpha_mae=float(np.mean([alpha_mae(*pair) for pair in objects])),
        alpha_iou=float(np.mean([soft_iou(*pair) for pair in objects])),
        halo=halos,
        layers=len(every),
    )


def compare_tiled(
    tiled: Sequence[np.ndarray],
    whole: Sequence[np.ndarray],
    seconds: Sequence[float],
    whole_seconds: Sequence[float],
) -> TiledFigures:
    """``tiled`` and ``whole``: as above; seconds for each scene, divided here by its layers."""
    pairs = [pair for one, other in zip(tiled, whole, strict=True) for pair in zip(one, other, strict=True)]
    errors = [np.abs(premultiplied(one) - premultiplied(other)) for one, other in pairs]
    mean_square = float(np.mean([np.square(error).mean() for error in errors]))
    layers = [len(one) for one in whole]
    return TiledFigures(
        psnr=min(decibels(mean_square), CAP),
        largest=max(float(error.max()) for error in errors),
        seconds=_median(seconds, layers),
        whole_seconds=_median(whole_seconds, layers),
    )


def _median(seconds: Sequence[float], layers: Sequence[int]) -> float:
    return float(np.median([one / count for one, count in zip(seconds, layers, strict=True)]))


def _mean(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    value = mean_psnr(rgba_psnr(one, other) for one, other in pairs)
    assert value is not None  # every scene has a background and at least one object
    return value


def _over(pixels: np.ndarray, backdrop: Sequence[float]) -> np.ndarray:
    values = premultiplied(pixels)
    return values[..., :3] + (1 - values[..., 3:]) * np.asarray(backdrop)


Roundtrip = Callable[[np.ndarray], np.ndarray]
"""Layers, uint8 (N, H, W, 4), encoded and decoded again."""
