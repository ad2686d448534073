"""Whole models between layouts: round trips to the bit, diffusers' own converters beside ours, equal outputs, full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
)
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_ldm_vae_checkpoint,
    convert_wan_vae_to_diffusers,
)

from acetate.models.conversion.layouts import TABLES, find_layout, layouts_of
from acetate.models.conversion.modules import plan_modules
from acetate.models.conversion.source import Stored
from acetate.models.inventory import PUBLISHED_TRANSFORMER, PUBLISHED_VAE, expected_shapes

CASES = {
    "flux, guidance": ("flux", {}, ("bfl", "comfy")),
    "flux, schnell": ("flux", {"guidance": False}, ("bfl", "comfy")),
    "qwen": ("qwen", {}, ("comfy",)),
    "qwen, not layered": ("qwen", {"use_additional_t_cond": False}, ("comfy",)),
    "kl, as FLUX": ("kl", {}, ("original", "comfy", "ldm")),
    "kl, as SDXL": ("kl", {"quant": True, "layers_per_block": 1}, ("original", "ldm")),
    "kl, AlphaVAE": ("kl", {"in_channels": 4, "out_channels": 4}, ("original",)),
    "qwen vae": ("qwen_vae", {}, ("original", "comfy")),
    "qwen vae, one block a level": (
        "qwen_vae",
        {"num_res_blocks": 1, "dim_mult": [1, 2, 2], "temperal_downsample": [False, True]},
        ("original",),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("case", CASES)
def test_round_trips_are_exact(case: str, dtype: torch.dtype, tmp_path: Path, tools: Any) -> None:
    kind, settings, layouts = CASES[case]
    state = {key: value.to(dtype) for key, value in getattr(tools, kind)(**settings).state_dict().items()}
    for layout in layouts:
        there = tools.converted(state, layout, tmp_path / layout)
        tools.assert_equal(tools.converted(there, "diffusers", tmp_path / f"{layout}-back"), state)
        assert sum(map(torch.numel, there.values())) == sum(map(torch.numel, state.values()))


def test_layouts_of_one_style_reach_each_other(tmp_path: Path, tools: Any) -> None:
    bfl = tools.converted(tools.flux().state_dict(), "bfl", tmp_path)
    comfy = tools.converted(bfl, "comfy", tmp_path / "comfy")
    assert {f"model.diffusion_model.{key}" for key in bfl} == set(comfy)
    tools.assert_equal(tools.converted(comfy, "bfl", tmp_path / "bfl"), bfl)


def qwen_inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(6)
    return {
        "hidden_states": torch.randn(1, 32, 16, generator=generator),
        "encoder_hidden_states": torch.randn(1, 5, 24, generator=generator),
        "encoder_hidden_states_mask": torch.ones(1, 5, dtype=torch.long),
        "timestep": torch.tensor([0.5]),
        "img_shapes": [[(1, 4, 4), (1, 4, 4)]],
        "additional_t_cond": torch.tensor([0]),
    }


@pytest.mark.parametrize("kind", ["flux", "qwen", "kl", "qwen_vae"])
@torch.no_grad()
def test_a_converted_model_computes_the_same_bits(kind: str, tmp_path: Path, tools: Any) -> None:
    model = getattr(tools, kind)()
    through = {"flux": "bfl", "qwen": "comfy", "kl": "original", "qwen_vae": "original"}[kind]
    back = tools.converted(
        tools.converted(model.state_dict(), through, tmp_path), "diffusers", tmp_path / "b"
    )
    twin = type(model).from_config(model.config).eval()
    twin.load_state_dict(back, strict=True)
    if kind in ("flux", "qwen"):
        inputs = tools.flux_inputs() if kind == "flux" else qwen_inputs()
        assert torch.equal(model(**inputs).sample, twin(**inputs).sample)
        return
    pixels = torch.randn(1, 3, 16, 16) if kind == "kl" else torch.randn(1, 4, 1, 16, 16)
    latents = model.encode(pixels).latent_dist.mode()
    assert torch.equal(latents, twin.encode(pixels).latent_dist.mode())
    assert torch.equal(model.decode(latents).sample, twin.decode(latents).sample)


def test_flux_as_diffusers_converts_it(tmp_path: Path, tools: Any) -> None:
    """Its converter knows one width only, 3072; so the matrix that it cuts is as large as the real one."""
    state = tools.converted(tools.flux(num_single_layers=1).state_dict(), "bfl", tmp_path)
    generator = torch.Generator().manual_seed(7)
    state["single_blocks.0.linear1.weight"] = torch.randint(
        -128, 127, (7 * 3072, 3072), dtype=torch.int8, generator=generator
    )
    state["single_blocks.0.linear1.bias"] = torch.randn(7 * 3072, generator=generator)
    for prefix in ("", "model.diffusion_model."):
        named = {prefix + key: value for key, value in state.items()}
        ours = tools.converted(named, "diffusers", tmp_path / "ours")
        tools.assert_equal(ours, convert_flux_transformer_checkpoint_to_diffusers(dict(named)))


@pytest.mark.parametrize(("kind", "layout"), [("kl", "original"), ("qwen", "diffusers")])
def test_from_single_file_reads_what_we_write(kind: str, layout: str, tmp_path: Path, tools: Any) -> None:
    model = getattr(tools, kind)()
    model.save_config(tmp_path / "config")
    tools.converted(model.state_dict(), layout, tmp_path)
    read = type(model).from_single_file(
        str(tmp_path / "out.safetensors"), config=str(tmp_path / "config"), local_files_only=True
    )
    tools.assert_equal(read.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    "settings", [{}, {"quant": True, "layers_per_block": 1}, {"in_channels": 4, "out_channels": 4}]
)
def test_picture_vaes_as_diffusers_converts_them(
    settings: dict[str, Any], tmp_path: Path, tools: Any
) -> None:
    vae = tools.kl(**settings)
    for layout in ("original", "comfy", "ldm"):
        theirs = tools.converted(vae.state_dict(), layout, tmp_path / layout)
        tools.assert_equal(convert_ldm_vae_checkpoint(dict(theirs), vae.config), vae.state_dict())


def test_qwen_vae_as_diffusers_converts_wans(tmp_path: Path, tools: Any) -> None:
    vae = tools.qwen_vae()
    theirs = tools.converted(vae.state_dict(), "original", tmp_path)
    tools.assert_equal(convert_wan_vae_to_diffusers(dict(theirs)), vae.state_dict())


class Headers:
    """A source of names and shapes without bytes: full size on the meta device."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.where, self.metadata, self.config = Path("meta"), {}, None
        self.tensors = {key: Stored("BF16", shape) for key, shape in shapes.items()}

    def rows(self, key: str, start: int, stop: int) -> Any:
        raise AssertionError("no bytes are needed to plan")


@pytest.mark.parametrize(
    ("model", "config", "family", "to", "count", "there"),
    [
        (QwenImageTransformer2DModel, PUBLISHED_TRANSFORMER, "qwen", "comfy", 1934, 1934),
        (FluxTransformer2DModel, {"guidance_embeds": True}, "flux", "bfl", 1160, 780),
        (FluxTransformer2DModel, {}, "flux", "comfy", 1156, 776),
        (AutoencoderKLQwenImage, PUBLISHED_VAE, "qwen-vae", "original", 194, 194),
        (
            AutoencoderKL,
            {
                "latent_channels": 16,
                "block_out_channels": (128, 256, 512, 512),
                "layers_per_block": 2,
                "down_block_types": ["DownEncoderBlock2D"] * 4,
                "up_block_types": ["UpDecoderBlock2D"] * 4,
                "use_quant_conv": False,
                "use_post_quant_conv": False,
            },
            "kl-vae",
            "original",
            244,
            244,
        ),
    ],
)
def test_every_key_at_full_size_both_ways(
    model: Any, config: dict[str, Any], family: str, to: str, count: int, there: int
) -> None:
    shapes = expected_shapes(model, config)
    assert len(shapes) == count
    layouts, table = layouts_of(family), TABLES[family]

    def plan(source: Headers, first: str, second: str) -> dict[str, tuple[int, ...]]:
        assert find_layout(source.tensors, source.where).name == first
        one, other = layouts[first], layouts[second]
        targets = plan_modules(source, table, one.style, one.prefix, other.style, other.prefix, one.words)
        assert len({target.key for target in targets}) == len(targets)
        return {target.key: target.shape for target in targets}

    theirs = plan(Headers(shapes), "diffusers", to)
    assert len(theirs) == there
    if to == "bfl":
        assert theirs["double_blocks.18.txt_attn.qkv.weight"] == (9216, 3072)
        assert theirs["single_blocks.37.linear1.weight"] == (21504, 3072)
        assert theirs["final_layer.adaLN_modulation.1.bias"] == (6144,)
    assert plan(Headers(theirs), to, "diffusers") == shapes
