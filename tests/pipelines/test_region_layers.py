"""Anonymous regions on stock FLUX: what is computed, what comes back, and the planner's answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

from acetate.errors import InputError
from acetate.models.codecs import RegionDecoder
from acetate.models.frame_embedding import LayerEmbedding
from acetate.pipelines import RegionLayersPipeline, RegionPlan, RegionPlanner, parse_plan

BOXES = [None, (10, 0, 40, 30), (32, 16, 64, 48)]


def make_vae(channels: int = 3) -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=16,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    ).eval()


def make(**changes: Any) -> RegionLayersPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=12,
        axes_dims_rope=(4, 6, 6),
        guidance_embeds=True,
    ).eval()
    embedding = LayerEmbedding(32)
    torch.nn.init.normal_(embedding.layer_pe, std=0.3)
    parts = {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        "vae": make_vae(),
        "transformer": transformer,
        "layer_embedding": embedding,
        "region_decoder": RegionDecoder(dim=32, heads=2, layers=1, axes=(4, 6, 6)).eval(),
    }
    pipeline = RegionLayersPipeline(**{**parts, **changes})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def call(pipeline: RegionLayersPipeline, **changes: Any) -> Any:
    generator = torch.Generator().manual_seed(7)
    given = {
        f"{prefix}{name}": torch.randn(shape, generator=generator)
        for prefix in ("", "negative_")
        for name, shape in (("prompt_embeds", (1, 5, 24)), ("pooled_prompt_embeds", (1, 12)))
    }
    settings = {"boxes": BOXES, "height": 48, "width": 64, "num_inference_steps": 2, "seed": 1}
    return pipeline(**{**given, **settings, **changes})


def test_a_stack_of_layers() -> None:
    pipeline = make()
    output = call(pipeline, prompt="a poster")
    document = output.documents[0]
    assert (document.width, document.height) == (64, 48) and len(document.layers) == 3
    assert [layer.name for layer in document.layers] == ["Background", "Layer 1", "Layer 2"]
    assert document.layers[1].offset == (10, 0) and document.layers[1].pixels.shape == (30, 30, 4)
    assert bool((document.layers[0].pixels[..., 3] == 255).all())
    assert document.metadata["seed"] == 1 and document.metadata["prompt"] == "a poster"
    assert output.composites[0].getextrema()[3] == (255, 255)
    again = call(pipeline, prompt="a poster")
    assert np.array_equal(np.asarray(again.images[0][2]), np.asarray(output.images[0][2]))
    arrays = call(pipeline, output_type="np", return_dict=False)[0][0]
    assert arrays.shape == (3, 48, 64, 4)
    assert not arrays[2, :16].any() and not arrays[2, :, :32].any() and arrays[2, 16:, 32:].any()


def test_only_tokens_inside_boxes_are_computed() -> None:
    pipeline, seen = make(), []
    hook = pipeline.transformer.x_embedder.register_forward_hook(lambda m, i, o: seen.append(o.shape[1]))
    call(pipeline, true_cfg_scale=1.0)
    hook.remove()
    # Two full canvases of 4 x 3, and boxes of 3 x 2 and 2 x 2 tokens.
    assert seen == [12 + 12 + 6 + 4] * 2


def test_latents_outside_of_boxes_are_grey() -> None:
    pipeline = make()
    output = call(pipeline, output_type="latent")
    latents = output.images[0]
    assert latents.shape == (3, 16, 6, 8) and output.composites[0].shape == (16, 6, 8)
    with torch.no_grad():
        grey = pipeline.vae.encode(torch.zeros(1, 3, 48, 64)).latent_dist.mode()[0]
    grey = 0.3611 * (grey - 0.1159)
    torch.testing.assert_close(latents[2][:, :2], grey[:, :2], rtol=0, atol=1e-6)
    assert not torch.allclose(latents[2][:, 2:, 4:], grey[:, 2:, 4:], atol=1e-2)


def test_guidance() -> None:
    pipeline = make()
    plain, batched, off, other = (
        call(pipeline, output_type="latent", **changes).images[0]
        for changes in ({}, {"batch_guidance": True}, {"true_cfg_scale": 1.0}, {"guidance_scale": 1.0})
    )
    torch.testing.assert_close(batched, plain, rtol=0, atol=1e-5)
    assert not torch.allclose(off, plain, atol=1e-3) and not torch.allclose(other, plain, atol=1e-6)


def test_the_layer_embedding_counts() -> None:
    pipeline = make()
    with_it = call(pipeline, output_type="latent").images[0]
    pipeline.register_modules(layer_embedding=None)
    assert not torch.allclose(call(pipeline, output_type="latent").images[0], with_it, atol=1e-4)


def test_a_four_channel_vae_takes_the_decoders_place() -> None:
    with pytest.raises(InputError, match="no alpha; give a region_decoder"):
        make(region_decoder=None)
    pipeline = make(vae=make_vae(4), region_decoder=None)
    arrays = call(pipeline, output_type="np").images[0]
    assert arrays.shape == (3, 48, 64, 4) and not arrays[1, 30:].any()
    decoded: list[int] = []
    pipeline.vae.decoder.register_forward_hook(lambda module, given, made: decoded.append(len(made)))
    shown: list[Any] = []
    call(
        pipeline,
        output_type="latent",
        num_inference_steps=1,
        on_progress=lambda progress: progress.preview and shown.extend(map(progress.preview, (0, 2))),
    )
    assert decoded == [1, 1]  # a preview costs one picture, however many layers there are
    assert shown[0][0].getextrema()[3] == (255, 255) and shown[1][0].getextrema()[3] != (255, 255)


def test_saving_and_loading(tmp_path: Path) -> None:
    pipeline = make()
    expected = call(pipeline, output_type="latent").images[0]
    pipeline.save_pretrained(tmp_path)
    loaded = RegionLayersPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.layer_embedding, LayerEmbedding)
    torch.testing.assert_close(call(loaded, output_type="latent").images[0], expected, rtol=0, atol=1e-4)


def test_wrong_calls_are_named() -> None:
    pipeline = make()
    with pytest.raises(InputError, match="multiple of 16"):
        call(pipeline, width=60)
    with pytest.raises(InputError, match="first layer is the background"):
        call(pipeline, boxes=[(0, 0, 16, 16)])
    with pytest.raises(InputError, match="between 1 and 51"):
        call(pipeline, boxes=[None] * 52)
    with pytest.raises(InputError, match="give both or neither"):
        call(pipeline, pooled_prompt_embeds=None)
    with pytest.raises(InputError, match="no text encoders"):
        call(pipeline, prompt="x", prompt_embeds=None, pooled_prompt_embeds=None)
    with pytest.raises(InputError, match="latents must have shape"):
        call(pipeline, seed=None, latents=torch.zeros(1, 16, 6, 8))
    with pytest.raises(InputError, match="either latents or a seed"):
        call(pipeline, latents=torch.zeros(4, 16, 6, 8))
    with pytest.raises(InputError, match="between 1 and 512"):
        call(pipeline, max_sequence_length=0)


def test_a_negative_prompt_without_a_branch_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    call(make(), num_inference_steps=1)
    assert not caplog.records
    call(make(), num_inference_steps=1, true_cfg_scale=1.0)
    assert "no effect" in caplog.text


def test_own_noise_is_recorded_as_no_seed() -> None:
    document = call(make(), seed=None, latents=torch.zeros(4, 16, 6, 8)).documents[0]
    assert "seed" not in document.metadata and document.layers[1].provenance.seed is None


def test_a_planners_answer() -> None:
    answer = {
        "wholecaption": "a card",
        "layout": [
            {"layer": 2, "x": 0.75, "y": 0.5, "width": 0.5, "height": 0.25},
            {"layer": 0, "x": 0.5, "y": 0.5, "width": 1, "height": 1},
            {"layer": 1, "x": 0.1, "y": 0.1, "width": 0.4, "height": 0.4},
        ],
    }
    plan = parse_plan(json.dumps(answer), 100, 80)
    assert plan == RegionPlan(caption="a card", boxes=(None, (0, 0, 30, 24), (50, 30, 100, 50)))

    class Fixed:
        def plan(self, prompt: str, width: int, height: int) -> RegionPlan:
            return parse_plan(answer, width, height)

    assert isinstance(Fixed(), RegionPlanner)
    assert len(call(make(), boxes=Fixed().plan("x", 64, 48).boxes).images[0]) == 3
    for bad in ("no json", "{}", '{"wholecaption": "", "layout": [{"layer": 1}]}'):
        with pytest.raises(InputError, match="no plan"):
            parse_plan(bad, 10, 10)
    outside = {"wholecaption": "", "layout": [{"layer": 1, "x": 2, "y": 0, "width": 0.1, "height": 0.1}]}
    with pytest.raises(InputError, match="box of layer 1 is empty"):
        parse_plan(outside, 10, 10)
