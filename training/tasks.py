"""What the transformer learns, batch by batch: which frames are noisy, which are given, and what the text says.

A task is a :class:`~acetate.models.layout.Layout` plus the latents of its frames; the network never hears its name.
Batches are drawn and encoded in worker processes; every sample of a batch shares one layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ..datasets.render import Renderer, over, straight
from ..datasets.scenes import Scene, SceneSampler
from ..datasets.sprites import Atlas
from ..models.codecs import QwenRGBACodec, install_still_convolutions
from ..models.layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """Shares of the tasks (the rest of 1 is text to layers without boxes) and how layers are counted.

    ``layers`` counts the background. ``fewer``: share of scenes with fewer objects than layers, so that the top
    ones stay empty; ``more``: with one object more, so that the two topmost share a layer. ``tokens``: image
    tokens a batch; ``grids``: (rows, columns) of tokens, 16 pixels each.
    """

    image_to_layers: float = 0.7
    boxes: float = 0.12
    layers: tuple[int, ...] = (2, 3, 4, 5)
    layer_weights: tuple[float, ...] = (0.3, 0.3, 0.25, 0.15)
    fewer: float = 0.2
    more: float = 0.1
    caption_share: float = 0.4
    text_drop: float = 0.1
    tokens: int = 6144
    grids: tuple[tuple[int, int], ...] = ((8, 8), (7, 9), (9, 7), (7, 10), (10, 7), (6, 10), (10, 6))
    grid_weights: tuple[float, ...] = (0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


@dataclass(frozen=True, kw_only=True)
class TaskBatch:
    """``latents`` (B, F, C, h, w) normalised, in the layout's frame order; ``weights`` (B, noisy frames, tokens) in
    0..1 over the full token grid; ``coverage`` and ``visible`` (B, N, tokens): each layer's mean alpha and its share of
    what is seen; ``prompts`` and, when given, ``layer_prompts`` as the text encoder takes them."""

    task: str
    layout: Layout
    latents: Tensor
    weights: Tensor
    coverage: Tensor
    visible: Tensor
    prompts: list[str]
    layer_prompts: list[list[str | None]] | None


def blank(height: int, width: int) -> Tensor:
    """An empty layer, (1, 4, height, width): mid-grey at alpha 0."""
    return torch.tensor([0.5, 0.5, 0.5, 0.0]).view(1, 4, 1, 1).expand(1, 4, height, width)


def merge_top(layers: Tensor, count: int) -> Tensor:
    """(N, 4, H, W) with everything from layer ``count - 1`` up merged into one; returns (count, 4, H, W)."""
    if len(layers) <= count:
        return layers
    top = straight(over(layers[None, count - 1 :]))
    return torch.cat([layers[: count - 1], top])


def token_boxes(layers: Tensor) -> list[tuple[int, int, int, int] | None]:
    """Boxes, on the token grid, that hold a layer's alpha in every sample of (B, N, 4, H, W); None for the background."""
    cover = F.max_pool2d(layers[:, :, 3].amax(0), 16) > 0.02
    boxes: list[tuple[int, int, int, int] | None] = [None]
    for mask in cover[1:]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        empty = len(rows) == 0
        boxes.append(
            (0, 0, 1, 1)
            if empty
            else (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        )
    return boxes


def shares(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, H, W) alphas -> mean alpha and visible share of every layer in every 16 x 16 token, each (B, N, tokens)."""
    through = torch.cat([(1 - alpha).flip(1).cumprod(1).flip(1)[:, 1:], torch.ones_like(alpha[:, :1])], 1)
    return F.avg_pool2d(alpha, 16).flatten(2), F.avg_pool2d(alpha * through, 16).flatten(2)


class TaskStream(IterableDataset[TaskBatch]):
    """Endless batches. Item k of worker w depends on (seed, start, w, k) alone."""

    def __init__(
        self,
        atlas: Atlas,
        vae_folder: Path,
        *,
        settings: TaskSettings,
        seed: int = 2,
        start: int = 0,
        held_out: bool = False,
    ) -> None:
        self.atlas, self.vae_folder, self.settings = atlas, vae_folder, settings
        self.seed, self.start, self.held_out = seed, start, held_out

    def __iter__(self) -> Iterator[TaskBatch]:
        from diffusers import AutoencoderKLQwenImage

        torch.set_num_threads(1)
        info = get_worker_info()
        workers, worker = (info.num_workers, info.id) if info else (1, 0)
        vae = AutoencoderKLQwenImage.from_pretrained(
            self.vae_folder, torch_dtype=torch.float32
        ).requires_grad_(False)
        install_still_convolutions(vae, channels_last=True)
        self.codec = QwenRGBACodec(vae)
        self.sampler = SceneSampler(self.atlas, held_out=self.held_out)
        self.renderer = Renderer(self.atlas)
        index = self.start + worker
        while True:
            yield self.batch(index)
            index += workers

    def batch(self, index: int) -> TaskBatch:
        """Batch number ``index``."""
        s, rng = self.settings, np.random.default_rng([self.seed, index])
        draw = rng.random()
        task = (
            "image" if draw < s.image_to_layers else "boxes" if draw < s.image_to_layers + s.boxes else "text"
        )
        layers = int(rng.choice(s.layers, p=np.array(s.layer_weights) / sum(s.layer_weights)))
        rows, columns = s.grids[int(rng.choice(len(s.grids), p=s.grid_weights))]
        size = max(1, s.tokens // ((layers + 1 + (task == "image")) * rows * columns))
        scenes = self._scenes(task, layers, size, index, rng)
        rendered = self.renderer.render(scenes, 16 * rows, 16 * columns)
        stacks = torch.stack([self._fit(stack, layers) for stack in rendered.layers])
        boxes = token_boxes(stacks) if task == "boxes" else None
        frames = torch.cat([rendered.composite[:, None], stacks], 1)
        latents = self._latents(frames)
        cover = F.max_pool2d(frames[:, :, 3], 16, 16).flatten(2)
        cover = F.max_pool2d(cover.view(*cover.shape[:2], rows, columns), 3, 1, 1).flatten(2)
        weights = 0.25 + 0.75 * (cover > 0.02).float()
        if task == "image":
            weights[:, 0] = 0.3  # the composite is nearly given
            layout = Layout.image_to_layers(rows, columns, layers)
            latents = torch.cat([latents, latents[:, :1]], 1)
        else:
            layout = Layout.text_to_layers(rows, columns, layers, boxes)
        coverage, visible = shares(stacks[:, :, 3])
        prompts, layer_prompts = self._text(task, scenes, layers, rng)
        return TaskBatch(
            task=task,
            layout=layout,
            latents=latents,
            weights=weights,
            coverage=coverage,
            visible=visible,
            prompts=prompts,
            layer_prompts=layer_prompts,
        )

    def _scenes(self, task: str, layers: int, size: int, index: int, rng: np.random.Generator) -> list[Scene]:
        if task == "boxes":
            model = self.sampler.scene(self.seed, index * 1000, count=layers - 1)
            return [
                model,
                *(self.sampler.scene_like(model, self.seed, index * 1000 + i) for i in range(1, size)),
            ]
        counts = np.full(size, layers - 1)
        draw = rng.random(size)
        counts[draw < self.settings.fewer] = rng.integers(0, layers - 1, size)[draw < self.settings.fewer]
        counts[draw > 1 - self.settings.more] += 1
        return [self.sampler.scene(self.seed, index * 1000 + i, count=int(n)) for i, n in enumerate(counts)]

    def _fit(self, stack: Tensor, layers: int) -> Tensor:
        missing = layers - len(stack)
        if missing > 0:
            return torch.cat([stack, blank(*stack.shape[-2:]).expand(missing, -1, -1, -1)])
        return merge_top(stack, layers)

    def _encode(self, pixels: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return torch.cat([self.codec.encode(part) for part in (pixels * 2 - 1).split(16)]).float()

    def _latents(self, frames: Tensor) -> Tensor:
        flat = frames.flatten(0, 1)
        shown = flat[:, 3].amax((1, 2)) > 0
        latents = self._encode(blank(*flat.shape[-2:])).repeat(len(flat), 1, 1, 1)
        latents[shown] = self._encode(flat[shown])
        return latents.view(*frames.shape[:2], *latents.shape[1:])

    def _text(
        self, task: str, scenes: list[Scene], layers: int, rng: np.random.Generator
    ) -> tuple[list[str], list[list[str | None]] | None]:
        captions = [s.caption for s in scenes]
        if task == "image":
            return (captions if rng.random() < self.settings.caption_share else [""] * len(scenes)), None
        if rng.random() < self.settings.text_drop:
            return [""] * len(scenes), None
        if task == "text" and rng.random() < 0.3:
            return captions, None
        said: list[list[str | None]] = []
        for scene in scenes:
            own = list(scene.layer_captions)
            if len(own) > layers:
                own = [*own[: layers - 1], " and ".join(own[layers - 1 :])]
            said.append([*own, *([""] * (layers - len(own)))])
        scene_prompts = captions if rng.random() < 0.7 else [""] * len(scenes)
        return scene_prompts, said
