"""A FLUX.1 folder, checked: the layout that Black Forest Labs publish, and the parts that pipelines here save beside it.

    scheduler/  tokenizer/  text_encoder/ (CLIP)  tokenizer_2/  text_encoder_2/ (T5)  vae/  transformer/
    [transparent_decoder/  offset_encoder/]  [region_decoder/  layer_embedding/]

Whether there is alpha for a task is ``transparency``'s question. Knows which parts there are and how they fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checked import CheckedFolder
from .family import FLUX
from .inventory import stored_tensors, weight_files
from .parts import (
    DIFFUSERS_STEM,
    check_encoder_files,
    check_tokenizer,
    check_weights,
    encoder_class,
    encoder_width,
    part_config,
    read_json,
)

VAE_CLASS = "AutoencoderKL"
ENCODERS = {"text_encoder": ("CLIPTextModel", "CLIP"), "text_encoder_2": ("T5EncoderModel", "T5")}
ALPHA_PARTS = {
    "transparent_decoder": "TransparentUNet",
    "offset_encoder": "LatentOffsetEncoder",
    "region_decoder": "RegionDecoder",
    "layer_embedding": "LayerEmbedding",
}
PATCH = 4  # channels of a token for one of a latent
_OTHER_INPUTS = {
    2: "FLUX.1 Depth or Canny, which need a picture beside the noise",
    6: "FLUX.1 Fill, which paints into pictures",
}


def check_flux(path: Path, remedy: str, weights: bool = True) -> CheckedFolder:
    """Raises InputError for other classes than FLUX.1's, for wrong weights, for the conditioned models (Depth, Canny, Fill),
    and for parts that do not fit one another.
    ``weights``: the transformer's are looked at."""
    transformer = part_config(path / "transformer", FLUX.transformer, remedy)
    vae = part_config(path / "vae", VAE_CLASS, remedy)
    _check_inputs(path, transformer, vae, remedy)
    parts = {"transformer": transformer, "vae": vae}
    for name in ENCODERS:
        parts[name] = _encoder(path, name, transformer, remedy)
    check_tokenizer(path / "tokenizer", remedy)
    check_tokenizer(path / "tokenizer_2", remedy, byte_pairs=False)
    check_weights(path / "vae", VAE_CLASS, vae, remedy)
    if weights:
        _check_guidance(path / "transformer", transformer, remedy)
        check_weights(path / "transformer", FLUX.transformer, transformer, remedy)
    for name in ENCODERS:
        check_encoder_files(path / name, remedy)
    for name in ALPHA_PARTS:
        if (path / name).is_dir():
            parts[name] = check_alpha_part(path / name, name, transformer, vae, remedy)
    return CheckedFolder(path=path, family=FLUX, parts=parts, encoder_class=ENCODERS["text_encoder"][0])


def check_alpha_part(
    folder: Path, name: str, transformer: Mapping[str, Any], vae: Mapping[str, Any], remedy: str
) -> dict[str, Any]:
    """The config of a part that alpha comes from, checked against the transformer and the VAE it is to serve."""
    config = part_config(folder, ALPHA_PARTS[name], remedy)
    check_weights(folder, ALPHA_PARTS[name], config, remedy)
    if name == "layer_embedding":
        width = transformer.get("num_attention_heads", 24) * transformer.get("attention_head_dim", 128)
        if config.get("dim") != width:
            raise InputError(
                f"The layer embedding in {folder} has width {config.get('dim')}, but the transformer works at {width}: it "
                f"belongs to another model; {remedy}."
            )
        return config
    check_rgb(folder, vae)
    found, wanted = config.get("latent_channels", 16), vae.get("latent_channels", 4)
    if found != wanted:
        raise InputError(
            f"The {name} in {folder} reads {found} latent channels, but the VAE makes {wanted}: it belongs to another "
            f"model; {remedy}."
        )
    return config


def check_rgb(decoder: Path, vae: Mapping[str, Any]) -> None:
    """Raises InputError where a decoder that reads an RGB VAE's latents meets another VAE."""
    channels = vae.get("in_channels", 3)
    if channels != 3:
        raise InputError(
            f"{decoder} makes alpha from an RGB VAE, but this model's VAE works on {channels} channels and makes it by "
            "itself: leave one of the two out."
        )


def _check_inputs(path: Path, transformer: Mapping[str, Any], vae: Mapping[str, Any], remedy: str) -> None:
    channels, latents = transformer.get("in_channels", 64), vae.get("latent_channels", 4) * PATCH
    if channels == latents:
        return
    other = _OTHER_INPUTS.get(channels // latents) if latents and channels % latents == 0 else None
    if other is not None:
        raise InputError(
            f"The transformer in {path / 'transformer'} takes {channels} channels per token, {latents} of them noise: it is "
            f"{other}. Give FLUX.1 dev or schnell; in Python FluxBackbone runs the others on layouts with clean frames."
        )
    raise InputError(
        f"The transformer in {path} takes {channels} channels per token, but the VAE's latents give {latents}: they belong "
        f"to different models; {remedy}."
    )


def _encoder(path: Path, name: str, transformer: Mapping[str, Any], remedy: str) -> dict[str, Any]:
    folder = path / name
    config = read_json(folder / "config.json", remedy)
    (wanted, title), found = ENCODERS[name], encoder_class(config)
    if found != wanted:
        swapped = any(found == other for other, _ in ENCODERS.values())
        hint = ": the two text encoders have changed places" if swapped else ""
        raise InputError(
            f"{folder / 'config.json'} describes a text encoder {found}, but FLUX has {title} there ({wanted}){hint}; "
            f"{remedy}."
        )
    key = "pooled_projection_dim" if name == "text_encoder" else "joint_attention_dim"
    width, needed = encoder_width(config), transformer.get(key, 768 if name == "text_encoder" else 4096)
    if width != needed:
        raise InputError(
            f"The text encoder in {folder} gives embeddings of width {width}, but the transformer takes {needed} from "
            f"{title}: it is the wrong encoder; {remedy}."
        )
    return config


def _check_guidance(folder: Path, config: Mapping[str, Any], remedy: str) -> None:
    """dev and schnell differ in one embedder; a config of the one with weights of the other is a common mix."""
    told = bool(config.get("guidance_embeds", False))
    keys = stored_tensors(weight_files(folder, DIFFUSERS_STEM, remedy), remedy)
    has = any(".guidance_embedder." in key for key in keys)
    if told == has:
        return
    mixed = ("dev", "schnell") if told else ("schnell", "dev")
    raise InputError(
        f"{folder / 'config.json'} is that of FLUX.1 {mixed[0]} (guidance_embeds {str(told).lower()}), but the weights "
        f"beside it {'have no' if told else 'have a'} guidance embedder, as {mixed[1]}'s: they belong to different models; "
        f"{remedy}."
    )
