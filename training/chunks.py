"""Chunks of scenes, described ahead in worker processes: what lies where, what is said, and what the chunk is good for.

All scenes of a chunk share one token grid and one number of layers, so any of them can share a batch. A chunk holds plain
arrays and no pixels: the process that owns the device draws and encodes it (``pool.py``). This module knows no networks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from ..datasets.atlas import Atlas
from ..datasets.pack import PackedScenes, pack
from ..datasets.scenes import Scene, SceneSampler, SceneSettings
from ..models.text import LAYER_TOKENS, PROMPT_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Grid = tuple[int, int]
KINDS = ("stack", "boxes", "object")
SMALL: tuple[Grid, ...] = ((8, 8), (7, 9), (9, 7), (7, 10), (10, 7), (6, 10), (10, 6))
LARGE: tuple[Grid, ...] = ((16, 16), (14, 18), (18, 14), (13, 20), (20, 13), (12, 20), (20, 12))
_SQUARE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkSettings:
    """What chunks are made of. Shares lie in 0..1; the rest of ``boxes`` and ``objects`` are plain stacks.

    ``scenes``: scenes of a chunk on a small grid (half as many on a large one). ``group``: scenes that share their boxes.
    ``layers`` counts the background. ``more``: share of stacks with one or two objects too many, so that the topmost share
    a layer. ``effects``: share of chunks with more than drop shadows: contact shadows, reflections, glows, rims,
    vignettes, large objects. ``damage``: share of chunks whose flat pictures are given blurred, noisy and compressed.
    """

    scenes: int = 512
    group: int = 128
    boxes: float = 0.24
    objects: float = 0.10
    layers: tuple[int, ...] = (2, 3, 4, 5)
    layer_weights: tuple[float, ...] = (0.25, 0.28, 0.27, 0.2)
    more: float = 0.08
    effects: float = 0.25
    damage: float = 0.25

    def __post_init__(self) -> None:
        if self.scenes < 2 * self.group or self.scenes % (2 * self.group):
            raise ValueError(f"scenes must be a multiple of 2 x group, not {self.scenes} with {self.group}")
        if len(self.layers) != len(self.layer_weights) or min(self.layers) < 2:
            raise ValueError("layers need one weight each and at least a background and one object")
        for name in ("boxes", "objects", "more", "effects", "damage"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {share}")
        if self.boxes + self.objects > 1:
            raise ValueError("boxes and objects together must not be more than all chunks")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """``kind`` out of KINDS; ``grid``: (rows, columns) of tokens; ``layers``: of every stack, background included.

    ``scene_ids`` int64 (n, 48) and ``layer_ids`` (n, layers, 16): captions as the embedded tokenizer writes them.
    ``bare``: the topmost objects alone and without what they cast, for masks ("object" only). ``group``: so many scenes
    in a row share their boxes ("boxes" only).
    """

    kind: str
    grid: Grid
    layers: int
    packed: PackedScenes
    bare: PackedScenes | None
    scene_ids: np.ndarray
    layer_ids: np.ndarray
    group: int
    damaged: bool
    seed: int

    def __len__(self) -> int:
        return len(self.packed)


class ChunkStream(IterableDataset[Chunk]):
    """Endless chunks. Number k of worker w depends on (seed, start, w, k), and its grid on ``large`` when it was drawn:
    the share of chunks on large grids, which the trainer may change while workers run."""

    def __init__(
        self,
        atlas: Atlas,
        tokenizer: PreTrainedTokenizerFast,
        *,
        settings: ChunkSettings,
        large: Synchronized,
        seed: int = 2,
        start: int = 0,
        held_out: bool = False,
    ) -> None:
        plain = SceneSettings(max_objects=6)
        lit = replace(plain, contact_share=0.25, reflection_share=0.15, glow_share=0.1)
        cast = replace(lit, rim_share=0.15, vignette_share=0.25, large_share=0.15)
        alone = replace(cast, contact_share=0.5, reflection_share=0.25)
        self.samplers = [
            SceneSampler(atlas, settings=chosen, held_out=held_out) for chosen in (plain, cast, alone)
        ]
        self.tokenizer, self.settings, self.large = tokenizer, settings, large
        self.seed, self.start = seed, start

    def __iter__(self) -> Iterator[Chunk]:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        info = get_worker_info()
        workers, worker = (info.num_workers, info.id) if info else (1, 0)
        index = self.start + worker
        while True:
            yield self.chunk(index)
            index += workers

    def chunk(self, index: int, kind: str | None = None) -> Chunk:
        """Chunk number ``index``, of a kind drawn from the shares or of the given one."""
        s, rng = self.settings, np.random.default_rng([self.seed, index])
        draw, large = rng.random(), rng.random() < self.large.value
        kind = kind or ("boxes" if draw < s.boxes else "object" if draw < s.boxes + s.objects else "stack")
        layers = int(rng.choice(s.layers, p=np.array(s.layer_weights) / sum(s.layer_weights)))
        grids = LARGE if large else SMALL
        grid = grids[0] if rng.random() < _SQUARE_SHARE else grids[1 + int(rng.integers(len(grids) - 1))]
        count, first = s.scenes // (2 if large else 1), index * 4096
        plain, cast, alone = self.samplers
        sampler = alone if kind == "object" else cast if rng.random() < s.effects else plain
        more = int(rng.integers(1, 3)) if kind == "stack" and rng.random() < s.more else 0
        objects = layers - 1 + more
        if kind == "boxes":
            scenes = self._alike(sampler, first, count, objects)
        else:
            scenes = [sampler.scene(self.seed, first + i, count=objects) for i in range(count)]
        bare = None
        if kind == "object":
            bare = pack(
                [replace(s.without_effects(), objects=s.without_effects().objects[-1:]) for s in scenes]
            )
        scene_ids, layer_ids = self._captions(scenes, layers)
        return Chunk(
            kind=kind,
            grid=grid,
            layers=layers,
            packed=pack(scenes),
            bare=bare,
            scene_ids=scene_ids,
            layer_ids=layer_ids,
            group=s.group,
            damaged=kind != "boxes" and rng.random() < s.damage,
            seed=index,
        )

    def _alike(self, sampler: SceneSampler, first: int, count: int, objects: int) -> list[Scene]:
        scenes: list[Scene] = []
        while len(scenes) < count:
            at = first + len(scenes)
            model = sampler.scene(self.seed, at, count=objects)
            scenes += [
                model,
                *(sampler.scene_like(model, self.seed, at + i) for i in range(1, self.settings.group)),
            ]
        return scenes

    def _captions(self, scenes: list[Scene], layers: int) -> tuple[np.ndarray, np.ndarray]:
        said: list[str] = []
        for scene in scenes:
            own = list(scene.layer_captions)
            if len(own) > layers:
                own = [*own[: layers - 1], " and ".join(own[layers - 1 :])]
            said += [*own, *([""] * (layers - len(own)))]
        shape = (len(scenes), layers, LAYER_TOKENS)
        return self._ids([s.caption for s in scenes], PROMPT_TOKENS), self._ids(said, LAYER_TOKENS).reshape(
            shape
        )

    def _ids(self, texts: list[str], length: int) -> np.ndarray:
        options = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "np"}
        return np.asarray(self.tokenizer(texts, **options)["input_ids"], np.int64)
