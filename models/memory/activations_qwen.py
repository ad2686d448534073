"""What Qwen-Image's transformer and its RGBA VAE hold while they work. Knows those networks and shapes."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch

from ..backbones.qwen import QwenBackbone
from ..codecs import QwenRGBACodec, still_convolutions
from ..layout import Layout
from ..text import TextFeatures
from .dry_run import adapted, dtype_of, peak_bytes, shell
from .inventory import Inventory
from .work import Work

ROTARY = 2 * 4  # bytes a token and channel of a head: complex64 for half the channels, of both branches


def layout_of(model: Inventory, work: Work) -> Layout:
    """The frames of a call. Which frame is what makes no difference to their sizes."""
    rows, columns = -(-work.height // model.cell), -(-work.width // model.cell)
    stack = work.frames - 1
    return Layout.text_to_layers(rows, columns, stack) if stack else Layout.one_layer(rows, columns)


def step(model: Inventory, work: Work, layout: Layout, dtype: str) -> int:
    """The most that one call of the transformer holds, rotary frequencies that stay included."""
    config = json.dumps({**model.transformer, "num_layers": 1}, sort_keys=True, default=list)
    text = model.text_tokens(work.layers)
    tokens = layout.num_image_tokens
    kept = ROTARY * (tokens + text) * int(model.transformer["attention_head_dim"])
    return kept + _step(config, layout, tokens, text, work.batch, dtype, model.adapters > 0)


def codec(model: Inventory, work: Work, dtype: str, *, decode: bool, tiled: bool) -> int:
    """The most that the VAE holds for one picture, which is how pictures pass it."""
    config = json.dumps(dict(model.vae), sort_keys=True, default=list)
    return _codec(config, work.width, work.height, dtype, decode, tiled)


@lru_cache(maxsize=64)
def _step(config: str, layout: Layout, tokens: int, text: int, batch: int, dtype: str, loras: bool) -> int:
    from diffusers import QwenImageTransformer2DModel

    transformer = shell(QwenImageTransformer2DModel, json.loads(config), dtype)
    if loras:
        adapted(transformer)
    half = int(transformer.config.attention_head_dim) // 2

    class Frequencies:
        max_position = 4096

        def __call__(self, layout: Layout, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
            return image, words

    image = torch.empty(tokens, half, dtype=torch.complex64, device="meta")
    words = torch.empty(text, half, dtype=torch.complex64, device="meta")
    backbone = QwenBackbone(transformer, frequencies=Frequencies())  # type: ignore[arg-type]
    latents = torch.empty(batch, tokens, int(transformer.config.in_channels), device="meta")
    embeds = torch.empty(
        batch, text, int(transformer.config.joint_attention_dim), device="meta", dtype=dtype_of(dtype)
    )
    sigma = torch.empty(batch, device="meta")

    def call() -> Any:
        return backbone.velocity(latents, sigma, TextFeatures(embeds=embeds), layout)

    return peak_bytes(call)


@lru_cache(maxsize=64)
def _codec(config: str, width: int, height: int, dtype: str, decode: bool, tiled: bool) -> int:
    from diffusers import AutoencoderKLQwenImage

    vae = shell(AutoencoderKLQwenImage, json.loads(config), dtype)
    codec = QwenRGBACodec(vae)
    scale = codec.downscale
    wide, tall = -(-width // scale) * scale, -(-height // scale) * scale
    canvas = 0
    if tiled:
        # One tile as it runs among others, and the whole picture in overlapping tiles, in rows, and put together.
        vae.enable_tiling()
        whole = wide * tall
        overlap = (vae.tile_sample_min_height / vae.tile_sample_stride_height) ** 2
        channels = 4 if decode else 2 * codec.latent_channels / scale**2
        canvas = int(whole * channels * dtype_of(dtype).itemsize * (overlap + 2))
        wide, tall = min(wide, vae.tile_sample_min_width), min(tall, vae.tile_sample_min_height)
        vae.tile_sample_stride_width, vae.tile_sample_stride_height = wide, tall
    shape = (1, codec.latent_channels, tall // scale, wide // scale) if decode else (1, 4, tall, wide)
    given = torch.empty(shape, device="meta")
    if not tiled:
        run = (lambda: codec.decode(given)) if decode else (lambda: codec.encode(given))
    else:
        tile = given[:, :, None].to(dtype_of(dtype))
        run = (lambda: vae.tiled_decode(tile)) if decode else (lambda: vae.tiled_encode(tile))
    with still_convolutions(vae):
        return canvas + peak_bytes(run)
