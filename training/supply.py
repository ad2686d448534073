"""Where batches come from, put together for one device: streams of scenes, the frozen codec, the pool, held-out batches.

What every script that trains the layered transformer needs before it begins. Knows sizes and folders; no model that
learns, no losses.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage

from ..datasets.atlas import Atlas
from ..datasets.render import Renderer
from ..datasets.stream import loader
from ..models.codecs import QwenRGBACodec, install_still_convolutions
from .chunks import ChunkSettings, ChunkStream
from .pool import Pool
from .tasks import TASKS, TaskBatch, TaskSettings, make_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HELD_OUT = 1 << 41
"""The seed of scenes that are never trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Sizes that suit a kind of device. ``tokens``: image tokens of a batch; ``scenes`` of a chunk, in groups of ``group``;
    ``pool``: chunks kept at a time, ``reuse``: samples that each scene serves; ``workers``: processes that describe
    scenes; ``large``: share of chunks on large grids at the end of a run, in 0..1."""

    tokens: int
    scenes: int
    group: int
    pool: int
    reuse: float
    workers: int
    large: float


PRESETS = {
    "cpu": Preset(tokens=3072, scenes=32, group=8, pool=16, reuse=10.0, workers=1, large=0.0),
    "cuda": Preset(tokens=65536, scenes=512, group=128, pool=40, reuse=4.0, workers=13, large=0.85),
}


@dataclass(frozen=True, kw_only=True)
class Supply:
    """``large``: what the workers read to choose their grids, a share in 0..1 that a trainer may change."""

    pool: Pool
    large: Synchronized
    held_out: ChunkStream

    def validation(self, tokens: int, *, large: bool) -> list[TaskBatch]:
        """One batch of every task on a small grid, of at most ``tokens`` image tokens, and with ``large`` one on a large
        grid too; scenes never trained on."""
        kinds = {"boxes": "boxes", "object": "object"}
        settings = TaskSettings(tokens=tokens, fewer=0.0, drop=0.0, caption=0.0)
        batches = []
        for number, task in enumerate([*TASKS, *TASKS] if large else TASKS):
            self.held_out.large.value = float(number >= len(TASKS))
            stored = self.pool.encoded(self.held_out.chunk(number, kinds.get(task, "stack")))
            batches.append(make_batch(stored, self.pool, settings, np.random.default_rng(number), task))
        return batches


def open_supply(
    atlas: Atlas,
    tokenizer: PreTrainedTokenizerFast,
    vae: Path,
    preset: Preset,
    device: torch.device,
    *,
    seed: int = 2,
    start: int = 0,
    large: float = 0.0,
) -> Supply:
    """Starts the workers. ``vae``: the folder of the codec; ``seed`` and ``start``: which scenes, and from which on;
    ``large``: share of chunks on large grids at first."""
    codec = AutoencoderKLQwenImage.from_pretrained(vae, torch_dtype=torch.float32).to(device)
    install_still_convolutions(codec.requires_grad_(False), channels_last=True)
    chosen = ChunkSettings(scenes=preset.scenes, group=preset.group)
    share = multiprocessing.Value("d", large)
    stream = ChunkStream(atlas, tokenizer, settings=chosen, large=share, seed=seed, start=start)
    pool = Pool(
        loader(stream, workers=preset.workers),
        Renderer(atlas, device),
        QwenRGBACodec(codec),
        size=preset.pool,
        reuse=preset.reuse,
    )
    held_out = ChunkStream(
        atlas,
        tokenizer,
        settings=chosen,
        large=multiprocessing.Value("d", 0.0),
        seed=HELD_OUT,
        held_out=True,
    )
    return Supply(pool=pool, large=share, held_out=held_out)
