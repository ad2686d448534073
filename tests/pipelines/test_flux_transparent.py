"""One transparent layer on FLUX: beside diffusers' own pipeline, with both kinds of codec, from words and from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from PIL import Image

from acetate.errors import InputError
from acetate.models.codecs import KLRGBACodec, LayerDiffuseCodec
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
from acetate.models.modulation import find_table
from acetate.pipelines import FluxTransparentImagePipeline
from acetate.pipelines.schedule import flux_mu, make_schedule

SIZE = {"height": 32, "width": 48}


def make_vae(channels: int) -> AutoencoderKL:
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


def parts(channels: int) -> dict[str, Any]:
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
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    return {"scheduler": scheduler, "vae": make_vae(channels), "transformer": transformer}


def layerdiffuse() -> dict[str, Any]:
    torch.manual_seed(2)
    decoder = TransparentUNet(widths=(8, 8, 8, 16), attention_levels=1).eval()
    encoder = LatentOffsetEncoder(widths=(4, 4, 8, 8)).eval()
    torch.nn.init.normal_(encoder.blocks[-1].weight, std=3e-3)
    torch.nn.init.normal_(decoder.latent_conv_in.weight, std=0.3)
    return {"transparent_decoder": decoder, "offset_encoder": encoder}


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def embeds() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {
        "prompt_embeds": torch.randn(1, 5, 24, generator=generator),
        "pooled_prompt_embeds": torch.randn(1, 12, generator=generator),
    }


def noise() -> torch.Tensor:
    return torch.randn(16, 4, 6, generator=torch.Generator().manual_seed(3))


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(1, 256, (32, 48, 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA")


def test_equals_flux_pipeline_with_a_four_channel_vae() -> None:
    given = parts(4)
    pipeline = quiet(FluxTransparentImagePipeline(**given))
    assert isinstance(pipeline.codec, KLRGBACodec)
    stock = quiet(
        FluxPipeline(text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, **given)
    )
    packed = FluxPipeline._pack_latents(noise()[None], 1, 16, 4, 6)
    expected = stock(
        **embeds(), **SIZE, num_inference_steps=3, guidance_scale=3.5, latents=packed, output_type="np"
    ).images[0]
    got = pipeline(**embeds(), **SIZE, num_inference_steps=3, latents=noise(), output_type="np").images[0][0]
    assert got.shape == expected.shape == (32, 48, 4)
    assert np.abs(got - expected).max() <= 1e-5


def test_layerdiffuse_decodes_what_flux_sampled() -> None:
    pipeline = quiet(FluxTransparentImagePipeline(**parts(3), **layerdiffuse()))
    settings = {**embeds(), **SIZE, "num_inference_steps": 2, "seed": 1}
    latents = pipeline(**settings, output_type="latent").images[0]
    codec = pipeline.codec
    assert isinstance(codec, LayerDiffuseCodec) and codec.augmented
    with torch.no_grad():
        expected = codec.decode(latents)[0].movedim(0, -1).numpy() / 2 + 0.5
    output = pipeline(**settings, prompt="a red star")
    assert np.abs(np.asarray(output.images[0][0]) / 255 - expected).max() <= 0.5 / 255 + 1e-5
    document = output.documents[0]
    assert [layer.name for layer in document.layers] == ["a red star"] and not output.composites
    assert document.metadata["seed"] == 1 and document.metadata["arguments"]["steps"] == 2


def test_from_a_picture_as_diffusers_does_it() -> None:
    given = {**parts(3), **layerdiffuse()}
    pipeline = quiet(FluxTransparentImagePipeline(**given, augmented=False))
    shared = {**embeds(), **SIZE, "num_inference_steps": 4, "strength": 0.5}
    got = pipeline(**shared, image=picture(), latents=noise(), output_type="latent").images[0]
    pixels = torch.from_numpy(np.asarray(picture()).copy()).float().movedim(-1, 0)[None] / 127.5 - 1
    with torch.no_grad():
        clean = pipeline.codec.encode(pixels)
    components = {name: given[name] for name in ("scheduler", "vae", "transformer")}
    stock = quiet(
        FluxImg2ImgPipeline(
            text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, **components
        )
    )
    config = given["scheduler"].config
    sigma = float(make_schedule(config, 4, 0, mu=flux_mu(config, 6)).tail(0.5).sigmas[0])
    start = (1 - sigma) * clean + sigma * noise()[None]
    expected = stock(
        image=clean,
        latents=FluxPipeline._pack_latents(start, 1, 16, 4, 6),
        guidance_scale=3.5,
        output_type="latent",
        **shared,
    ).images
    assert (FluxPipeline._pack_latents(got, 1, 16, 4, 6) - expected).abs().max() <= 1e-5
    with pytest.raises(InputError, match="2 pictures were given"):
        pipeline(**shared, image=[picture(), picture()])
    blind = quiet(FluxTransparentImagePipeline(**{**given, "offset_encoder": None}))
    with pytest.raises(InputError, match="offset encoder"):
        blind(**shared, image=picture())


def test_saving_the_modulation_table_and_wrong_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no alpha; give LayerDiffuse's transparent_decoder"):
        FluxTransparentImagePipeline(**parts(3))
    pipeline = quiet(FluxTransparentImagePipeline(**parts(3), **layerdiffuse(), augmented=False))
    settings = {**embeds(), **SIZE, "num_inference_steps": 2, "seed": 1, "output_type": "latent"}
    plain = pipeline(**settings).images[0]
    pipeline.save_pretrained(tmp_path)
    pipeline.enable_modulation_table(tmp_path / "transformer")
    assert torch.equal(pipeline(**settings).images[0], plain)
    assert find_table(pipeline.transformer).entries == 2
    pipeline.disable_modulation_table()
    loaded = quiet(FluxTransparentImagePipeline.from_pretrained(tmp_path))
    assert loaded.config.augmented is False and isinstance(loaded.transparent_decoder, TransparentUNet)
    torch.testing.assert_close(loaded(**settings).images[0], plain, rtol=0, atol=1e-4)
    with pytest.raises(InputError, match="multiple of 16"):
        pipeline(**{**settings, "width": 40})
    with pytest.raises(InputError, match="latents must have shape"):
        pipeline(**{**settings, "seed": None, "latents": torch.zeros(16, 2, 2)})
