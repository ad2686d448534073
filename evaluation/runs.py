"""Scenes through the public pipelines: batches of equal shape, results as 8-bit stacks at the model's size.

Every scene has its own seed, so its result does not depend on which others are run. Knows pipelines and scenes, no metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers.composite import quantise, to_float
from ..layers.document import Layer, LayeredImage
from ..layers.edit import drop_empty
from ..layers.whole import whole_layers
from .scenes import EvaluationScene

if TYPE_CHECKING:
    from ..pipelines.image_to_layers import ImageToLayersPipeline
    from ..pipelines.layers_to_layers import LayersToLayersPipeline
    from ..pipelines.text_to_layers import TextToLayersPipeline

BATCH = 8
Watch = Callable[[int, int], None]
"""Called with (scenes done, scenes in all)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """``layers``: uint8 (N, H, W, 4) straight, bottom to top; ``redrawn``: the composite as the model drew it."""

    layers: np.ndarray
    redrawn: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """The model on trial, handed in by whoever loaded it: this package judges and loads nothing.

    ``decompose``, ``generate``, ``complete``: its pipelines. ``codec``: layers, uint8 (N, H, W, 4), encoded and
    decoded again. ``size``: pixels along a side of its own square. ``steps``: denoising steps to run.
    """

    decompose: ImageToLayersPipeline
    generate: TextToLayersPipeline
    complete: LayersToLayersPipeline
    codec: Callable[[np.ndarray], np.ndarray]
    size: int
    steps: int

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.decompose.name or "the model"


def decompose_scenes(models: Models, scenes: Sequence[EvaluationScene], watch: Watch) -> list[Prediction]:
    """Each scene's picture taken apart into its true number of layers, without a prompt."""

    def run(chosen: Sequence[EvaluationScene], layers: int) -> Any:
        pictures = [scene.picture for scene in chosen]
        common = _common(models, chosen)
        return models.decompose(
            image=pictures, layers=layers, height=models.size, width=models.size, **common
        )

    return _in_batches(scenes, run, watch)


def count_scenes(models: Models, scenes: Sequence[EvaluationScene], watch: Watch) -> list[int]:
    """How many layers `layers="auto"` gives each picture: as many as the model may make, without the empty ones."""
    most = models.decompose.config.max_layers

    def run(chosen: Sequence[EvaluationScene], layers: int) -> Any:
        pictures = [scene.picture for scene in chosen]
        common = _common(models, chosen)
        return models.decompose(image=pictures, layers=most, height=models.size, width=models.size, **common)

    counts = []
    for scene, one in zip(scenes, _in_batches(scenes, run, watch), strict=True):
        size = one.layers[0].shape[:2]
        stack = tuple(Layer(pixels=layer) for layer in kept_whole(models, scene, one.layers))
        counts.append(len(drop_empty(LayeredImage(height=size[0], width=size[1], layers=stack)).layers))
    return counts


def generate_scenes(models: Models, scenes: Sequence[EvaluationScene], watch: Watch) -> list[Prediction]:
    """Each scene made from its caption and one caption per layer, without boxes."""

    def run(chosen: Sequence[EvaluationScene], layers: int) -> Any:
        return models.generate(layers=layers, **_words(chosen), **_common(models, chosen))

    return _in_batches(scenes, run, watch)


def generate_in_boxes(models: Models, scenes: Sequence[EvaluationScene], watch: Watch) -> list[Prediction]:
    """The same with the true box of every object. One scene at a time: a batch shares its boxes."""

    def run(chosen: Sequence[EvaluationScene], layers: int) -> Any:
        boxes = [None, *chosen[0].boxes]
        return models.generate(layers=layers, boxes=boxes, **_words(chosen), **_common(models, chosen))

    return _in_batches(scenes, run, watch, batch=1)


def complete_foregrounds(models: Models, scenes: Sequence[EvaluationScene], watch: Watch) -> list[Prediction]:
    """Each scene's objects made for its true background, from the captions, without boxes."""
    return _complete(models, scenes, watch, lambda scene: [scene.layers[0], *[None] * len(scene.objects)])


def complete_backgrounds(models: Models, scenes: Sequence[EvaluationScene], watch: Watch) -> list[Prediction]:
    """Each scene's background made for its true objects, from the captions."""
    return _complete(models, scenes, watch, lambda scene: [None, *scene.objects])


def _complete(
    models: Models,
    scenes: Sequence[EvaluationScene],
    watch: Watch,
    given: Callable[[EvaluationScene], list[Any]],
) -> list[Prediction]:
    def run(chosen: Sequence[EvaluationScene], layers: int) -> Any:
        stacks = [given(scene) for scene in chosen]
        common = {**_words(chosen), **_common(models, chosen)}
        return models.complete(stacks, height=models.size, width=models.size, **common)

    return _in_batches(scenes, run, watch)


def kept_whole(models: Models, scene: EvaluationScene, layers: np.ndarray) -> np.ndarray:
    """The layers as `acetate decompose` hands them on: with objects kept whole, where the model asks for it."""
    if not models.decompose.config.keep_whole:
        return layers
    return quantise(whole_layers(to_float(layers), to_float(scene.picture)[..., :3]), 8)


def _common(models: Models, chosen: Sequence[EvaluationScene]) -> dict[str, Any]:
    return {
        "num_inference_steps": models.steps,
        "seed": [scene.index for scene in chosen],
        "output_type": "np",
        "on_progress": lambda progress: None,  # instead of diffusers' own bar
    }


def _words(chosen: Sequence[EvaluationScene]) -> dict[str, Any]:
    return {
        "prompt": [scene.scene.caption for scene in chosen],
        "layer_prompts": [list(scene.scene.layer_captions) for scene in chosen],
    }


def _in_batches(
    scenes: Sequence[EvaluationScene],
    run: Callable[[Sequence[EvaluationScene], int], Any],
    watch: Watch,
    batch: int = BATCH,
) -> list[Prediction]:
    found: dict[int, Prediction] = {}
    watch(0, len(scenes))
    for chosen in _batches(scenes, batch):
        output = run([scenes[i] for i in chosen], len(scenes[chosen[0]].layers))
        for i, layers, redrawn in zip(chosen, output.images, output.composites, strict=True):
            found[i] = Prediction(layers=quantise(layers, 8), redrawn=quantise(redrawn, 8))
        watch(len(found), len(scenes))
    return [found[i] for i in range(len(scenes))]


def _batches(scenes: Sequence[EvaluationScene], size: int) -> Iterator[list[int]]:
    """Positions of scenes with equally many layers, at most ``size`` together."""
    counts = [len(scene.layers) for scene in scenes]
    for count in sorted(set(counts)):
        same = [i for i, one in enumerate(counts) if one == count]
        yield from (same[start : start + size] for start in range(0, len(same), size))
