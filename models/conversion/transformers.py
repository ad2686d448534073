"""The transformers' tables: FLUX.1 between Black Forest Labs' names and diffusers', Qwen-Image, which has one spelling.

Qwen blocks that PPCL pruned (arXiv 2511.16156) keep their place in the table: a block whose text stream is frozen has
``txt_proj`` instead of text modulation and MLP, one whose MLPs are linear has ``img_ffn_proj`` and ``txt_ffn_proj``. Knows
names; not rows.
"""

from __future__ import annotations

import re

from .modules import LINEAR, SCALE, WEIGHT, Module, Names, Split, same


def flux_linears(doubles: int, singles: int) -> list[Module]:
    """Every linear layer of FLUX.1: what a LoRA can change."""
    embedders = [
        same("img_in", "x_embedder"),
        same("txt_in", "context_embedder"),
        *(
            same(
                f"{theirs}.{layer}_layer",
                f"time_text_embed.{ours}.linear_{number}",
                optional=theirs == "guidance_in",
            )
            for theirs, ours in (
                ("time_in", "timestep_embedder"),
                ("vector_in", "text_embedder"),
                ("guidance_in", "guidance_embedder"),
            )
            for layer, number in (("in", 1), ("out", 2))
        ),
    ]
    blocks: list[Module] = []
    for i in range(doubles):
        theirs, ours = f"double_blocks.{i}", f"transformer_blocks.{i}"
        for stream, norm, parts, out, mlp in (
            ("img", "norm1", ("to_q", "to_k", "to_v"), "to_out.0", "ff"),
            ("txt", "norm1_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "ff_context"),
        ):
            fused = tuple(f"{ours}.attn.{part}" for part in parts)
            blocks += [
                same(f"{theirs}.{stream}_mod.lin", f"{ours}.{norm}.linear"),
                Module(f"{theirs}.{stream}_attn.qkv", fused, Split.THIRDS),
                same(f"{theirs}.{stream}_attn.proj", f"{ours}.attn.{out}"),
                same(f"{theirs}.{stream}_mlp.0", f"{ours}.{mlp}.net.0.proj"),
                same(f"{theirs}.{stream}_mlp.2", f"{ours}.{mlp}.net.2"),
            ]
    for i in range(singles):
        theirs, ours = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        fused = (*(f"{ours}.attn.to_{part}" for part in "qkv"), f"{ours}.proj_mlp")
        blocks += [
            same(f"{theirs}.modulation.lin", f"{ours}.norm.linear"),
            Module(f"{theirs}.linear1", fused, Split.LINEAR1),
            same(f"{theirs}.linear2", f"{ours}.proj_out"),
        ]
    last = [
        Module("final_layer.adaLN_modulation.1", ("norm_out.linear",), Split.SWAPPED),
        same("final_layer.linear", "proj_out"),
    ]
    return [*embedders, *blocks, *last]


def flux(names: Names) -> list[Module]:
    """Every module of FLUX.1 dev, schnell, Fill, Depth, Canny, Redux, Kontext and Krea."""
    doubles = names.count(r"double_blocks\.(\d+)\.", r"transformer_blocks\.(\d+)\.")
    singles = names.count(r"single_blocks\.(\d+)\.", r"single_transformer_blocks\.(\d+)\.")
    norms = [
        same(
            f"double_blocks.{i}.{stream}_attn.norm.{kind}_norm",
            f"transformer_blocks.{i}.attn.norm_{added}{kind[0]}",
            SCALE,
        )
        for i in range(doubles)
        for stream, added in (("img", ""), ("txt", "added_"))
        for kind in ("query", "key")
    ]
    norms += [
        same(
            f"single_blocks.{i}.norm.{kind}_norm", f"single_transformer_blocks.{i}.attn.norm_{kind[0]}", SCALE
        )
        for i in range(singles)
        for kind in ("query", "key")
    ]
    return [*flux_linears(doubles, singles), *norms]


QWEN_TOP = (
    "img_in",
    "txt_in",
    "time_text_embed.timestep_embedder.linear_1",
    "time_text_embed.timestep_embedder.linear_2",
    "norm_out.linear",
    "proj_out",
)
QWEN_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
QWEN_NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
QWEN_MLP = ("net.0.proj", "net.2")


def qwen_block(
    number: int, *, frozen_text: bool = False, linear: bool = False, resync: bool = False
) -> list[str]:
    """The linear layers of a block. ``frozen_text``: its text stream is a projection; ``linear``: its MLPs are;
    ``resync``: it ends a frozen range."""
    block = f"transformer_blocks.{number}"
    found = [f"{block}.attn.{name}" for name in QWEN_ATTENTION]
    for stream in ("img",) if frozen_text else ("img", "txt"):
        found.append(f"{block}.{stream}_mod.1")
        found += (
            [f"{block}.{stream}_ffn_proj"]
            if linear
            else [f"{block}.{stream}_mlp.{name}" for name in QWEN_MLP]
        )
    found += [f"{block}.txt_proj"] if frozen_text else []
    return found + ([f"{block}.ehs_proj"] if resync else [])


def qwen(names: Names) -> list[Module]:
    """Every module of Qwen-Image, Qwen-Image-Layered, and models that PPCL pruned in depth or width."""
    linears, norms = list(QWEN_TOP), ["txt_norm"]
    for number in qwen_blocks(names.keys):
        block = f"transformer_blocks.{number}"
        linears += qwen_block(
            number,
            frozen_text=f"{block}.txt_proj.weight" in names.keys,
            linear=f"{block}.img_ffn_proj.weight" in names.keys,
            resync=f"{block}.ehs_proj.weight" in names.keys,
        )
        norms += [f"{block}.attn.{name}" for name in QWEN_NORMS]
    extra = "time_text_embed.addition_t_embedding"
    return [
        *(same(name, name, LINEAR) for name in linears),
        *(same(name, name, WEIGHT) for name in norms),
        same(extra, extra, WEIGHT, optional=True),
    ]


def qwen_blocks(keys: object) -> list[int]:
    """The numbers of the blocks, which may have gaps, in order."""
    found = (re.match(r"transformer_blocks\.(\d+)\.", key) for key in keys)  # type: ignore[attr-defined]
    return sorted({int(match.group(1)) for match in found if match})
