"""The pipelines under diffusers' own ways to save memory and to adapt a model: offloading, casting, bf16,
LoRA, tiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

SETTINGS = {"layers": 2, "prompt": "a red cat", "seed": 1, "true_cfg_scale": 2.0, "output_type": "np"}


def layers(pipeline: Any, image: Any, **changes: Any) -> np.ndarray:
    return pipeline(image, **{**SETTINGS, **changes}).images[0]


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_group_offload_gives_the_same(decompose: Any, picture: Any, part: str, new_vae: Any) -> None:
    if part == "vae":
        decompose.register_modules(vae=new_vae())
    plain = layers(decompose, picture())
    getattr(decompose, part).enable_group_offload(
        onload_device=torch.device("cpu"), offload_device=torch.device("cpu"), offload_type="leaf_level"
    )
    np.testing.assert_allclose(layers(decompose, picture()), plain, atol=1e-5)


def test_half_precision_runs_close_and_samples_in_float(decompose: Any, picture: Any) -> None:
    plain = layers(decompose, picture())
    tokens = []
    decompose.transformer.to(torch.bfloat16)
    half = layers(
        decompose,
        picture(),
        callback_on_step_end=lambda pipe, step, t, tensors: tokens.append(tensors["latents"].dtype),
    )
    assert set(tokens) == {torch.float32}
    assert 0 < np.abs(half - plain).mean() < 0.02


def test_layerwise_casting_runs(decompose: Any, picture: Any) -> None:
    plain = layers(decompose, picture())
    decompose.transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
    )
    assert 0 < np.abs(layers(decompose, picture()) - plain).mean() < 0.2


def test_lora_changes_the_run_and_leaves_with_it(decompose: Any, picture: Any) -> None:
    from peft import LoraConfig

    plain = layers(decompose, picture())
    torch.manual_seed(0)
    decompose.transformer.add_adapter(
        LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False), adapter_name="style"
    )
    adapted = layers(decompose, picture())
    assert np.abs(adapted - plain).max() > 1e-3
    decompose.transformer.disable_lora()
    np.testing.assert_allclose(layers(decompose, picture()), plain, atol=1e-6)


def test_tiled_decoding_runs(decompose: Any, picture: Any, new_vae: Any) -> None:
    decompose.register_modules(vae=new_vae())
    plain = layers(decompose, picture(128, 128), width=128, height=128)
    decompose.vae.enable_tiling(
        tile_sample_min_height=64,
        tile_sample_min_width=64,
        tile_sample_stride_height=48,
        tile_sample_stride_width=48,
    )
    tiled = layers(decompose, picture(128, 128), width=128, height=128)
    assert tiled.min() >= 0 and tiled.max() <= 1
    assert 0 < np.abs(tiled - plain).mean() < 0.1
