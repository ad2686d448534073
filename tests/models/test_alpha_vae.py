"""The 4-channel AutoencoderKL of AlphaVAE: the widening rule, the codec, its folder, and stock pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL
from diffusers.image_processor import VaeImageProcessor

from acetate.errors import InputError
from acetate.models.codecs import Codec, KLRGBACodec, widen_rgb_vae
from acetate.models.inventory import count_parameters, expected_shapes

PUBLISHED = {
    "in_channels": 4,
    "out_channels": 4,
    "latent_channels": 16,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}


def make_vae(channels: int = 3) -> AutoencoderKL:
    torch.manual_seed(2)
    small = {"block_out_channels": [8] * 4, "layers_per_block": 1, "norm_num_groups": 4}
    return AutoencoderKL(**{**PUBLISHED, **small, "in_channels": channels, "out_channels": channels}).eval()


def pixels(batch: int = 2, channels: int = 4) -> torch.Tensor:
    return torch.rand(batch, channels, 16, 24, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_the_published_inventory() -> None:
    shapes = expected_shapes(AutoencoderKL, PUBLISHED)
    rgb = expected_shapes(AutoencoderKL, {**PUBLISHED, "in_channels": 3, "out_channels": 3})
    assert len(shapes) == len(rgb) == 244
    grown = {key for key in shapes if shapes[key] != rgb[key]}
    assert grown == {"encoder.conv_in.weight", "decoder.conv_out.weight", "decoder.conv_out.bias"}
    assert count_parameters(shapes) - count_parameters(rgb) == 2 * 9 * 128 + 1


@torch.no_grad()
def test_widening_is_exact_for_any_alpha() -> None:
    rgb = make_vae()
    wide, x = widen_rgb_vae(rgb), pixels()
    assert wide.config.in_channels == wide.config.out_channels == 4
    latents = rgb.encode(x[:, :3]).latent_dist.mode()
    assert torch.equal(wide.encode(x).latent_dist.mode(), latents)
    seen = wide.decode(latents).sample
    assert torch.equal(seen[:, :3], rgb.decode(latents).sample) and bool((seen[:, 3] == 1).all())
    with pytest.raises(InputError, match="4 channels"):
        widen_rgb_vae(wide)
    with pytest.raises(InputError, match="not AutoencoderDC"):
        widen_rgb_vae(AutoencoderDC.__new__(AutoencoderDC))


@torch.no_grad()
def test_the_codec() -> None:
    vae, x = make_vae(4), pixels()
    codec = KLRGBACodec(vae)
    assert isinstance(codec, Codec) and codec.downscale == 8 and codec.latent_channels == 16
    latents = codec.encode(x)
    assert torch.equal(latents, 0.3611 * (vae.encode(x).latent_dist.mode() - 0.1159))
    torch.testing.assert_close(
        codec.decode(latents, clamp=False), vae.decode(latents / 0.3611 + 0.1159).sample, rtol=0, atol=0
    )
    assert codec.decode(latents * 50).abs().max() <= 1
    alone = KLRGBACodec(vae, one_at_a_time=True)
    torch.testing.assert_close(alone.encode(x), latents, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.decode(latents), codec.decode(latents), rtol=0, atol=1e-5)
    half = KLRGBACodec(make_vae(4).to(torch.bfloat16))
    assert half.decode(half.encode(x)).dtype == torch.float32
    with pytest.raises(InputError, match="widen_rgb_vae"):
        KLRGBACodec(make_vae())
    for bad in (pixels(channels=3), pixels()[..., :20]):
        with pytest.raises(ValueError, match=r"B, 4, H, W|multiples of 8"):
            codec.encode(bad)
    with pytest.raises(ValueError, match="B, 16, h, w"):
        codec.decode(torch.zeros(1, 4, 2, 2))


@torch.no_grad()
def test_diffusers_shows_its_pictures_as_rgba() -> None:
    codec = KLRGBACodec(make_vae(4))
    decoded = codec.decode(codec.encode(pixels(1)))
    picture = VaeImageProcessor().postprocess(decoded, output_type="pil")[0]
    assert picture.mode == "RGBA" and picture.size == (24, 16)


@torch.no_grad()
def test_loading_the_published_folder(tmp_path: Path) -> None:
    vae = make_vae(4)
    vae.save_pretrained(tmp_path)
    codec = KLRGBACodec.from_folder(tmp_path)
    torch.testing.assert_close(codec.encode(pixels()), KLRGBACodec(vae).encode(pixels()), rtol=0, atol=1e-6)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "layers_per_block": 2}))
    with pytest.raises(InputError, match=r"lack encoder.*copy the VAE's whole folder again"):
        KLRGBACodec.from_folder(tmp_path)
    make_vae(3).save_pretrained(tmp_path / "rgb")
    with pytest.raises(InputError, match=r"AutoencoderKL of 3 channels, but an AutoencoderKL of 4"):
        KLRGBACodec.from_folder(tmp_path / "rgb")
    with pytest.raises(InputError, match=r"no config\.json"):
        KLRGBACodec.from_folder(tmp_path / "none")
