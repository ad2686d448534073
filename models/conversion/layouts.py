"""The layouts there are, and which one a checkpoint is in: told from its keys alone. Knows names, not rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from .modules import Style, Table, shown
from .transformers import flux, qwen
from .vaes import kl_vae, layerdiffuse_decoder, layerdiffuse_encoder, wan_vae
from .views import PARTS

COMFY_MODEL = "model.diffusion_model."


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``family`` and ``name`` as the user types them; ``mark``: a key, without ``prefix``, that only this spelling has."""

    family: str
    name: str
    style: Style
    mark: str
    words: str
    prefix: str = ""


def _flux(name: str, style: Style, words: str, prefix: str = "") -> Layout:
    mark = "x_embedder.weight" if style == "diffusers" else "double_blocks.0.img_attn.qkv.weight"
    return Layout(
        family="flux", name=name, style=style, mark=mark, words=f"FLUX.1's transformer {words}", prefix=prefix
    )


def _kl(name: str, style: Style, words: str, prefix: str = "") -> Layout:
    mark = (
        "decoder.mid_block.resnets.0.norm1.weight"
        if style == "diffusers"
        else "decoder.mid.block_1.norm1.weight"
    )
    return Layout(
        family="kl-vae", name=name, style=style, mark=mark, words=f"a picture VAE {words}", prefix=prefix
    )


def _wan(name: str, style: Style, words: str, prefix: str = "") -> Layout:
    mark = (
        "decoder.mid_block.resnets.0.norm1.gamma"
        if style == "diffusers"
        else "decoder.middle.0.residual.0.gamma"
    )
    return Layout(
        family="qwen-vae", name=name, style=style, mark=mark, words=f"Qwen-Image's VAE {words}", prefix=prefix
    )


def _part(family: str, mark: str, words: str) -> Layout:
    return Layout(family=family, name="separate", style="diffusers", mark=mark, words=words)


OURS, IN_COMFY = "in diffusers' layout", "under ComfyUI's prefix"
LAYOUTS: tuple[Layout, ...] = (
    _flux("diffusers", "diffusers", OURS),
    _flux("bfl", "original", "in Black Forest Labs' layout"),
    _flux("comfy", "original", IN_COMFY, COMFY_MODEL),
    Layout(
        family="qwen",
        name="diffusers",
        style="diffusers",
        mark="txt_norm.weight",
        words=f"Qwen-Image's transformer {OURS}",
    ),
    Layout(
        family="qwen",
        name="comfy",
        style="diffusers",
        mark="txt_norm.weight",
        words=f"Qwen-Image's transformer {IN_COMFY}",
        prefix=COMFY_MODEL,
    ),
    _kl("diffusers", "diffusers", OURS),
    _kl("original", "original", "in the original layout"),
    _kl("comfy", "original", "in the original layout, under vae.", "vae."),
    _kl("ldm", "original", "in the original layout, under first_stage_model.", "first_stage_model."),
    _wan("diffusers", "diffusers", OURS),
    _wan("original", "original", "in Wan's layout"),
    _wan("comfy", "original", "in Wan's layout, under vae.", "vae."),
    _part("layerdiffuse-decoder", "latent_conv_in.weight", "LayerDiffuse's decoder"),
    _part("layerdiffuse-encoder", "blocks.16.weight", "LayerDiffuse's offset encoder"),
)
TABLES: dict[str, Table] = {
    "flux": flux,
    "qwen": qwen,
    "kl-vae": kl_vae,
    "qwen-vae": wan_vae,
    "layerdiffuse-decoder": layerdiffuse_decoder,
    "layerdiffuse-encoder": layerdiffuse_encoder,
}


def find_layout(keys: Collection[str], where: Path) -> Layout:
    """The one layout whose mark the keys hold. Raises InputError for none and for two, with the first keys."""
    found = [one for one in LAYOUTS if one.prefix + one.mark in keys]
    if not found:
        raise InputError(
            f"{where} is in no layout known here: its first keys are {shown(sorted(keys)) or 'none at all'}. Known are "
            f"{', '.join(dict.fromkeys(one.family for one in LAYOUTS))}, LoRAs of FLUX.1 and Qwen-Image, and PPCL's files."
        )
    if len(found) > 1:
        both = " and ".join(f"{one.words} ({one.prefix}{one.mark})" for one in found[:2])
        raise InputError(
            f"{where} holds two things: {both}; say which with --part {' or --part '.join(PARTS)}, or give a file of one."
        )
    return found[0]


def layouts_of(family: str) -> dict[str, Layout]:
    """Every layout of a family by its name."""
    return {one.name: one for one in LAYOUTS if one.family == family}
