"""What the bench has measured: plain records that the acceptance table, the sheets and the JSON are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .metrics import box_iou, decibels, mean_psnr, premultiplied, rgba_psnr, soft_iou, visible_box
from .retrieval import RetrievalScore
from .runs import Prediction
from .scenes import EvaluationScene
from .scoring import MethodScore
from .speed import SpeedReport


@dataclass(frozen=True, kw_only=True)
class CodecScore:
    """True layers through the codec. ``psnr``: dB of premultiplied RGBA, mean over layers (each capped at 60);
    ``pooled``: of the squared error over all pixels of all layers; ``alpha_iou``: mean over the objects' layers."""

    psnr: float
    pooled: float
    backgrounds: float
    objects: float
    alpha_iou: float
    layers: int


@dataclass(frozen=True, kw_only=True)
class BoxScore:
    """``iou``: mean over layers of the visible box of what was made against the box asked for; ``retrieval``: as without
    boxes."""

    iou: float
    layers: int
    retrieval: RetrievalScore


@dataclass(frozen=True, kw_only=True)
class GivenScore:
    """Layers made for given ones. ``forward``: objects made for true backgrounds; ``back``: backgrounds made for true
    objects; ``judge``: true backgrounds looked up the same way. ``unchanged`` of ``given`` layers came back with exactly
    their own pixels."""

    forward: RetrievalScore
    back: RetrievalScore
    judge: RetrievalScore
    unchanged: int
    given: int


@dataclass(kw_only=True)
class Results:
    """Filled row by row; None or empty where a row was not run. ``absent``: baselines that could not run, and why."""

    scenes: Sequence[EvaluationScene] = ()
    worded: Sequence[EvaluationScene] = ()
    codec: CodecScore | None = None
    through_codec: MethodScore | None = None
    model: MethodScore | None = None
    """What `acetate decompose` makes before the exact solve: with objects kept whole, where the model asks for it."""
    bare: MethodScore | None = None
    """The model's own layers, where ``model`` is more than that."""
    baselines: list[MethodScore] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    telea: float | None = None
    retrieval: RetrievalScore | None = None
    judge: RetrievalScore | None = None
    consistency: float | None = None
    boxes: BoxScore | None = None
    given: GivenScore | None = None
    auto_errors: list[int] | None = None
    """Layers of `layers="auto"` less the true number, background included, one a scene."""
    speed: SpeedReport | None = None
    decomposed: list[Prediction] = field(default_factory=list)
    generated: list[Prediction] = field(default_factory=list)
    boxed: list[Prediction] = field(default_factory=list)
    forward: list[Prediction] = field(default_factory=list)
    back: list[Prediction] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def score_codec(decoded: Sequence[np.ndarray], scenes: Sequence[EvaluationScene]) -> CodecScore:
    """``decoded``: uint8 (N, H, W, 4) per scene, what the codec made of its layers."""
    pairs = [list(zip(ours, scene.layers, strict=True)) for ours, scene in zip(decoded, scenes, strict=True)]
    psnrs = [[rgba_psnr(*pair) for pair in scene] for scene in pairs]
    every = [pair for scene in pairs for pair in scene]
    squares = [float(np.square(premultiplied(one) - premultiplied(other)).mean()) for one, other in every]
    shapes = [soft_iou(*pair) for scene in pairs for pair in scene[1:]]
    return CodecScore(
        psnr=_known(mean_psnr(value for scene in psnrs for value in scene)),
        pooled=min(decibels(float(np.mean(squares))), 99.0),
        backgrounds=_known(mean_psnr(scene[0] for scene in psnrs)),
        objects=_known(mean_psnr(value for scene in psnrs for value in scene[1:])),
        alpha_iou=float(np.mean(shapes)),
        layers=len(every),
    )


def mean_box_iou(made: Sequence[Prediction], scenes: Sequence[EvaluationScene]) -> tuple[float, int]:
    """(mean IoU, layers) of the visible boxes of made object layers against the boxes of the scenes."""
    found = [
        box_iou(visible_box(layer), box)
        for one, scene in zip(made, scenes, strict=True)
        for layer, box in zip(one.layers[1:], scene.boxes, strict=True)
    ]
    return float(np.mean(found)), len(found)


def count_unchanged(
    made: Sequence[Prediction], scenes: Sequence[EvaluationScene], given: slice
) -> tuple[int, int]:
    """(exactly equal, all) of the layers ``given`` of every scene, as they came back."""
    equal = [
        np.array_equal(ours, true)
        for one, scene in zip(made, scenes, strict=True)
        for ours, true in zip(one.layers[given], scene.layers[given], strict=True)
    ]
    return sum(equal), len(equal)


def _known(value: float | None) -> float:
    assert value is not None  # every scene has a background and at least one object
    return value
