"""Figures of merit for straight RGBA pictures and stacks of them. Pure functions on arrays; no protocol, no models.

Pictures are H x W x 4, straight, uint8 or float32 in [0, 1]; stacks are sequences of them, bottom to top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..layers.composite import to_float

Layers = Sequence[np.ndarray] | np.ndarray
"""Straight RGBA layers (H, W, 4), bottom to top, as a list or stacked in one array."""

Box = tuple[int, int, int, int]

VISIBLE = 0.1
"""Alpha from which a pixel counts as seen when boxes are drawn and layers are counted."""
MIN_SHARE = 1e-3
"""Share of the canvas that a layer must be seen on to count as one."""
COVERED = 0.5
"""Joint alpha of the objects above which the background counts as occluded."""
GRADIENT_SIGMA = 1.4
EXACT = 60.0
"""dB that a PSNR counts for at most in a mean: rounding to 8 bits alone leaves 59."""


def premultiplied(pixels: np.ndarray) -> np.ndarray:
    """float64 (r a, g a, b a, a) in [0, 1]."""
    values = to_float(pixels).astype(np.float64)
    values[..., :3] *= values[..., 3:]
    return values


def psnr(first: np.ndarray, second: np.ndarray, where: np.ndarray | None = None) -> float:
    """dB for values in [0, 1] (uint8 is scaled), over all channels of the pixels in the mask ``where``; infinite when
    nothing differs. Raises ValueError when ``where`` holds no pixel."""
    error = np.square(_unit(first) - _unit(second))
    if where is not None:
        error = error[where]
    if not error.size:
        raise ValueError("PSNR over no pixels is undefined")
    return decibels(float(error.mean()))


def decibels(mean_square: float) -> float:
    """-10 log10 of a mean squared error of values in [0, 1]; infinite for 0."""
    return math.inf if mean_square == 0 else -10 * math.log10(mean_square)


def mean_psnr(values: Iterable[float | None]) -> float | None:
    """Mean in dB with every value capped at 60, so that exact samples do not drown the others; None for none."""
    known = [min(value, EXACT) for value in values if value is not None]
    return float(np.mean(known)) if known else None


def rgba_psnr(first: np.ndarray, second: np.ndarray) -> float:
    """PSNR in dB of premultiplied RGBA: colour counts as far as it can be seen."""
    return psnr(premultiplied(first), premultiplied(second))


def alpha_mae(first: np.ndarray, second: np.ndarray) -> float:
    """Mean |alpha difference| over the canvas, in [0, 1]."""
    return float(np.abs(_alpha(first) - _alpha(second)).mean())


def gradient_error(first: np.ndarray, second: np.ndarray) -> float:
    """Sum over pixels of (|grad a| - |grad b|)^2 / 1000 with Gaussian derivatives of sigma 1.4 (Rhemann et al., CVPR
    2009, section 4): unlike the mean error it sees blurred and jagged edges."""
    return float(np.square(_gradient(_alpha(first)) - _gradient(_alpha(second))).sum() / 1000)


def soft_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Sum of minima over sum of maxima of the alphas; 1 when both are empty, since they agree."""
    one, other = _alpha(first), _alpha(second)
    union = float(np.maximum(one, other).sum())
    return float(np.minimum(one, other).sum()) / union if union else 1.0


def flattened(layers: Layers) -> np.ndarray:
    """The stack's 'over' composite, float64 premultiplied H x W x 4 in [0, 1]."""
    result = np.zeros((*layers[0].shape[:2], 4))
    for layer in layers:
        above = premultiplied(layer)
        result = above + result * (1 - above[..., 3:])
    return result


def joint_alpha(layers: Layers) -> np.ndarray:
    """Alpha of the stack's composite, float64 H x W; zero for no layers is the caller's business."""
    clear = np.ones(layers[0].shape[:2])
    for layer in layers:
        clear = clear * (1 - _alpha(layer))
    return 1 - clear


def recomposition_psnr(layers: Layers, picture: np.ndarray) -> float:
    """PSNR in dB between what the layers flatten to and the picture they came from (premultiplied RGBA)."""
    return psnr(flattened(layers), premultiplied(picture))


def composite_consistency(layers: Layers, redrawn: np.ndarray) -> float:
    """PSNR in dB between what the layers flatten to and the composite that the model drew beside them."""
    return recomposition_psnr(layers, redrawn)


def occluded(objects: Layers) -> np.ndarray:
    """bool H x W: where the object layers together cover more than half of the background."""
    return joint_alpha(objects) > COVERED


def occluded_psnr(background: np.ndarray, truth: np.ndarray, objects: Layers) -> float | None:
    """PSNR in dB of the background's visible colour where the true ``objects`` hide it; None when they hide nothing."""
    where = occluded(objects) if len(objects) else np.zeros(truth.shape[:2], bool)
    if not where.any():
        return None
    return psnr(premultiplied(background)[..., :3], premultiplied(truth)[..., :3], where)


def visible_box(pixels: np.ndarray) -> Box | None:
    """(x0, y0, x1, y1), half-open, of the pixels with alpha of at least 0.1; None when there are none."""
    shown = _alpha(pixels) >= VISIBLE
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_iou(first: Box | None, second: Box | None) -> float:
    """Intersection over union of two boxes; 0 when only one exists, 1 when neither does."""
    if first is None or second is None:
        return float(first is second)
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    return shared / (_area(first) + _area(second) - shared)


def count_layers(layers: Layers) -> int:
    """How many layers can be seen at all: alpha of 0.1 or more on at least a thousandth of the canvas."""
    return sum(float((_alpha(layer) >= VISIBLE).mean()) >= MIN_SHARE for layer in layers)


def match_layers(predicted: Layers, truth: Layers) -> list[tuple[int, int]]:
    """Pairs (predicted, true) of the one-to-one assignment with the largest sum of soft IoU, sorted by the true index."""
    from scipy.optimize import linear_sum_assignment

    gain = np.array([[soft_iou(one, other) for other in truth] for one in predicted]).reshape(
        len(predicted), len(truth)
    )
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda pair: pair[1])


def _unit(pixels: np.ndarray) -> np.ndarray:
    return to_float(pixels) if pixels.dtype == np.uint8 else pixels.astype(np.float64)


def _alpha(pixels: np.ndarray) -> np.ndarray:
    return to_float(np.ascontiguousarray(pixels[..., 3])).astype(np.float64)


def _gradient(plane: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_gradient_magnitude

    return gaussian_gradient_magnitude(plane, GRADIENT_SIGMA, mode="nearest")


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
