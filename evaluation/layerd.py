"""The LayerD protocol: how far a predicted stack of layers is from the true one, at 0 to 5 allowed merges.

LayerD (Suzuki et al., ICCV 2025, arXiv 2509.25134, section 4.1; code CyberAgentAILab/LayerD at 6b95bc5), rule by rule:

1. layers that overlap nothing above them form a group, are merged into one layer, and the rest is grouped again;
2. cost of a pair = (L1 + 1 - IoU) / 2. L1: mean |RGB difference| where the *second* layer has any alpha at all (a binary
   weight). IoU: sum of minima over sum of maxima of the alphas, 0 when both are empty;
3. the two lists are aligned by dynamic time warping; scores are means over the pairs on the path;
4. an edit merges two neighbours of either list while that list is longer than two and the merge gains similarity; the best
   one is taken and the lists are aligned anew, up to five times;
5. over samples, those that stopped early keep their last score.

``variant`` names what L1 compares. "raw": stored straight RGB, so colour kept under alpha 0 counts where the truth has
alpha (LayerD, Qwen-Image-Layered). "grey": both layers over 50 % grey (CLD, arXiv 2511.16249). Differs from the code: a
cost with an empty weight mask is exactly 0 instead of 0 / 1e-8. Knows nothing of models and scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
from PIL import Image

from .warping import Path, align

Variant = Literal["raw", "grey"]
VARIANTS: tuple[Variant, ...] = ("raw", "grey")
MAX_EDITS = 5
MIN_LAYERS = 2
GREY = 127.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Means over the aligned pairs after ``edits`` merges; all in [0, 1]. ``cost``: (l1 + 1 - iou) / 2."""

    edits: int
    l1: float
    iou: float
    cost: float


def over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """``above`` over ``below``, uint8 H x W x 4 straight, with Pillow's rounding as in the published code."""
    return np.asarray(Image.alpha_composite(Image.fromarray(below), Image.fromarray(above)))


def groups(layers: Sequence[np.ndarray] | np.ndarray) -> list[list[int]]:
    """Indices of layers, bottom to top, in groups bottom to top: no two layers of a group overlap (rule 1)."""
    shown = [layer[..., 3] > 0 for layer in layers]
    clash = [[bool((one & other).any()) for other in shown] for one in shown]
    remaining, found = list(range(len(layers))), []
    while remaining:
        top = [i for n, i in enumerate(remaining) if not any(clash[i][j] for j in remaining[n + 1 :])]
        found.append(top)
        remaining = [i for i in remaining if i not in top]
    return found[::-1]


def grouped(layers: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """The layers with every group merged into one, bottom to top."""
    return [reduce(over, [layers[i] for i in group]) for group in groups(layers)]


class _Pairs:
    """L1 and IoU of two layers, each computed once; layers are known by identity, so they are kept alive here."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._known: dict[tuple[int, int], tuple[float, float]] = {}
        self._colours: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _colour(self, layer: np.ndarray) -> np.ndarray:
        """RGB that L1 compares, int16 (raw) or float32 (grey), in 0..255."""
        if id(layer) not in self._colours:
            rgb: np.ndarray = layer[..., :3].astype(np.int16)
            if self._variant == "grey":
                alpha = layer[..., 3:].astype(np.float32) / 255
                rgb = GREY + (rgb - GREY) * alpha
            self._colours[id(layer)] = (layer, rgb)
        return self._colours[id(layer)][1]

    def scores(self, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
        """(L1, IoU); L1 weighs by the alpha of ``second``, so the order matters."""
        key = (id(first), id(second))
        if key not in self._known:
            weight = second[..., 3] > 0
            count = int(np.count_nonzero(weight))
            difference = np.abs(self._colour(first)[weight] - self._colour(second)[weight])
            l1 = float(difference.sum(dtype=np.float64)) / (255 * 3 * count) if count else 0.0
            union = int(np.maximum(first[..., 3], second[..., 3]).sum(dtype=np.int64))
            shared = int(np.minimum(first[..., 3], second[..., 3]).sum(dtype=np.int64))
            self._known[key] = (l1, shared / union if union else 0.0)
        return self._known[key]

    def cost(self, first: np.ndarray, second: np.ndarray) -> float:
        l1, iou = self.scores(first, second)
        return (l1 + 1 - iou) / 2


def layerd_scores(
    predicted: Sequence[np.ndarray] | np.ndarray,
    truth: Sequence[np.ndarray] | np.ndarray,
    *,
    variant: Variant = "raw",
    max_edits: int = MAX_EDITS,
) -> list[Score]:
    """Scores after 0, 1, ... merges, for one sample; stops early when no merge gains anything.

    ``predicted``, ``truth``: uint8 H x W x 4, straight, bottom to top, of one size, at least one each. Raises ValueError
    for an empty list or another variant.
    """
    if not predicted or not truth:
        raise ValueError("the LayerD protocol needs at least one layer on either side")
    if variant not in VARIANTS:
        raise ValueError(f"the variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    pairs = _Pairs(variant)
    ours, theirs = grouped(predicted), grouped(truth)
    results: list[Score] = []
    for edits in range(max_edits + 1):
        cost = np.array([[pairs.cost(one, other) for other in theirs] for one in ours])
        path = align(cost)
        scores = [pairs.scores(ours[i], theirs[j]) for i, j in path]
        l1, iou = (float(np.mean(values)) for values in zip(*scores, strict=True))
        results.append(Score(edits=edits, l1=l1, iou=iou, cost=float(np.mean([cost[i, j] for i, j in path]))))
        if edits == max_edits or not _merge_best(ours, theirs, path, pairs):
            break
    return results


def _merge_best(ours: list[np.ndarray], theirs: list[np.ndarray], path: Path, pairs: _Pairs) -> bool:
    """Carries out the merge that gains most, in place (rule 4). False when none gains anything."""
    first = _best_merge(ours, theirs, path, pairs)
    second = _best_merge(theirs, ours, [(j, i) for i, j in path], pairs)
    if first is None and second is None:
        return False
    gain, other_gain = (found[0] if found else -np.inf for found in (first, second))
    layers, found = (ours, first) if gain > other_gain else (theirs, second)
    assert found is not None
    _, index, merged = found
    layers[index : index + 2] = [merged]
    return True


def _best_merge(
    layers: list[np.ndarray], others: list[np.ndarray], path: Path, pairs: _Pairs
) -> tuple[float, int, np.ndarray] | None:
    """(gain, lower index, merged layer) of the best merge of two neighbours; the first of equal ones; None: no gain."""
    if len(layers) <= MIN_LAYERS:
        return None
    best: tuple[float, int, np.ndarray] | None = None
    for i in range(len(layers) - 1):
        matched = [[others[j] for k, j in path if k == n] for n in (i, i + 1)]

        def similarity(layer: np.ndarray, partners: list[np.ndarray]) -> float:
            return sum(1 - pairs.cost(layer, partner) for partner in partners)

        merged = over(layers[i], layers[i + 1])
        candidates = [similarity(one, group) for one in (merged, *layers[i + 2 : i + 3]) for group in matched]
        now = similarity(layers[i], matched[0]) + similarity(layers[i + 1], matched[1])
        gain = max(candidates[0] + other for other in candidates[1:]) - now
        if gain > 0 and (best is None or gain > best[0]):
            best = (gain, i, merged)
    return best


def aggregate(samples: Sequence[Sequence[Score]], *, max_edits: int = MAX_EDITS) -> list[Score]:
    """Mean scores over samples at each edit level 0..``max_edits``; a sample that stopped keeps its last one (rule 5)."""
    if not samples:
        raise ValueError("there is nothing to aggregate: no sample was scored")
    levels = []
    for edits in range(max_edits + 1):
        chosen = [sample[min(edits, len(sample) - 1)] for sample in samples]
        l1, iou, cost = (float(np.mean([getattr(s, name) for s in chosen])) for name in ("l1", "iou", "cost"))
        levels.append(Score(edits=edits, l1=l1, iou=iou, cost=cost))
    return levels
