"""Our pipeline against diffusers' own QwenImageLayeredPipeline: same weights, picture, embeddings, steps and guidance.

The runs alternate in one process, so that both meet the same machine; the fastest of each counts. The stock pipeline
knows no frame embedding, so its layers differ where a model has one; it costs nothing to add. Knows timing only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .runs import Models

LAYERS = 4
PAIRS = 3
PROMPT = "a red circle, a blue star, a fish, on a white flat background"


@dataclass(frozen=True, kw_only=True)
class SpeedReport:
    """Seconds of the fastest run of each and of every run; ``threads``: how many torch computed with."""

    ours: float
    stock: float
    ours_all: tuple[float, ...]
    stock_all: tuple[float, ...]
    layers: int
    size: int
    steps: int
    guidance: float
    threads: int
    load: float

    @property
    def ratio(self) -> float:
        """Our time over theirs."""
        return self.ours / self.stock


def measure_speed(
    models: Models, picture: np.ndarray, *, layers: int = LAYERS, pairs: int = PAIRS
) -> SpeedReport:
    """Times ``pairs`` runs of each after one run to warm up. ``picture``: uint8 (H, W, 4) at the model's size."""
    import torch

    ours, stock = _ours(models, picture, layers), _stock(models, picture, layers)
    for run in (ours, stock):
        run(0)
    times: dict[Callable[[int], Any], list[float]] = {ours: [], stock: []}
    for number in range(pairs):
        for run in (ours, stock) if number % 2 == 0 else (stock, ours):
            began = time.perf_counter()
            run(number)
            times[run].append(round(time.perf_counter() - began, 4))
    return SpeedReport(
        ours=min(times[ours]),
        stock=min(times[stock]),
        ours_all=tuple(times[ours]),
        stock_all=tuple(times[stock]),
        layers=layers,
        size=models.size,
        steps=models.steps,
        guidance=float(models.decompose.config.default_guidance),
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan"),
    )


def _shared(models: Models, layers: int) -> dict[str, Any]:
    """What both are called with; embeddings from the model's own text encoder."""
    import torch

    pipeline = models.decompose
    encoder = pipeline.prompt_encoder(None)
    assert encoder is not None  # every model folder has a text encoder: loading checks it
    guidance = float(pipeline.config.default_guidance)
    words = {"prompt_embeds": PROMPT, **({"negative_prompt_embeds": " "} if guidance > 1 else {})}
    shared: dict[str, Any] = {
        "layers": layers,
        "num_inference_steps": models.steps,
        "true_cfg_scale": guidance,
        "cfg_normalize": True,
        "output_type": "pt",
    }
    for name, text in words.items():
        with torch.no_grad():
            features = encoder.encode([text])
        shared[name] = features.embeds
        shared[f"{name}_mask"] = None if features.mask is None else features.mask.long()
    return shared


def _ours(models: Models, picture: np.ndarray, layers: int) -> Callable[[int], Any]:
    shared = _shared(models, layers)

    def run(seed: int) -> Any:
        arguments = dict(shared, seed=seed, height=models.size, width=models.size)
        return models.decompose(image=picture, on_progress=lambda progress: None, **arguments)

    return run


def _stock(models: Models, picture: np.ndarray, layers: int) -> Callable[[int], Any]:
    import torch
    from diffusers import QwenImageLayeredPipeline
    from PIL import Image

    parts = models.decompose
    stock = QwenImageLayeredPipeline(
        scheduler=type(parts.scheduler).from_config(parts.scheduler.config),
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=None,
        processor=None,
        transformer=parts.transformer,
    )
    stock.set_progress_bar_config(disable=True)
    shared, image = _shared(models, layers), Image.fromarray(picture)

    def run(seed: int) -> Any:
        with _any_size(models.size), torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            return stock(image=image, prompt=PROMPT, generator=generator, **shared)

    return run


@contextmanager
def _any_size(size: int) -> Iterator[None]:
    """diffusers allows 640 and 1024 only; everything after the choice of the size is its own."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_layered as module

    stock = module.calculate_dimensions
    module.calculate_dimensions = lambda area, ratio: (size, size)
    try:
        yield
    finally:
        module.calculate_dimensions = stock
