"""A small world to train in: few sprites drawn without fonts, a tiny codec, chunks of a handful of scenes."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import CELL, Atlas, Sprite
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import vocabulary
from acetate.models.codecs import QwenRGBACodec
from acetate.training.chunks import ChunkSettings, ChunkStream
from acetate.training.model import LayersModel, ModelSettings
from acetate.training.pool import Pool


def tiny_vae() -> AutoencoderKLQwenImage:
    torch.manual_seed(0)
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, False, False],
        input_channels=4,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


@pytest.fixture(scope="session")
def world() -> Atlas:
    """Forty discs and squares of every kind, some of them held out."""
    y, x = np.mgrid[:CELL, :CELL] - CELL / 2
    shapes = ((np.hypot(x, y) < 50), (np.maximum(abs(x), abs(y)) < 45))
    sprites, pixels = [], []
    for number in range(40):
        kind = ("emoji", "shape", "text")[number % 3]
        sprites.append(Sprite(name=f"thing{number}", kind=kind, tinted=kind != "emoji"))
        cell = np.zeros((CELL, CELL, 4), np.uint8)
        cell[shapes[number % 2]] = (
            (255, 255, 255, 255) if kind != "emoji" else (20 * (number % 12), 90, 200, 255)
        )
        pixels.append(cell)
    return Atlas(pixels=np.stack(pixels), sprites=tuple(sprites))


@pytest.fixture
def model(world: Atlas) -> LayersModel:
    torch.manual_seed(0)
    sizes = ModelSettings(
        latent_channels=4,
        heads=2,
        head_dim=16,
        axes=(4, 6, 6),
        blocks=4,
        text_dim=16,
        text_blocks=1,
        text_heads=2,
    )
    return LayersModel(vocabulary(world), sizes)


@pytest.fixture
def stream(world: Atlas, model: LayersModel) -> ChunkStream:
    return ChunkStream(
        world,
        model.tokenizer,
        settings=ChunkSettings(scenes=8, group=4),
        large=multiprocessing.Value("d", 0.0),
    )


@pytest.fixture
def codec() -> AutoencoderKLQwenImage:
    return tiny_vae().requires_grad_(False)


@pytest.fixture
def pool(world: Atlas, stream: ChunkStream, codec: AutoencoderKLQwenImage) -> Pool:
    return Pool(iter(stream), Renderer(world), QwenRGBACodec(codec), size=4, reuse=2.0)
