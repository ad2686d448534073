"""What each phase of a run takes beside the weights: text, encoding, one denoising step, decoding.

One block stands for all (they run one after the other and leave nothing behind), so a dry run costs a tenth of a second
at any size. Knows networks and shapes; not what memory there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ...errors import InputError
from ..backbones.qwen import QwenBackbone
from ..codecs import QwenRGBACodec, still_convolutions
from ..folder import EMBEDDED_ENCODER
from ..layout import Layout
from ..text import TextFeatures
from .dry_run import peak_bytes
from .inventory import Inventory

LATENT_COPIES = 12  # float32 copies of all tokens that a guided step, its noise and its features come to
CAPTION_TOKENS = 512
PICTURE_PATCH = 28  # pixels along each side of one of the captioner's tokens


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call: ``width`` x ``height`` pixels at the model's size, ``frames`` of that size in the token sequence, of which
    ``layers`` come back as layers; ``batch`` results at once. ``steps``: entries of a modulation table."""

    width: int
    height: int
    layers: int
    frames: int
    batch: int = 1
    steps: int = 50

    def __post_init__(self) -> None:
        for name in ("width", "height", "layers", "frames", "batch", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1 to plan memory for, not {getattr(self, name)}")

    @classmethod
    def decompose(cls, width: int, height: int, layers: int, *, batch: int = 1, steps: int = 50) -> Work:
        """A picture to ``layers`` layers: the composite and the picture itself are frames too."""
        return cls(width=width, height=height, layers=layers, frames=layers + 2, batch=batch, steps=steps)


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of a plan's word for it."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def step_bytes(model: Inventory, work: Work, dtype: str) -> int:
    """The most that one call of the transformer holds beside its weights, and the tokens that stay from step to step."""
    rows, columns = _grid(model, work)
    stack = work.frames - 1  # which frame is what makes no difference to their sizes
    layout = Layout.text_to_layers(rows, columns, stack) if stack else Layout.one_layer(rows, columns)
    config = {**model.transformer, "num_layers": 1}
    text = model.text_tokens(work.layers)
    tokens = work.frames * rows * columns
    peak = _step(json.dumps(config, sort_keys=True, default=list), layout, tokens, text, work.batch, dtype)
    channels = int(model.transformer.get("in_channels", 64))
    width = int(model.transformer.get("joint_attention_dim", 3584))
    # Rotary frequencies are complex64, of both branches; embeddings of both branches.
    kept = 2 * (tokens + text) * int(model.transformer["attention_head_dim"]) * 4
    kept += work.batch * (LATENT_COPIES * tokens * channels * 4 + 2 * text * width * dtype_of(dtype).itemsize)
    return peak + kept


def table_bytes(model: Inventory, work: Work, dtype: str) -> int:
    """What a modulation table holds for a schedule."""
    return work.steps * model.modulation_rows * dtype_of(dtype).itemsize


def codec_bytes(model: Inventory, work: Work, dtype: str, *, decode: bool, tiled: bool) -> int:
    """The most that the VAE holds beside its weights for one picture, which is how pictures pass it."""
    config = json.dumps(dict(model.vae), sort_keys=True, default=list)
    return _codec(config, work.width, work.height, dtype, decode, tiled)


def text_bytes(model: Inventory, work: Work, dtype: str) -> int:
    """The most that the text encoder holds beside its weights: for the longest prompt, or for a caption of the picture
    with what it remembers of every token."""
    tokens = model.text_tokens(work.layers)
    memory = 0
    if model.captions:
        seen = -(-work.width // PICTURE_PATCH) * -(-work.height // PICTURE_PATCH)
        tokens = max(tokens, seen + CAPTION_TOKENS)
        text = model.encoder_config.get("text_config", {})
        heads = int(text.get("num_key_value_heads", 4))
        width = int(text.get("hidden_size", 3584)) // int(text.get("num_attention_heads", 28))
        memory = (
            2 * tokens * heads * width * int(text.get("num_hidden_layers", 28)) * dtype_of(dtype).itemsize
        )
    config = json.dumps(dict(model.encoder_config), sort_keys=True, default=str)
    return memory + _text(model.encoder_class, config, tokens, work.batch, dtype)


def _grid(model: Inventory, work: Work) -> tuple[int, int]:
    return -(-work.height // model.cell), -(-work.width // model.cell)


def _shell(model_class: Any, config: Mapping[str, Any], dtype: str) -> Any:
    with torch.device("meta"):
        model = model_class.from_config(dict(config))
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(
                    parameter.to(dtype_of(dtype)), requires_grad=False
                )
    return model.eval()


@lru_cache(maxsize=64)
def _step(config: str, layout: Layout, tokens: int, text: int, batch: int, dtype: str) -> int:
    from diffusers import QwenImageTransformer2DModel

    transformer = _shell(QwenImageTransformer2DModel, json.loads(config), dtype)
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

    vae = _shell(AutoencoderKLQwenImage, json.loads(config), dtype)
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


@lru_cache(maxsize=64)
def _text(encoder_class: str, config: str, tokens: int, batch: int, dtype: str) -> int:
    import transformers

    values = json.loads(config)
    kind = getattr(transformers, encoder_class)
    if encoder_class == EMBEDDED_ENCODER:
        settings = transformers.T5Config(**{**values, "num_layers": 1})
    else:
        text = {**values.get("text_config", {}), "num_hidden_layers": 1, "layer_types": None}
        vision = {**values.get("vision_config", {}), "depth": 1}
        settings = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    with torch.device("meta"):
        encoder = kind(settings).to(dtype_of(dtype)).eval()
    ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
    return peak_bytes(lambda: encoder(input_ids=ids, output_hidden_states=True))
