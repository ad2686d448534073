"""Endless training batches from procedural scenes, drawn in worker processes while the model trains."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .atlas import Atlas
from .render import Renderer
from .scenes import SceneSampler, SceneSettings


class CropStream(IterableDataset[Tensor]):
    """Batches (B, 4, crop, crop) of straight RGBA in [-1,1] for the codec: whole pictures, backgrounds and layers.

    Item k of worker w is a pure function of (seed, w, k): a resumed run goes on with fresh scenes by moving ``start``.
    """

    def __init__(
        self, atlas: Atlas, *, size: int, crop: int, batch: int, seed: int = 1, start: int = 0
    ) -> None:
        self.atlas, self.size, self.crop, self.batch, self.seed, self.start = (
            atlas,
            size,
            crop,
            batch,
            seed,
            start,
        )

    def __iter__(self) -> Iterator[Tensor]:
        torch.set_num_threads(1)
        info = get_worker_info()
        workers, worker = (info.num_workers, info.id) if info else (1, 0)
        sampler = SceneSampler(self.atlas, settings=SceneSettings(max_objects=3))
        renderer = Renderer(self.atlas)
        index = self.start + worker
        while True:
            scenes = [sampler.scene(self.seed, index * self.batch + i) for i in range(self.batch // 2)]
            rng = np.random.default_rng([self.seed, index, 7])
            rendered = renderer.render(scenes, self.size, self.size)
            crops = []
            for b, scene in enumerate(scenes):
                layer = int(rng.integers(0, len(scene.objects) + 1))
                for picture in (rendered.composite[b], rendered.layers[b, layer]):
                    chosen = int(rng.integers(len(scene.objects))) if layer == 0 else layer - 1
                    focus = scene.objects[chosen].centre
                    corner = np.array(focus) * self.size - self.crop / 2 + rng.normal(0, self.crop / 4, 2)
                    x, y = np.clip(corner.round().astype(int), 0, self.size - self.crop)
                    crops.append(picture[:, y : y + self.crop, x : x + self.crop])
            yield torch.stack(crops) * 2 - 1
            index += workers


def loader(stream: IterableDataset, *, workers: int) -> Iterator:
    """Iterate the stream with ``workers`` processes (0: in this one)."""
    options = {"prefetch_factor": 4, "persistent_workers": True} if workers else {}
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, **options))
