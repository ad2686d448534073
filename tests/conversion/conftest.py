"""Tiny random networks of every family, and helpers that write, convert and read them back."""

from __future__ import annotations

from collections.abc import Mapping
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

State = dict[str, torch.Tensor]


def make_flux(guidance: bool = True, **changes: Any) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    config = {
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 3,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 24,
        "axes_dims_rope": (4, 4, 8),
    }
    return FluxTransformer2DModel(guidance_embeds=guidance, **{**config, **changes}).eval()


def make_qwen(**changes: Any) -> QwenImageTransformer2DModel:
    torch.manual_seed(1)
    config = {
        "in_channels": 16,
        "out_channels": 4,
        "num_layers": 3,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 24,
        "axes_dims_rope": (4, 6, 6),
        "use_additional_t_cond": True,
        "use_layer3d_rope": True,
    }
    return QwenImageTransformer2DModel(**{**config, **changes}).eval()


def make_kl(quant: bool = False, **changes: Any) -> AutoencoderKL:
    torch.manual_seed(2)
    config = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (8, 16, 16),
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "use_quant_conv": quant,
        "use_post_quant_conv": quant,
    }
    return AutoencoderKL(**{**config, **changes}).eval()


def make_qwen_vae(**changes: Any) -> AutoencoderKLQwenImage:
    torch.manual_seed(3)
    config = {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "input_channels": 4}
    return AutoencoderKLQwenImage(**{**config, **changes}).eval()


def flux_inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    return {
        "hidden_states": torch.randn(1, 16, 16, generator=generator),
        "encoder_hidden_states": torch.randn(1, 5, 32, generator=generator),
        "pooled_projections": torch.randn(1, 24, generator=generator),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.5]),
        "img_ids": ids,
        "txt_ids": torch.zeros(5, 3),
    }


def assert_equal(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Every key, dtype, shape and bit."""
    assert sorted(found) == sorted(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        assert found[key].shape == value.shape, key
        ours, theirs = (one.contiguous().reshape(-1).view(torch.uint8) for one in (found[key], value))
        assert torch.equal(ours, theirs), key


def converted(
    state: Mapping[str, torch.Tensor],
    to: str,
    folder: Path,
    metadata: dict[str, str] | None = None,
    **options: Any,
) -> State:
    """``state`` written, converted to ``to`` and read again by the safetensors library."""
    from safetensors.torch import load_file, save_file

    from acetate.models.conversion import convert_checkpoint, open_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    first, second = folder / "in.safetensors", folder / "out.safetensors"
    # PyTorch shares memory between views; safetensors wants each tensor by itself.
    save_file({key: value.clone().contiguous() for key, value in state.items()}, first, metadata)
    second.unlink(missing_ok=True)
    convert_checkpoint(open_checkpoint(first), to, **options).write(second)
    return load_file(second)


@pytest.fixture
def tools() -> Any:
    """The helpers above, for tests that are imported as files."""
    from types import SimpleNamespace

    return SimpleNamespace(
        flux=make_flux,
        flux_inputs=flux_inputs,
        qwen=make_qwen,
        kl=make_kl,
        qwen_vae=make_qwen_vae,
        assert_equal=assert_equal,
        converted=converted,
    )
