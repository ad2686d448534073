"""What ``measuring`` does on FLUX: scaled models of the published classes, and a run's phases as the pipelines have them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from ..backbones.flux import FluxBackbone
from ..codecs import Codec, KLRGBACodec, LayerDiffuseCodec, RegionCodec
from ..codecs.tiles import PLANNED, Tiling
from ..text import TextFeatures
from ..text.flux import CLIP_TOKENS
from .activations_flux import layout_of
from .inventory import CLIP_ENCODER, T5_ENCODER, Inventory
from .inventory_flux import CLIP_L, FLUX_VAE, T5_XXL, TRANSFORMER, Alpha, flux_parts, random_encoder
from .placing import computing_device
from .rehearsal import Rehearsal
from .work import Work

FLUX_DEV = "black-forest-labs/FLUX.1-dev"
ONE, STACK = "transparent", "generate"


def flux_call(size: int, layers: int, steps: int, stack: bool) -> Work:
    """One layer from a picture of ``size`` x ``size`` pixels, or ``layers`` layers of which those above the background have
    a quarter of the canvas each."""
    work = Work(width=size, height=size, layers=1, frames=1, steps=steps)
    if not stack:
        return work
    box = (0, 0, size // 2, size // 2)
    boxes = (None, *(box for _ in range(layers - 1)))
    return replace(work, layers=layers, frames=layers + 1, branches=2, boxes=boxes, picture=False)


def scaled_flux(shape: tuple[int, int, int], stack: bool) -> Inventory:
    """The published classes at another size. ``shape``: width, heads, and blocks of both streams; there are twice as many
    single ones."""
    width, heads, blocks = shape
    transformer = {
        **TRANSFORMER,
        "num_layers": blocks,
        "num_single_layers": 2 * blocks,
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "joint_attention_dim": width,
        "pooled_projection_dim": 256,
        "axes_dims_rope": scaled_axes(width // heads),
        "guidance_embeds": True,
    }
    t5 = {
        **T5_XXL,
        "vocab_size": 8192,
        "d_model": width,
        "d_ff": 2 * width,
        "num_layers": blocks,
        "num_heads": max(1, width // 64),
        "dropout_rate": 0.0,
    }
    clip = {
        **CLIP_L,
        "vocab_size": 1024,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    alpha: Alpha = {
        "transparent_decoder": ("TransparentUNet", {"widths": (16, 16, 32, 64, 64, 128, 128)}),
        "offset_encoder": ("LatentOffsetEncoder", {"widths": (8, 16, 32, 64)}),
    }
    if stack:
        alpha = {"region_decoder": ("RegionDecoder", {"dim": 192, "heads": 3, "layers": 4})}
    return flux_parts(
        f"random FLUX, {blocks} and {2 * blocks} blocks of {width}",
        transformer,
        {**FLUX_VAE, "block_out_channels": [32, 64, 128, 128]},
        [random_encoder(CLIP_ENCODER, clip, CLIP_TOKENS), random_encoder(T5_ENCODER, t5)],
        alpha=alpha,
        fast=False,
    )


def scaled_axes(head: int) -> tuple[int, int, int]:
    """The published split of a head's width, 16 : 56 : 56."""
    first = head // 8
    rest = (head - first) // 2
    return first, rest, rest


def run_flux(
    parts: Rehearsal,
    model: Inventory,
    work: Work,
    device: torch.device,
    steps: int,
    done: Callable[[str], None],
) -> list[float]:
    """A call's phases, each told to ``done``; seconds of every step."""
    means = parts.residency.means
    tiling = PLANNED if means.tiling else None
    layout = layout_of(model, work)
    parts.residency.text()
    texts = [_words(parts, model.text_tokens(work.layers), number + 1) for number in range(work.branches)]
    done("text")
    parts.residency.sampling()
    if work.picture:
        picture = torch.rand(1, 4, work.height, work.width, device=device)
        _one_layer_codec(parts, tiling).encode(picture)
    done("encode")
    backbone = FluxBackbone(parts.transformer)
    tokens = torch.randn(1, layout.num_image_tokens, int(model.transformer["in_channels"]), device=device)
    sigmas = torch.linspace(1, 0, steps + 1)[:-1]
    backbone.expect_times(sigmas.to(backbone.dtype))
    seconds = []
    for sigma in sigmas:
        began = _now(device)
        at = sigma.to(device, backbone.dtype).expand(1)
        told = [backbone.velocity(tokens.to(backbone.dtype), at, text, layout).float() for text in texts]
        tokens = tokens - sum(told) / (steps * len(told))
        seconds.append(_now(device) - began)
    done("denoise")
    if work.frames > 1:
        stack = RegionCodec(parts.vae, parts.alpha.get("region_decoder"), tiling)
        pixels = stack.decode(stack.frames(tokens, layout), layout)
    else:
        pixels = _one_layer_codec(parts, tiling).decode(backbone.unpack(tokens, layout.height, layout.width))
    pixels.clone()
    done("decode")
    return seconds


def _one_layer_codec(parts: Rehearsal, tiling: Tiling | None) -> Codec:
    if "transparent_decoder" not in parts.alpha:
        return KLRGBACodec(parts.vae, tiling=tiling)
    return LayerDiffuseCodec(
        parts.vae, parts.alpha["transparent_decoder"], parts.alpha["offset_encoder"], tiling=tiling
    )


def _words(parts: Rehearsal, length: int, word: int) -> TextFeatures:
    """Features of a prompt of one word, again and again."""
    clip, t5 = parts.encoders
    ids = [
        torch.full((1, count), word, dtype=torch.long, device=computing_device(encoder))
        for encoder, count in ((t5, length), (clip, CLIP_TOKENS))
    ]
    embeds = t5(ids[0], output_hidden_states=False)[0]
    return TextFeatures(embeds=embeds, pooled=clip(ids[1], output_hidden_states=False).pooler_output)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
