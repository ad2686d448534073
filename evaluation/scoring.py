"""All figures of one decomposition against its scene, and their means over scenes. Knows no models and prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .layerd import Score, aggregate, layerd_scores
from .metrics import (
    Layers,
    alpha_mae,
    count_layers,
    gradient_error,
    match_layers,
    mean_psnr,
    occluded_psnr,
    recomposition_psnr,
)
from .scenes import EvaluationScene

SPECKS = 8
"""Levels of 0..255: alpha below this is no more than dust, but the protocol's "alpha > 0" sees it as overlap."""


@dataclass(frozen=True, kw_only=True)
class SampleScore:
    """One scene. ``raw``, ``grey``: the LayerD protocol and its grey variant. ``cleared``: the raw variant after alphas
    below 8/255 were set to 0 in prediction and truth alike (in one alone, the groups would no longer correspond).
    ``recomposition``, ``background`` in dB (``background`` None: the objects hide nothing). ``alpha_mae``, ``gradient``:
    means over the objects, each against the predicted layer that fits it best. ``count_error``: layers that can be seen,
    predicted minus true."""

    index: int
    objects: int
    raw: list[Score]
    grey: list[Score]
    cleared: list[Score]
    recomposition: float
    background: float | None
    alpha_mae: float
    gradient: float
    count_error: int


def score_sample(predicted: Layers, scene: EvaluationScene) -> SampleScore:
    """``predicted``: uint8 (H, W, 4) layers, straight, bottom to top, at the scene's size."""
    layers, truth = list(predicted), list(scene.layers)
    pairs = match_layers(layers[1:], truth[1:])
    empty = np.zeros_like(truth[0])
    fitting = {true: layers[1 + found] for found, true in pairs}
    objects = [(fitting.get(number, empty), layer) for number, layer in enumerate(truth[1:])]
    return SampleScore(
        index=scene.index,
        objects=len(truth) - 1,
        raw=layerd_scores(layers, truth),
        grey=layerd_scores(layers, truth, variant="grey"),
        cleared=layerd_scores(clear_specks(layers), clear_specks(truth)),
        recomposition=recomposition_psnr(layers, scene.picture),
        background=occluded_psnr(layers[0], truth[0], truth[1:]),
        alpha_mae=float(np.mean([alpha_mae(*pair) for pair in objects])),
        gradient=float(np.mean([gradient_error(*pair) for pair in objects])),
        count_error=count_layers(layers) - count_layers(truth),
    )


def clear_specks(layers: Layers, floor: int = SPECKS) -> list[np.ndarray]:
    """Copies of uint8 layers, fully transparent where alpha is below ``floor``."""
    return [np.where(layer[..., 3:] >= floor, layer, np.uint8(0)) for layer in layers]


@dataclass(frozen=True, kw_only=True)
class MethodScore:
    """Means over the scenes for one way of taking them apart. PSNR in dB, every sample capped at 60."""

    title: str
    raw: list[Score]
    grey: list[Score]
    cleared: list[Score]
    recomposition: float | None
    background: float | None
    alpha_mae: float
    gradient: float
    count_error: float
    count_exact: float
    seconds_per_scene: float
    samples: list[SampleScore]

    def by_objects(self) -> dict[int, dict[str, float]]:
        """L1 and IoU at 0 merges for scenes with 1, 2, ... objects."""
        rows = {}
        for count in sorted({sample.objects for sample in self.samples}):
            chosen = [sample.raw[0] for sample in self.samples if sample.objects == count]
            l1, iou = (float(np.mean([getattr(score, name) for score in chosen])) for name in ("l1", "iou"))
            rows[count] = {"scenes": len(chosen), "l1": l1, "iou": iou}
        return rows

    def worst(self, count: int) -> list[int]:
        """Positions of the ``count`` scenes with the lowest IoU at 0 merges, worst first."""
        order = sorted(range(len(self.samples)), key=lambda i: self.samples[i].raw[0].iou)
        return order[:count]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, samples with their scores at 0 merges only."""
        values = asdict(self)
        for sample, kept in zip(self.samples, values["samples"], strict=True):
            for name in ("raw", "grey", "cleared"):
                kept[name] = asdict(getattr(sample, name)[0])
        return {**values, "by_objects": self.by_objects()}


def score_method(
    title: str, stacks: Sequence[Layers], scenes: Sequence[EvaluationScene], seconds: float
) -> MethodScore:
    """``stacks``: one per scene; ``seconds``: what making them all took."""
    samples = [score_sample(stack, scene) for stack, scene in zip(stacks, scenes, strict=True)]
    errors = np.array([sample.count_error for sample in samples])
    return MethodScore(
        title=title,
        raw=aggregate([sample.raw for sample in samples]),
        grey=aggregate([sample.grey for sample in samples]),
        cleared=aggregate([sample.cleared for sample in samples]),
        recomposition=mean_psnr(sample.recomposition for sample in samples),
        background=mean_psnr(sample.background for sample in samples),
        alpha_mae=float(np.mean([sample.alpha_mae for sample in samples])),
        gradient=float(np.mean([sample.gradient for sample in samples])),
        count_error=float(np.abs(errors).mean()),
        count_exact=float((errors == 0).mean()),
        seconds_per_scene=seconds / max(1, len(scenes)),
        samples=samples,
    )
