"""What the parts of a FLUX.1 weigh: its two text encoders, its transformer, its VAE, and what it takes alpha from.

From configs and headers alone, as ``inventory``. Knows shapes and counts; not budgets, devices or how a part is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..checked import CheckedFolder
from ..codecs.layerdiffuse.files import PUBLISHED_DECODER, PUBLISHED_ENCODER
from ..family import FLUX
from ..folder import read_json
from ..folder_flux import ALPHA_PARTS
from ..text.flux import CLIP_TOKENS
from ..transparency import PUBLISHED, SERVES, AlphaSource, find_alpha
from .inventory import (
    CLIP_ENCODER,
    T5_ENCODER,
    Encoder,
    Inventory,
    count_parts,
    encoder_of,
    folder_encoder,
    part_size,
)

SCHNELL = "black-forest-labs/FLUX.1-schnell"
# FLUX.1 as published: 11,901,408,320 parameters of dev's transformer, 83,819,683 of the VAE, 4,762,310,656 of T5 and
# 123,060,480 of CLIP.
TRANSFORMER: dict[str, Any] = {
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
}
FLUX_VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
T5_XXL: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
CLIP_L: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
# What a task takes alpha from where nothing is named: parts by their classes and configs.
_LAYERDIFFUSE = {
    "transparent_decoder": ("TransparentUNet", PUBLISHED_DECODER),
    "offset_encoder": ("LatentOffsetEncoder", PUBLISHED_ENCODER),
}
_ART: dict[str, tuple[str, dict[str, Any]]] = {"region_decoder": ("RegionDecoder", {})}
_PUBLISHED_ALPHA = {"transparent": _LAYERDIFFUSE, "generate": _ART}
Alpha = dict[str, tuple[str, Mapping[str, Any]]]


def flux_folder(
    checked: CheckedFolder, name: str, remedy: str, task: str, transparency: Path | None
) -> Inventory:
    """The inventory of a checked folder. ``transparency``: where alpha comes from, the folder's own parts by default; a task
    for which neither has any is planned with what was published for it."""
    path = checked.path
    scheduler = read_json(path / "scheduler" / "scheduler_config.json", remedy)
    transformer = read_json(path / "transformer" / "config.json", remedy)
    told = bool(transformer.get("guidance_embeds", False))
    source = find_alpha(path, transparency, remedy)
    vae = read_json(source.folders.get("vae", path / "vae") / "config.json", remedy)
    return flux_parts(
        name,
        transformer,
        vae,
        [
            folder_encoder(path / "text_encoder", remedy, CLIP_TOKENS),
            folder_encoder(path / "text_encoder_2", remedy),
        ],
        alpha=_alpha(source, task, remedy),
        fast=not told and not scheduler.get("use_dynamic_shifting", False),
        folder=path,
    )


@lru_cache(maxsize=4)
def published_flux(name: str, task: str) -> Inventory:
    """FLUX.1 dev or schnell at full size, without one of its files, with what was published for ``task``."""
    fast = name == SCHNELL
    return flux_parts(
        name,
        {**TRANSFORMER, "guidance_embeds": not fast},
        FLUX_VAE,
        [random_encoder(CLIP_ENCODER, CLIP_L, CLIP_TOKENS), random_encoder(T5_ENCODER, T5_XXL)],
        alpha=_alpha(PUBLISHED, task, ""),
        fast=fast,
    )


def flux_parts(
    name: str,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    encoders: list[Encoder],
    *,
    alpha: Alpha,
    fast: bool,
    folder: Path | None = None,
) -> Inventory:
    """The inventory of parts by their configs; ``alpha``: parts by their classes and configs."""
    beside = sum(part_size(*part) for part in alpha.values())
    return count_parts(
        name, FLUX, transformer, vae, encoders, beside=beside, alpha=alpha, fast=fast, folder=folder
    )


def random_encoder(name: str, config: Mapping[str, Any], tokens: int | None = None) -> Encoder:
    """A text encoder by its config alone."""
    import torch
    import transformers

    kind = getattr(transformers, name)
    with torch.device("meta"):
        model = kind(kind.config_class(**config))
    return encoder_of(
        name, config, {key: tuple(value.shape) for key, value in model.named_parameters()}, tokens
    )


def _alpha(source: AlphaSource, task: str, remedy: str) -> Alpha:
    """The parts that make alpha, all of which are loaded whichever the task is."""
    found: Alpha = {
        name: (ALPHA_PARTS[name], read_json(folder / "config.json", remedy))
        for name, folder in source.folders.items()
        if name in ALPHA_PARTS
    }
    if source.file_task is not None:
        found.update(_PUBLISHED_ALPHA[source.file_task])
    elif source.channels != 4 and SERVES[task] not in found:
        found.update(_PUBLISHED_ALPHA[task])
    return found
