"""FluxBackbone against the stock transformer and FluxPipeline: identities first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from acetate.errors import InputError
from acetate.models.backbones import Backbone, FluxBackbone
from acetate.models.frame_embedding import FrameEmbedding
from acetate.models.inventory import count_parameters, expected_shapes
from acetate.models.layout import Frame, Layout, Role, TextSpan
from acetate.models.modulation import FolderWeights, HostWeights, ModulationTable, modulation_sites
from acetate.models.text import TextFeatures
from acetate.pipelines.guidance import Guidance
from acetate.pipelines.sampler import Sampler, SamplerSettings
from acetate.pipelines.schedule import flux_mu, make_schedule

HEIGHT, WIDTH = 4, 6
SCHEDULER = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def make(**changes: Any) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    config = {
        "in_channels": 64,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 24,
        "pooled_projection_dim": 12,
        "axes_dims_rope": (4, 6, 6),
        "guidance_embeds": True,
    }
    return FluxTransformer2DModel(**{**config, **changes}).eval()


def features(batch: int = 1, length: int = 5, seed: int = 3) -> TextFeatures:
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(batch, length, 24, generator=generator)
    return TextFeatures(embeds=embeds, pooled=torch.randn(batch, 12, generator=generator))


def tokens_for(layout: Layout, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(batch, layout.num_image_tokens, 64, generator=generator)


def pipeline(model: Any) -> FluxPipeline:
    pipe = FluxPipeline(FlowMatchEulerDiscreteScheduler(**SCHEDULER), None, None, None, None, None, model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize("distilled", [True, False])
def test_equals_the_stock_transformer_bit_for_bit(distilled: bool) -> None:
    model, layout, text = make(guidance_embeds=distilled), Layout.one_layer(HEIGHT, WIDTH), features(2)
    tokens, sigma = tokens_for(layout, 2), torch.tensor([0.3, 0.9])
    expected = model(
        hidden_states=tokens,
        encoder_hidden_states=text.embeds,
        pooled_projections=text.pooled,
        timestep=sigma,
        img_ids=FluxPipeline._prepare_latent_image_ids(1, HEIGHT, WIDTH, "cpu", torch.float32),
        txt_ids=torch.zeros(5, 3),
        guidance=torch.full((2,), 3.5) if distilled else None,
        return_dict=False,
    )[0]
    backbone = FluxBackbone(model, FrameEmbedding(32))
    assert isinstance(backbone, Backbone)
    assert torch.equal(backbone.velocity(tokens, sigma, text, layout), expected)
    assert len(backbone.blocks) == backbone.capabilities.num_blocks == 4
    assert backbone.capabilities.distilled_guidance is distilled


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 3.5])
def test_sampling_equals_flux_pipeline(scale: float) -> None:
    model, text, negative = make(), features(), features(seed=8)
    layout = Layout.one_layer(HEIGHT, WIDTH)
    noise = tokens_for(layout)
    expected = pipeline(model)(
        prompt_embeds=text.embeds,
        pooled_prompt_embeds=text.pooled,
        negative_prompt_embeds=negative.embeds,
        negative_pooled_prompt_embeds=negative.pooled,
        true_cfg_scale=scale,
        guidance_scale=2.5,
        num_inference_steps=4,
        height=HEIGHT * 16,
        width=WIDTH * 16,
        latents=noise,
        output_type="latent",
    ).images
    mu = flux_mu(SCHEDULER, HEIGHT * WIDTH)
    schedule = make_schedule({**SCHEDULER, "time_shift_type": "exponential"}, 4, 0, mu=mu)
    for batched in (False, True):
        guidance = Guidance(scale=scale, renormalise=False, batched=batched)
        got = Sampler().run(
            FluxBackbone(model, guidance=2.5),
            layout,
            noise,
            None,
            {"cond": text, "uncond": negative},
            SamplerSettings(schedule=schedule, guidance=guidance),
        )
        assert (got - expected).abs().max() <= 1e-5


@torch.no_grad()
def test_a_text_mask_hides_padding() -> None:
    backbone, layout = FluxBackbone(make()), Layout.one_layer(HEIGHT, WIDTH)
    text, tokens, sigma = features(), tokens_for(layout), torch.tensor([0.5])
    expected = backbone.velocity(tokens, sigma, text, layout)
    padded = TextFeatures(
        embeds=torch.cat([text.embeds, torch.randn(1, 3, 24)], 1),
        mask=torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]]),
        pooled=text.pooled,
    )
    torch.testing.assert_close(backbone.velocity(tokens, sigma, padded, layout), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_cropped_frames_keep_their_place() -> None:
    model = make()
    boxes = [None, (1, 1, 4, 3), (2, 0, 6, 4)]
    layout = Layout.text_to_layers(HEIGHT, WIDTH, 3, boxes)
    image, text_ids = FluxBackbone(model).ids(
        layout.with_text([TextSpan(length=2), TextSpan(length=1, index=2)]), "cpu"
    )
    assert image.shape == (24 + 24 + 6 + 16, 3)
    assert image[48].tolist() == [2, 1, 1] and image[53].tolist() == [2, 2, 3]
    assert text_ids.tolist() == [[0, 0, 0], [0, 0, 0], [2, 0, 0]]
    # Only the kept tokens are there: the stock model with those tokens and ids gives the same.
    tokens, text, sigma = tokens_for(layout), features(), torch.tensor([0.4])
    expected = model(
        hidden_states=tokens,
        encoder_hidden_states=text.embeds,
        pooled_projections=text.pooled,
        timestep=sigma,
        img_ids=image,
        txt_ids=torch.zeros(5, 3),
        guidance=torch.tensor([3.5]),
        return_dict=False,
    )[0]
    assert torch.equal(FluxBackbone(model).velocity(tokens, sigma, text, layout), expected)


@torch.no_grad()
def test_clean_frames_and_the_frame_embedding() -> None:
    model, layout = make(), Layout.image_to_layers(HEIGHT, WIDTH, 2)
    tokens, text, sigma = tokens_for(layout), features(), torch.tensor([0.4])
    plain = FluxBackbone(model).velocity(tokens, sigma, text, layout)
    assert plain.shape == (1, layout.num_noisy_tokens, 64)
    embedding = FrameEmbedding(32)
    backbone = FluxBackbone(model, embedding)
    assert torch.equal(backbone.velocity(tokens, sigma, text, layout), plain)
    embedding.role[2] = 0.5
    assert not torch.equal(backbone.velocity(tokens, sigma, text, layout), plain)
    assert not model.x_embedder._forward_hooks


@torch.no_grad()
def test_depth_takes_its_condition_on_the_channels() -> None:
    model = make(in_channels=128, out_channels=64)
    frames = (Frame(role=Role.LAYER, index=0), Frame(role=Role.CONDITION, index=0, noisy=False))
    layout = Layout(height=HEIGHT, width=WIDTH, frames=frames)
    tokens, text, sigma = tokens_for(layout), features(), torch.tensor([0.4])
    backbone = FluxBackbone(model)
    assert backbone.capabilities.latent_channels == 16
    expected = model(
        hidden_states=torch.cat([tokens[:, :24], tokens[:, 24:]], 2),
        encoder_hidden_states=text.embeds,
        pooled_projections=text.pooled,
        timestep=sigma,
        img_ids=FluxPipeline._prepare_latent_image_ids(1, HEIGHT, WIDTH, "cpu", torch.float32),
        txt_ids=torch.zeros(5, 3),
        guidance=torch.tensor([3.5]),
        return_dict=False,
    )[0]
    assert torch.equal(backbone.velocity(tokens, sigma, text, layout), expected)
    alone = Layout.one_layer(HEIGHT, WIDTH)
    with pytest.raises(InputError, match="one clean frame for each noisy one"):
        backbone.velocity(tokens_for(alone), sigma, text, alone)


@torch.no_grad()
def test_lora_and_gradients() -> None:
    from peft import LoraConfig

    model, layout = make(), Layout.one_layer(HEIGHT, WIDTH)
    backbone, text, sigma = FluxBackbone(model), features(), torch.tensor([0.4])
    plain = backbone.velocity(tokens_for(layout), sigma, text, layout)
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    assert not torch.equal(backbone.velocity(tokens_for(layout), sigma, text, layout), plain)
    off = backbone.velocity(tokens_for(layout), sigma, text, layout, attention_kwargs={"scale": 0.0})
    torch.testing.assert_close(off, plain, rtol=0, atol=1e-6)
    with torch.enable_grad():
        x = tokens_for(layout).requires_grad_()
        backbone.velocity(x, sigma, text, layout).sum().backward()
    assert x.grad is not None and bool(x.grad.any())


def test_wrong_inputs_are_named() -> None:
    backbone, layout = FluxBackbone(make()), Layout.one_layer(HEIGHT, WIDTH)
    tokens, sigma, text = tokens_for(layout), torch.tensor([0.4]), features()
    with pytest.raises(InputError, match="pooled prompt embeddings have width None"):
        backbone.velocity(tokens, sigma, TextFeatures(embeds=text.embeds), layout)
    with pytest.raises(InputError, match="prompt embeddings have width 7, but the transformer takes 24"):
        backbone.velocity(
            tokens, sigma, TextFeatures(embeds=torch.zeros(1, 5, 7), pooled=text.pooled), layout
        )
    with pytest.raises(InputError, match="2 prompts were given for a batch of 1"):
        backbone.velocity(tokens, sigma, features(2), layout)
    with pytest.raises(ValueError, match="the layout needs"):
        backbone.velocity(tokens[:, 1:], sigma, text, layout)
    with pytest.raises(ValueError, match="one value per sample"):
        backbone.velocity(tokens, torch.zeros(2), text, layout)
    with pytest.raises(InputError, match="width 8, but the transformer works at 32"):
        FluxBackbone(make(), FrameEmbedding(8))
    with pytest.raises(InputError, match=r"must be \(1, dim\)"):
        TextFeatures(embeds=text.embeds, pooled=torch.zeros(2, 12))


# -- the modulation table ------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distilled", [True, False])
def test_the_modulation_table_is_exact(tmp_path: Any, distilled: bool, dtype: torch.dtype) -> None:
    model = make(guidance_embeds=distilled).to(dtype)
    layout, texts = Layout.one_layer(HEIGHT, WIDTH), [features(), features(seed=9)]
    times = torch.tensor([1.0, 0.6, 0.2]).to(dtype)
    backbone, tokens = FluxBackbone(model), tokens_for(layout)

    def run() -> list[torch.Tensor]:
        return [backbone.velocity(tokens, t[None], text, layout) for t in times for text in texts]

    expected = run()
    model.save_pretrained(tmp_path)
    for weights in (HostWeights(), FolderWeights(tmp_path)):
        table = ModulationTable(model, weights)
        backbone.expect_times(times)
        backbone.velocity(tokens, times[:1], texts[0], layout)
        assert table.entries == 3
        assert all(torch.equal(a, b) for a, b in zip(run(), expected, strict=True))
        assert table.entries == 6  # per prompt and time
        backbone.expect_times(times)
        assert table.entries == 0
        table.remove()
    assert all(torch.equal(a, b) for a, b in zip(run(), expected, strict=True))


def test_full_size_inventory_and_what_a_table_saves() -> None:
    config = {"guidance_embeds": True, "axes_dims_rope": (16, 56, 56)}
    shapes = expected_shapes(FluxTransformer2DModel, config)
    assert len(shapes) == 1160 and count_parameters(shapes) == 11_901_408_320
    with torch.device("meta"):
        sites = modulation_sites(FluxTransformer2DModel(**config))
    gone = count_parameters(
        {k: s for k, s in shapes.items() if any(k.startswith(f"{path}.") for path in sites.put_away)}
    )
    rows = sum(shapes[f"{site.linear}.bias"][0] for site in sites.sites)
    assert (gone - 28 * rows) / count_parameters(shapes) == pytest.approx(0.275, abs=5e-3)
