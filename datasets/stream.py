"""Endless training crops from procedural scenes: described by workers, drawn by the process that owns the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .atlas import Atlas
from .pack import PackedScenes, pack
from .render import Renderer
from .scenes import SceneSampler, SceneSettings
from .transfer import send
from .windows import view


@dataclass(frozen=True, kw_only=True)
class CropPlan:
    """Two crops of every scene, of its picture and one layer: ``layer`` (n,), ``left`` and ``top`` (n, 2) int64 pixels."""

    packed: PackedScenes
    size: int
    crop: int
    layer: np.ndarray
    left: np.ndarray
    top: np.ndarray

    def draw(self, renderer: Renderer) -> Tensor:
        """(2n, 4, crop, crop) straight RGBA in [-1, 1] on the renderer's device: all pictures, then all layers."""
        rendered = renderer.render(self.packed, self.size, self.size)
        numbers = {
            "every": np.arange(len(self.packed)),
            "layer": self.layer,
            "left": self.left.T,
            "top": self.top.T,
        }
        at = send(numbers, renderer.device)
        pictures = (rendered.composite, rendered.layers[at["every"], at["layer"]])
        crops = [
            view(picture, self.crop, self.crop)[at["every"], :, top, left]
            for picture, left, top in zip(pictures, at["left"], at["top"], strict=True)
        ]
        return torch.cat(crops) * 2 - 1


class CropStream(IterableDataset[CropPlan]):
    """Plans for batches of ``batch`` crops, from scenes drawn at one of ``sizes`` pixels: around objects more often than
    not, of whole pictures and of layers alike.

    Item k of worker w is a pure function of (seed, w, k): a resumed run goes on with fresh scenes by moving ``start``.
    """

    def __init__(
        self, atlas: Atlas, *, sizes: tuple[int, ...], crop: int, batch: int, seed: int = 1, start: int = 0
    ) -> None:
        self.atlas, self.sizes, self.crop, self.batch = atlas, sizes, crop, batch
        self.seed, self.start = seed, start

    def __iter__(self) -> Iterator[CropPlan]:
        info = get_worker_info()
        workers, worker = (info.num_workers, info.id) if info else (1, 0)
        settings = SceneSettings(max_objects=3, contact_share=0.1, reflection_share=0.05, glow_share=0.05)
        sampler = SceneSampler(self.atlas, settings=settings)
        index = self.start + worker
        while True:
            yield self._plan(sampler, index)
            index += workers

    def _plan(self, sampler: SceneSampler, index: int) -> CropPlan:
        count = self.batch // 2
        scenes = [sampler.scene(self.seed, index * count + i) for i in range(count)]
        rng = np.random.default_rng([self.seed, index, 7])
        size = int(rng.choice(self.sizes))
        objects = np.array([len(scene.objects) for scene in scenes])
        layer = rng.integers(0, objects + 1)
        focus = np.where(layer == 0, rng.integers(0, objects), layer - 1)
        centres = np.array([s.objects[k].centre for s, k in zip(scenes, focus, strict=True)])
        corners = centres[:, None] * size - self.crop / 2 + rng.normal(0, self.crop / 4, (count, 2, 2))
        corners = np.clip(corners.round().astype(np.int64), 0, size - self.crop)
        return CropPlan(
            packed=pack(scenes),
            size=size,
            crop=self.crop,
            layer=layer,
            left=corners[..., 0],
            top=corners[..., 1],
        )


def loader(stream: IterableDataset, *, workers: int) -> Iterator[Any]:
    """Iterate the stream with ``workers`` processes (0: in this one)."""
    options = {"prefetch_factor": 4, "persistent_workers": True} if workers else {}
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, **options))
