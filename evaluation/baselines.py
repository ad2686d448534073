"""What a model has to beat, on the same scenes: the picture as one layer, hand tools, a palette; and what it cannot beat,
the true layers through its own codec. Each takes a scene and gives a stack; none knows a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import cutting
from .palette import palette_layers
from .scenes import EvaluationScene

Stack = Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """``title``: what the table calls it. ``missing``: why it cannot run here, None when it can."""

    title: str
    run: Callable[[EvaluationScene], Stack]
    missing: str | None = None


def single_layer(scene: EvaluationScene) -> list[np.ndarray]:
    """The picture itself as the background, and empty layers above it: recomposes exactly, separates nothing."""
    return [scene.picture, *(np.zeros_like(layer) for layer in scene.objects)]


def cut_out(scene: EvaluationScene) -> list[np.ndarray]:
    """GrabCut, matting and inpainting, told the true boxes and order."""
    return cutting.cut_layers(scene.picture, scene.boxes)


def by_palette(scene: EvaluationScene) -> list[np.ndarray]:
    """As many palette colours as the scene has layers."""
    return palette_layers(scene.picture, len(scene.layers))


def telea_background(scene: EvaluationScene) -> np.ndarray:
    """The background, uint8 (H, W, 4), with everything that the true object layers touch painted over."""
    touched = np.any(scene.objects[..., 3] > 0, axis=0)
    colour = cutting.inpaint(scene.picture[..., :3], touched)
    return np.concatenate([colour, np.full((*colour.shape[:2], 1), 255, np.uint8)], 2)


def baselines() -> tuple[Baseline, ...]:
    """All of them, in the order of the table."""
    missing = None if cutting.available() else "opencv is not installed (pip install 'acetate[cv]')"
    return (
        Baseline(title="picture as one layer", run=single_layer),
        Baseline(
            title=f"GrabCut in true boxes, {cutting.matting_name()}, Telea", run=cut_out, missing=missing
        ),
        Baseline(title="palette (RGB hull)", run=by_palette),
    )
