"""The modulation table as an option of the pipelines: the same pixels, measured memory, LoRA and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acetate.errors import InputError
from acetate.models.modulation import find_table
from acetate.models.registry import WEIGHTS
from acetate.pipelines import ImageToLayersPipeline, TextToLayersPipeline

CALL = {"layers": 2, "prompt": "a red cat", "seed": 1, "output_type": "np"}


def held(transformer: Any) -> int:
    """Bytes of every tensor that the transformer keeps in memory, its table included."""
    tensors = [*transformer.parameters(), *transformer.buffers()]
    table = find_table(transformer)
    return sum(t.nbytes for t in tensors if not t.is_meta) + (0 if table is None else table.nbytes)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_same_pixels_with_and_without(decompose: Any, picture: Any, tmp_path: Path, scale: float) -> None:
    call = {**CALL, "true_cfg_scale": scale, "num_inference_steps": 3}
    plain = decompose(picture(), **call).images[0]
    decompose.transformer.save_pretrained(tmp_path)
    table = decompose.enable_modulation_table(tmp_path)
    assert np.array_equal(decompose(picture(), **call).images[0], plain)
    assert table.entries == 3
    decompose(picture(), **{**call, "num_inference_steps": 2})
    assert table.entries == 2
    decompose.disable_modulation_table()
    decompose.disable_modulation_table()
    assert np.array_equal(decompose(picture(), **call).images[0], plain)


def test_the_embedded_model(picture: Any) -> None:
    plain = ImageToLayersPipeline.load("tiny")
    lean = ImageToLayersPipeline.load("tiny", modulation_table=True)
    for pipeline in (plain, lean):
        pipeline.set_progress_bar_config(disable=True)
    before = held(plain.transformer)
    call = {**CALL, "prompt": "a red circle", "layers": 1, "resolution": 64}
    tokens: list[list[torch.Tensor]] = [[], []]
    for pipeline, kept in zip((plain, lean), tokens, strict=True):
        pipeline(
            picture(),
            callback_on_step_end=lambda pipe, step, t, given, kept=kept: kept.append(given["latents"]) or {},
            **call,
        )
    steps = plain.config.default_steps
    assert len(tokens[0]) == steps
    assert all(torch.equal(a, b) for a, b in zip(*tokens, strict=True))
    assert find_table(lean.transformer).entries == steps
    assert 1 - held(lean.transformer) / before >= 0.32, 1 - held(lean.transformer) / before


def test_it_cannot_be_saved_by_mistake(generate: Any, tmp_path: Path) -> None:
    generate.enable_modulation_table()
    with pytest.raises(InputError, match="disable_modulation_table"):
        generate.save_pretrained(tmp_path / "a")
    generate.disable_modulation_table()
    generate.save_pretrained(tmp_path / "b")
    assert TextToLayersPipeline.from_pretrained(tmp_path / "b").transformer.dtype == torch.float32


def test_loras(decompose: Any, picture: Any) -> None:
    def lora(layer: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        linear = decompose.transformer.get_submodule(layer)
        rows, columns = linear.out_features, linear.in_features
        return {
            f"transformer.{layer}.lora_A.weight": torch.randn(2, columns),
            f"transformer.{layer}.lora_B.weight": torch.randn(rows, 2),
        }

    attention, modulation = (
        lora("transformer_blocks.0.attn.to_q"),
        lora("transformer_blocks.0.img_mod.1"),
    )
    plain = decompose(picture(), **CALL).images[0]
    decompose.enable_modulation_table()
    with pytest.raises(InputError, match=r"img_mod\.1.*disable_modulation_table"):
        decompose.load_lora_weights(modulation)
    decompose.load_lora_weights(attention)
    assert not np.array_equal(decompose(picture(), **CALL).images[0], plain)
    decompose.unload_lora_weights()
    decompose.disable_modulation_table()
    decompose.load_lora_weights(modulation)
    adapted = decompose(picture(), **CALL).images[0]
    assert not np.array_equal(adapted, plain)
    decompose.enable_modulation_table()
    assert np.array_equal(decompose(picture(), **CALL).images[0], adapted)


def test_group_offload_after_the_table(decompose: Any, picture: Any) -> None:
    plain = decompose(picture(), **CALL).images[0]
    decompose.enable_modulation_table()
    cpu = torch.device("cpu")
    decompose.transformer.enable_group_offload(cpu, cpu, offload_type="block_level", num_blocks_per_group=1)
    np.testing.assert_allclose(decompose(picture(), **CALL).images[0], plain, atol=1e-5)


def test_the_embedded_folder_is_what_it_was_loaded_from() -> None:
    pipeline = ImageToLayersPipeline.load("tiny", modulation_table=True)
    pipeline.disable_modulation_table()
    stock = ImageToLayersPipeline.load("tiny").transformer.state_dict()
    state = pipeline.transformer.state_dict()
    assert list(state) == list(stock) and all(torch.equal(state[key], stock[key]) for key in stock)
    assert (WEIGHTS / "transformer").is_dir()
