"""What FLUX's transformer, and what makes its pixels, hold while they work. Knows those networks and shapes."""

from __future__ import annotations

import json
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch

from ..backbones.flux import FluxBackbone
from ..codecs import Codec, KLRGBACodec, LayerDiffuseCodec, RegionCodec
from ..codecs.layerdiffuse.augment import SYMMETRIES
from ..codecs.tiles import PLANNED
from ..folder_flux import VAE_CLASS
from ..layout import Layout
from ..parts import component_class
from ..text import TextFeatures
from .dry_run import adapted, dtype_of, peak_bytes, shell
from .inventory import Inventory
from .work import Work


def layout_of(model: Inventory, work: Work) -> Layout:
    """The frames of a call: one layer, or the whole picture and its layers, cropped where they have boxes."""
    cell = model.cell
    rows, columns = -(-work.height // cell), -(-work.width // cell)
    if work.frames == 1:
        return Layout.one_layer(rows, columns)
    return Layout.text_to_layers(rows, columns, work.layers, work.cells(cell))


def step(model: Inventory, work: Work, layout: Layout, dtype: str) -> int:
    """The most that one call of the transformer holds; rotary angles are computed anew in each."""
    config = {**model.transformer, "num_layers": 1, "num_single_layers": 1}
    text = model.text_tokens(work.layers)
    # Positions stay: three float32 for every token.
    kept = 3 * 4 * (layout.num_image_tokens + text)
    loras = model.adapters > 0
    return kept + _step(json.dumps(config, sort_keys=True, default=list), layout, text, dtype, loras)


@lru_cache(maxsize=64)
def _step(config: str, layout: Layout, text: int, dtype: str, loras: bool) -> int:
    from diffusers import FluxTransformer2DModel

    transformer = shell(FluxTransformer2DModel, json.loads(config), dtype)
    if loras:
        adapted(transformer)
    values = transformer.config
    empty = {"device": "meta", "dtype": dtype_of(dtype)}
    words = TextFeatures(
        embeds=torch.empty(1, text, int(values.joint_attention_dim), **empty),
        pooled=torch.empty(1, int(values.pooled_projection_dim), **empty),
    )
    latents = torch.empty(1, layout.num_image_tokens, int(values.in_channels), device="meta")
    sigma = torch.empty(1, device="meta")
    backbone = FluxBackbone(transformer)
    backbone.ids(layout.with_text(words.spans), "meta")
    return peak_bytes(lambda: backbone.velocity(latents, sigma, words, layout))


@lru_cache(maxsize=64)
def codec(model: Inventory, work: Work, dtype: str, *, decode: bool, tiled: bool) -> int:
    """The most that the VAE and what makes alpha beside it hold, all pictures of a call that are there at once included."""
    parts = {
        name: shell(component_class(VAE_CLASS if name == "vae" else kind), config, dtype)
        for name, (kind, config) in {"vae": (VAE_CLASS, model.vae), **model.alpha}.items()
    }
    return (_one_layer if work.frames == 1 else _stack)(model, work, parts, dtype, decode, tiled)


def _one_layer(
    model: Inventory, work: Work, parts: dict[str, Any], dtype: str, decode: bool, tiled: bool
) -> int:
    codec: Codec
    if "transparent_decoder" in parts:
        # One of its passes stands for all; the results of those before it wait for their median.
        codec = LayerDiffuseCodec(
            parts["vae"], parts["transparent_decoder"], parts.get("offset_encoder"), augmented=False
        )
    else:
        codec = KLRGBACodec(parts["vae"])
    whole = work.width * work.height
    width, height = work.width, work.height
    beside = waiting = 0
    if tiled:
        # What is put together of tiles, and one of them: sums, their quotient and its cast, of RGB and then of RGBA.
        side, size = PLANNED.tile or 0, dtype_of(dtype).itemsize
        width, height = min(width, side), min(height, side)
        beside = whole * (3 * size + 4 * (4 + 4 + size) + 4) if (width, height) != work.size else 0
    if not decode:
        given = torch.empty(1, 4, height, width, device="meta")
        return whole * 4 * 4 * (2 if tiled else 1) + beside + peak_bytes(lambda: codec.encode(given))
    scale = codec.downscale
    given = torch.empty(1, codec.latent_channels, height // scale, width // scale, device="meta")
    if "transparent_decoder" in parts:
        waiting = (len(SYMMETRIES) - 1) * 4 * width * height * dtype_of(dtype).itemsize
    # A copy of the result is cleared outside of boxes.
    return beside + waiting + peak_bytes(lambda: codec.decode(given).clone())


def _stack(model: Inventory, work: Work, parts: dict[str, Any], dtype: str, decode: bool, tiled: bool) -> int:
    """Never encodes; decodes all frames together, or what passes the VAE in tiles and the layers beside them."""
    if not decode:
        return 0
    layout = layout_of(model, work)
    tokens = torch.empty(1, layout.num_image_tokens, int(model.transformer["in_channels"]), device="meta")
    vae = parts["vae"]
    codec = RegionCodec(_Passed(vae) if tiled else vae, parts.get("region_decoder"))

    def call() -> Any:
        pixels = codec.decode(codec.frames(tokens, layout), layout)
        return pixels, pixels.clone()  # one is cleared outside of boxes

    whole = peak_bytes(call)
    if not tiled:
        return whole
    # Beside the frames' latents and what is decoded already: sums of tiles, their quotient and its cast, and one tile.
    side, size = PLANNED.tile or 0, dtype_of(dtype).itemsize
    width, height, area = min(work.width, side), min(work.height, side), work.width * work.height
    scale, channels = codec.downscale, int(vae.config.out_channels)
    given = torch.empty(1, channels, height, width, device="meta", dtype=dtype_of(dtype))
    latents = torch.empty(
        1, int(vae.config.latent_channels), height // scale, width // scale, device="meta", dtype=dtype_of(dtype)
    )
    tile = max(peak_bytes(lambda: vae.encode(given)), peak_bytes(lambda: vae.decode(latents)))
    done = (work.frames if channels == 4 else 2) * 4 * 4 * area
    return max(whole, done + area * (channels * (4 + 4 + size) + 4) + tile)


class _Passed:
    """A VAE whose pictures cost nothing but themselves."""

    def __init__(self, vae: Any) -> None:
        self.config = vae.config
        self.dtype = vae.dtype
        self._scale = 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(self, pixels: torch.Tensor) -> Any:
        height, width = (size // self._scale for size in pixels.shape[-2:])
        mode = pixels.new_empty(len(pixels), int(self.config.latent_channels), height, width)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: mode))

    def decode(self, latents: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        height, width = (size * self._scale for size in latents.shape[-2:])
        return (latents.new_empty(len(latents), int(self.config.out_channels), height, width),)
