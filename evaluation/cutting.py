"""Decomposition by hand tools: GrabCut in given boxes, matting of the rim, Telea inpainting of what is left. A baseline.

Works from the top object down: cut it out of its box, soften its edge, paint over where it was, go on with the result. It is
told the true boxes and the true order, which no model is. Needs opencv (`pip install 'acetate[cv]'`); closed-form matting
when pymatting is installed (`acetate[matting]`), otherwise a guided filter. Knows nothing of models and scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import InputError
from ..layers.composite import quantise
from .metrics import Box

RIM = 0.04
"""Half-width of the uncertain rim around an object, as a share of its box's shorter side."""
GUIDED_RADIUS = 3
GUIDED_EPSILON = 1e-4
INPAINT_RADIUS = 3
TOUCHED = 0.02
"""Alpha from which a pixel counts as changed by an object and is painted over."""


def available() -> bool:
    """Whether opencv is installed."""
    return find_spec("cv2") is not None


def matting_name() -> str:
    """Which matting runs here: "closed-form matting (pymatting)" or "guided filter"."""
    return "closed-form matting (pymatting)" if find_spec("pymatting") is not None else "guided filter"


def cut_layers(picture: np.ndarray, boxes: Sequence[Box]) -> list[np.ndarray]:
    """Background and one layer per box, uint8 (H, W, 4) straight, bottom to top.

    ``picture``: uint8, opaque. ``boxes``: of the objects, bottom to top. Raises InputError without opencv.
    """
    cv2 = _cv2()
    rest = np.ascontiguousarray(picture[..., :3])
    objects = []
    for box in reversed(list(boxes)):
        inside = _grabcut(cv2, rest, box)
        alpha = _matted(cv2, rest, inside, box)
        behind = inpaint(rest, alpha > TOUCHED)
        objects.append(_unblended(rest, behind, alpha))
        rest = behind
    opaque = np.full((*rest.shape[:2], 1), 255, np.uint8)
    return [np.concatenate([rest, opaque], 2), *reversed(objects)]


def inpaint(picture: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """``picture`` uint8 (H, W, 3) with the pixels of ``hidden`` and their neighbours painted over (Telea 2004)."""
    cv2 = _cv2()
    if not hidden.any():
        return picture
    mask = cv2.dilate(hidden.astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.inpaint(np.ascontiguousarray(picture), mask, INPAINT_RADIUS, cv2.INPAINT_TELEA)


def _cv2() -> Any:
    if not available():
        raise InputError("this baseline needs opencv: `pip install 'acetate[cv]'` brings it")
    import cv2

    return cv2


def _grabcut(cv2: Any, picture: np.ndarray, box: Box) -> np.ndarray:
    """bool (H, W): the object in the box. The box's own inside when GrabCut finds nothing or has no background to learn."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = box
    whole = np.zeros((height, width), bool)
    whole[y0:y1, x0:x1] = True
    labels = np.where(whole, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if whole.all() or np.count_nonzero(whole) < 16:
        return whole
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(picture[..., ::-1]), labels, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return found if found.any() else whole


def _matted(cv2: Any, picture: np.ndarray, inside: np.ndarray, box: Box) -> np.ndarray:
    """float64 (H, W) alpha: 1 well inside, 0 well outside, matted in the rim between."""
    radius = max(1, round(RIM * min(box[2] - box[0], box[3] - box[1])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    mask = inside.astype(np.uint8)
    sure, possible = cv2.erode(mask, kernel) > 0, cv2.dilate(mask, kernel) > 0
    if not sure.any() or possible.all():
        return inside.astype(np.float64)
    unit = picture.astype(np.float64) / 255
    if find_spec("pymatting") is not None:
        from pymatting import estimate_alpha_cf  # the extra [matting]

        alpha = estimate_alpha_cf(unit, np.where(sure, 1.0, np.where(possible, 0.5, 0.0)))
    else:
        alpha = guided_filter(unit @ np.array([0.299, 0.587, 0.114]), inside.astype(np.float64))
    return np.where(sure, 1.0, np.where(possible, np.clip(alpha, 0, 1), 0.0))


def guided_filter(guide: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """``plane`` smoothed along the edges of ``guide``, both float (H, W) (He, Sun and Tang, ECCV 2010, equation 5 to 8)."""
    from scipy.ndimage import uniform_filter

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, 2 * GUIDED_RADIUS + 1, mode="nearest")

    centre, level = mean(guide), mean(plane)
    slope = (mean(guide * plane) - centre * level) / (mean(guide * guide) - centre * centre + GUIDED_EPSILON)
    return mean(slope) * guide + mean(level - slope * centre)


def _unblended(picture: np.ndarray, behind: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The layer that gives ``picture`` over ``behind``: F = (I - (1 - a) B) / a, clipped; uint8 (H, W, 4)."""
    share = alpha[..., None]
    colour = (picture / 255 - (1 - share) * (behind / 255)) / np.maximum(share, 1e-3)
    return quantise(np.concatenate([np.clip(colour, 0, 1) * (share > 0), share], 2), 8)
