from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import QwenImageLayeredPipeline

from acetate.errors import InputError
from acetate.models.codecs import (
    Codec,
    QwenRGBACodec,
    install_still_convolutions,
    still_convolutions,
    widen_rgb_vae,
)

Make = Callable[..., Any]


def pixels(batch: int, height: int = 24, width: int = 40, channels: int = 4) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(5)) * 2 - 1


@torch.no_grad()
def test_codec_equals_the_published_pipelines_steps(vae: Make) -> None:
    model = vae()
    codec, x = QwenRGBACodec(model), pixels(2)
    assert isinstance(codec, Codec) and codec.downscale == 8 and codec.latent_channels == 16
    pipe = QwenImageLayeredPipeline(None, model, None, None, None, None)
    expected = pipe._encode_vae_image(x[:, :, None], None)[:, :, 0]
    latents = codec.encode(x)
    assert latents.shape == (2, 16, 3, 5)
    assert torch.equal(latents, expected)
    mean = torch.tensor(model.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(model.config.latents_std).view(1, -1, 1, 1, 1)
    stock = model.decode(latents[:, :, None] / (1.0 / std) + mean, return_dict=False)[0][:, :, 0]
    assert torch.allclose(codec.decode(latents), stock, atol=1e-5)


@torch.no_grad()
def test_statistics_come_from_the_config(vae: Make) -> None:
    x = pixels(1)
    plain = QwenRGBACodec(vae(latents_mean=[0.0] * 16, latents_std=[1.0] * 16)).encode(x)
    scaled = QwenRGBACodec(vae(latents_mean=[1.0] * 16, latents_std=[2.0] * 16)).encode(x)
    assert torch.allclose(scaled, (plain - 1) / 2, atol=1e-6)


@torch.no_grad()
def test_one_layer_at_a_time_gives_the_same(vae: Make) -> None:
    model, x = vae(), pixels(3)
    together, alone = QwenRGBACodec(model), QwenRGBACodec(model, one_at_a_time=True)
    latents = together.encode(x)
    assert torch.allclose(alone.encode(x), latents, atol=1e-5)
    assert torch.allclose(alone.decode(latents), together.decode(latents), atol=1e-5)


@torch.no_grad()
def test_decoding_is_clamped_also_when_tiled(vae: Make) -> None:
    model = vae()
    model.decoder.conv_out.bias += 3.0
    codec = QwenRGBACodec(model)
    latents = codec.encode(pixels(1, 48, 48))
    assert codec.decode(latents, clamp=False).max() > 1
    assert codec.decode(latents).max() <= 1
    model.enable_tiling(
        tile_sample_min_height=32,
        tile_sample_min_width=32,
        tile_sample_stride_height=24,
        tile_sample_stride_width=24,
    )
    assert model.decode(latents[:, :, None]).sample.max() > 1  # diffusers' own tiles are not
    assert codec.decode(latents).max() <= 1


@torch.no_grad()
def test_half_precision_in_and_out(vae: Make) -> None:
    codec = QwenRGBACodec(vae().to(torch.bfloat16))
    latents = codec.encode(pixels(1))
    assert latents.dtype == torch.float32 and codec.decode(latents).dtype == torch.float32


def test_wrong_inputs_are_refused(vae: Make) -> None:
    codec = QwenRGBACodec(vae())
    with pytest.raises(InputError, match="widen_rgb_vae"):
        QwenRGBACodec(vae(input_channels=3))
    with pytest.raises(ValueError, match="B, 4, H, W"):
        codec.encode(pixels(1, channels=3))
    with pytest.raises(ValueError, match="multiples of 8"):
        codec.encode(pixels(1, 20, 24))
    with pytest.raises(ValueError, match="B, 16, h, w"):
        codec.decode(torch.zeros(1, 8, 2, 2))


@torch.no_grad()
def test_widening_is_an_exact_identity(vae: Make) -> None:
    rgb = vae(input_channels=3)
    state = {key: value.clone() for key, value in rgb.state_dict().items()}
    wide = widen_rgb_vae(rgb)
    x = pixels(2)
    old, new = (m.encode(y[:, :, None]).latent_dist.mode() for m, y in ((rgb, x[:, :3]), (wide, x)))
    assert torch.equal(old, new)
    before, after = rgb.decode(old).sample, wide.decode(new).sample
    assert torch.equal(after[:, :3], before)
    assert bool((after[:, 3] == 1).all())
    assert all(torch.equal(value, state[key]) for key, value in rgb.state_dict().items())
    assert wide.config.input_channels == 4 and QwenRGBACodec(wide).downscale == 8
    with pytest.raises(InputError, match="4 channels"):
        widen_rgb_vae(wide)


@torch.no_grad()
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("time", [[False, True, True], [True, True, False]])
def test_still_convolutions_are_exact_and_leave_no_trace(
    vae: Make, channels_last: bool, time: list[bool]
) -> None:
    model = vae(temperal_downsample=time)
    codec, x = QwenRGBACodec(model), pixels(2)
    keys = list(model.state_dict())
    video = pixels(5).transpose(0, 1)[None]
    latents = codec.encode(x)
    decoded, clip = codec.decode(latents), model.encode(video).latent_dist.mode()
    with still_convolutions(model, channels_last=channels_last):
        assert (codec.encode(x) - latents).abs().max() <= 1e-5
        assert (codec.decode(latents) - decoded).abs().max() <= 1e-5
        assert (model.encode(video).latent_dist.mode() - clip).abs().max() <= 1e-5  # videos still work
        assert list(model.state_dict()) == keys
        model.enable_tiling(tile_sample_min_height=16, tile_sample_min_width=16)
        tiled = codec.decode(latents)
    assert torch.allclose(codec.decode(latents), tiled, atol=1e-5)
    model.use_tiling = False
    assert torch.equal(codec.encode(x), latents) and torch.equal(codec.decode(latents), decoded)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not {"_encode", "_decode"} & set(model.__dict__)


def test_still_convolutions_train_the_last_tap(vae: Make) -> None:
    model, x = vae().train(), pixels(1)
    codec = QwenRGBACodec(model)
    codec.decode(codec.encode(x), clamp=False).square().mean().backward()
    stock = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    restore = install_still_convolutions(model, channels_last=True)
    codec.decode(codec.encode(x), clamp=False).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name not in stock), name
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, stock[name], rtol=1e-3, atol=1e-5), name
    weight = model.encoder.conv_in.weight.grad
    assert weight is not None and weight[:, :, 2].any() and not weight[:, :, :2].any()
    with torch.autocast("cpu", torch.bfloat16):
        codec.decode(codec.encode(x)).mean().backward()
    restore()
    restore()
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_still_convolutions_restore_after_an_error_and_nest(vae: Make) -> None:
    model = vae()
    with pytest.raises(KeyError), still_convolutions(model), still_convolutions(model, channels_last=True):
        raise KeyError
    assert not any("forward" in module.__dict__ for module in model.modules())
