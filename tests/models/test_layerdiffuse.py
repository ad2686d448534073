"""LayerDiffuse: the published names and sizes, the rules around the networks, and files that are wrong.

The networks themselves are compared with the published code in ``test_reference_parity.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from acetate.errors import InputError
from acetate.models.codecs import Codec, LayerDiffuseCodec
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet, files, pad_rgb
from acetate.models.codecs.layerdiffuse.augment import decode_augmented
from acetate.models.codecs.layerdiffuse.pad_rgb import _area, _linear
from acetate.models.inventory import count_parameters, expected_shapes

SMALL: dict[str, Any] = {"widths": (4, 4, 8, 8, 8), "attention_levels": 1, "blocks_per_level": 1}


def make_vae(latents: int = 16, channels: int = 3) -> AutoencoderKL:
    torch.manual_seed(5)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=latents,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.3611 if latents == 16 else 0.13025,
        shift_factor=0.1159 if latents == 16 else None,
    ).eval()


def make_parts(latents: int = 16) -> tuple[TransparentUNet, LatentOffsetEncoder]:
    """Small, with what starts at zero made non-zero, so that wrong wiring shows."""
    torch.manual_seed(6)
    decoder = TransparentUNet(latent_channels=latents, **SMALL).eval()
    encoder = LatentOffsetEncoder(latent_channels=latents, widths=(4, 8, 8, 8)).eval()
    torch.nn.init.normal_(decoder.latent_conv_in.weight, std=0.3)
    torch.nn.init.normal_(encoder.blocks[-1].weight, std=3e-3)
    return decoder, encoder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published layout at a size that tests can write."""
    monkeypatch.setattr(files, "PUBLISHED_DECODER", SMALL)
    monkeypatch.setattr(files, "PUBLISHED_ENCODER", {"widths": (4, 8, 8, 8)})


def pixels(batch: int = 1, height: int = 32, width: int = 48) -> torch.Tensor:
    x = torch.rand(batch, 4, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1
    x[:, 3, : height // 3] = -1
    return x


@pytest.mark.parametrize(
    ("channels", "unet", "offset"), [(4, 104_104_804, 1_181_764), (16, 104_105_572, 1_209_424)]
)
def test_published_inventories(channels: int, unet: int, offset: int) -> None:
    decoder = expected_shapes(TransparentUNet, {"latent_channels": channels})
    assert len(decoder) == 538 and count_parameters(decoder) == unet
    assert decoder["latent_conv_in.weight"] == (64, channels, 1, 1)
    assert decoder["down_blocks.4.attentions.1.to_out.0.weight"] == (256, 256)
    assert decoder["up_blocks.0.resnets.2.conv_shortcut.weight"] == (512, 1024, 1, 1)
    assert "down_blocks.6.downsamplers.0.conv.weight" not in decoder
    encoder = expected_shapes(LatentOffsetEncoder, {"latent_channels": channels})
    assert len(encoder) == 18 and count_parameters(encoder) == offset
    assert [key for key in encoder if key.endswith("weight")] == [
        f"blocks.{i}.weight" for i in range(0, 17, 2)
    ]
    assert encoder["blocks.16.weight"] == (channels, 256, 3, 3)


def test_a_fresh_pair_hides_nothing_and_ignores_the_latent() -> None:
    torch.manual_seed(0)
    decoder, encoder = TransparentUNet(**SMALL), LatentOffsetEncoder()
    x = torch.rand(1, 4, 32, 32)
    assert not encoder(x).any() and encoder(x).shape == (1, 16, 4, 4)
    latent = torch.randn(1, 16, 4, 4)
    assert torch.equal(decoder(x[:, :3], latent), decoder(x[:, :3], 0 * latent))


@torch.no_grad()
@pytest.mark.parametrize("latents", [4, 16])
def test_encoding_step_by_step(latents: int) -> None:
    vae, (decoder, encoder) = make_vae(latents), make_parts(latents)
    codec, x = LayerDiffuseCodec(vae, decoder, encoder), pixels(2)
    assert isinstance(codec, Codec) and codec.downscale == 8 and codec.latent_channels == latents
    alpha = (x[:, 3:] + 1) / 2
    posterior = vae.encode(x[:, :3] * alpha).latent_dist
    padded = pad_rgb((x + 1) / 2)
    order = [alpha, padded] if latents == 4 else [padded, alpha]
    raw = posterior.mean + posterior.std * encoder(torch.cat(order, 1)) * 300
    expected = 0.13025 * raw if latents == 4 else 0.3611 * (raw - 0.1159)
    torch.testing.assert_close(codec.encode(x), expected, rtol=0, atol=1e-6)
    assert (expected - 0.3611 * (posterior.mean - 0.1159)).abs().max() > 1e-2


@torch.no_grad()
def test_channel_orders_are_permutations_of_one_another() -> None:
    vae, (decoder, encoder) = make_vae(4), make_parts(4)
    codec, x = LayerDiffuseCodec(vae, decoder, encoder, augmented=False), pixels()
    latents = codec.encode(x)
    seen = codec.decode(latents, clamp=False)
    codec.form = replace(codec.form, alpha_first=False)
    encoder.blocks[0].weight.copy_(encoder.blocks[0].weight.roll(-1, 1))
    decoder.conv_out.weight.copy_(decoder.conv_out.weight.roll(-1, 0))
    decoder.conv_out.bias.copy_(decoder.conv_out.bias.roll(-1, 0))
    torch.testing.assert_close(codec.encode(x), latents, rtol=0, atol=1e-6)
    torch.testing.assert_close(codec.decode(latents, clamp=False), seen, rtol=0, atol=1e-5)


@torch.no_grad()
def test_eight_passes_are_equivariant_and_take_the_lower_median() -> None:
    decoder, _ = make_parts()
    picture, latent = torch.rand(1, 3, 32, 48), torch.randn(1, 16, 4, 6)
    y = decode_augmented(decoder, picture, latent)
    assert y.shape == (1, 4, 32, 48) and y.min() >= 0 and y.max() <= 1
    assert torch.equal(decode_augmented(decoder, picture.flip(3), latent.flip(3)).flip(3), y)
    quarter = decode_augmented(
        decoder, picture.rot90(1, (2, 3)).contiguous(), latent.rot90(1, (2, 3)).contiguous()
    )
    assert torch.equal(quarter.rot90(-1, (2, 3)), y)
    torch.testing.assert_close(decode_augmented(decoder, picture, latent, 4), y, rtol=0, atol=1e-5)
    calls: list[int] = []

    def counting(picture: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.full((1, 4, 4, 4), len(calls) / 10)

    median = decode_augmented(counting, torch.rand(1, 3, 4, 4), torch.rand(1, 16, 1, 1))
    assert len(calls) == 8 and bool((median == torch.tensor(0.4)).all())


@torch.no_grad()
def test_any_size_of_the_vae_decodes_and_keeps_its_gradients() -> None:
    codec = LayerDiffuseCodec(make_vae(), *make_parts(), augmented=False)
    for height, width in ((8, 8), (24, 40), (32, 48)):
        latents = codec.encode(pixels(2, height, width))
        assert codec.decode(latents).shape == (2, 4, height, width)
        torch.testing.assert_close(codec.decode(latents)[1:], codec.decode(latents[1:]), rtol=0, atol=1e-6)
    with torch.enable_grad():
        x = pixels().requires_grad_()
        codec.decode(codec.encode(x), clamp=False).sum().backward()
    assert x.grad is not None and bool(x.grad[:, :3].any()) and bool(x.grad[:, 3].any())


def test_padding_carries_colour_on() -> None:
    rgba = torch.zeros(1, 4, 30, 40)
    assert not pad_rgb(rgba).any()
    rgba[:, 0, :, :20], rgba[:, 3, :, :20] = 0.8, 1
    rgba[:, 1, :, 20:] = 0.9  # green nobody sees
    padded = pad_rgb(rgba)
    torch.testing.assert_close(padded[:, 0], torch.full((1, 30, 40), 0.8), rtol=0, atol=1e-5)
    assert not padded[:, 1:].any()
    rgba = torch.rand(2, 4, 17, 5)
    rgba[:, 3] = 1
    assert torch.equal(pad_rgb(rgba), rgba[:, :3])
    assert pad_rgb(torch.rand(1, 4, 1, 9)).shape == (1, 3, 1, 9)
    with pytest.raises(ValueError, match="B, 4, H, W"):
        pad_rgb(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(("cells", "size"), [(64, 53), (53, 44), (7, 5), (2, 1), (400, 333)])
def test_resizing_agrees_with_opencv(cells: int, size: int) -> None:
    cv2 = pytest.importorskip("cv2")
    x = np.random.default_rng(0).random((cells, cells, 3), dtype=np.float32)
    like = torch.zeros(1)

    def ours(matrix: torch.Tensor, values: np.ndarray) -> np.ndarray:
        return torch.einsum("ij,jkc,lk->ilc", matrix, torch.from_numpy(values), matrix).numpy()

    small = cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA)
    assert np.abs(ours(_area(size, cells, like), x) - small).max() < 1e-6
    large = cv2.resize(small, (cells, cells), interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours(_linear(cells, size, like), small) - large.reshape(cells, cells, 3)).max() < 1e-6


def combined(extra: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    decoder, encoder = make_parts()
    return {
        **{f"encoder.{k}": v for k, v in encoder.state_dict().items()},
        **{f"decoder.{k}": v for k, v in decoder.state_dict().items()},
        **(extra or {}),
    }


@torch.no_grad()
@pytest.mark.usefixtures("small")
def test_the_flux_file(tmp_path: Path) -> None:
    torch.save(combined({"sd_vae.encoder.conv_in.weight": torch.zeros(1)}), tmp_path / "TransparentVAE.pth")
    save_file(combined(), tmp_path / "same.safetensors")
    vae = make_vae()
    # Frozen as loaded parts are: on some processors torch takes another kernel for weights that may learn.
    parts = [part.requires_grad_(False) for part in make_parts()]
    expected = LayerDiffuseCodec(vae, *parts, augmented=False)
    latents = expected.encode(pixels())
    for name in ("TransparentVAE.pth", "same.safetensors"):
        codec = LayerDiffuseCodec.from_file(tmp_path / name, vae, augmented=False)
        assert codec.offset_scale == 300 and not codec.decoder.training
        assert torch.equal(codec.encode(pixels()), latents)
        assert torch.equal(codec.decode(latents), expected.decode(latents))
    half = LayerDiffuseCodec.from_file(tmp_path / "same.safetensors", make_vae().to(torch.bfloat16))
    assert half.decoder.dtype == torch.bfloat16 and half.encode(pixels()).dtype == torch.float32


@pytest.mark.usefixtures("small")
def test_the_sdxl_files_and_their_scales(tmp_path: Path) -> None:
    decoder, encoder = make_parts(4)
    vae = make_vae(4)
    save_file(decoder.state_dict(), tmp_path / "decoder.safetensors")
    for name, scale in (("ld_diffusers_sdxl_vae_transparent_encoder", 300), ("vae_transparent_encoder", 1)):
        path = tmp_path / f"{name}.safetensors"
        save_file(encoder.state_dict(), path)
        codec = LayerDiffuseCodec.from_file(tmp_path / "decoder.safetensors", vae, encoder=path)
        assert codec.offset_scale == scale and codec.form.name == "SDXL"
    save_file(encoder.state_dict(), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="offset_scale=300"):
        LayerDiffuseCodec.from_file(
            tmp_path / "decoder.safetensors", vae, encoder=tmp_path / "mine.safetensors"
        )
    codec = LayerDiffuseCodec.from_file(
        tmp_path / "decoder.safetensors", vae, encoder=tmp_path / "mine.safetensors", offset_scale=2
    )
    assert codec.offset_scale == 2
    blind = LayerDiffuseCodec.from_file(tmp_path / "decoder.safetensors", vae)
    with pytest.raises(InputError, match="encoder="):
        blind.encode(pixels())


def without(key: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        state = combined()
        del state[key]
        save_file(state, folder / "file.safetensors")
        return folder / "file.safetensors"

    return write


def with_extra(key: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save_file(combined({key: torch.zeros(2)}), folder / "file.safetensors")
        return folder / "file.safetensors"

    return write


def encoder_as_decoder(folder: Path) -> Path:
    save_file(make_parts()[1].state_dict(), folder / "file.safetensors")
    return folder / "file.safetensors"


def other_shape(folder: Path) -> Path:
    state = combined()
    state["decoder.conv_out.bias"] = torch.zeros(3)
    save_file(state, folder / "file.safetensors")
    return folder / "file.safetensors"


def a_pickle_of_code(folder: Path) -> Path:
    torch.save({"encoder.x": Path("a")}, folder / "file.pth")
    return folder / "file.pth"


def a_number(folder: Path) -> Path:
    torch.save({"epoch": 3}, folder / "file.pth")
    return folder / "file.pth"


def truncated(folder: Path) -> Path:
    path = without("decoder.conv_out.bias")(folder)
    path.write_bytes(path.read_bytes()[:-5])
    return path


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without("decoder.mid_block.resnets.0.conv1.bias"), "lack mid_block.resnets.0.conv1.bias (8)"),
        (without("encoder.blocks.4.weight"), "lack blocks.4.weight"),
        (with_extra("decoder.time_embedding.weight"), "time_embedding.weight, which the model"),
        (with_extra("lora.weight"), "holds lora.weight, which is no part of LayerDiffuse"),
        (other_shape, "conv_out.bias as (3)"),
        (encoder_as_decoder, "holds an offset encoder, not LayerDiffuse's decoder"),
        (a_pickle_of_code, "cannot be read as a file of weights"),
        (a_number, "holds more than named tensors"),
        (truncated, "cannot be read as a file of weights"),
        (lambda folder: folder / "none.safetensors", "There is no file"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, damage: Any, words: str) -> None:
    path = damage(tmp_path)
    with pytest.raises(InputError) as caught:
        LayerDiffuseCodec.from_file(path, make_vae())
    assert words in str(caught.value) and path.name in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_parts_are_named() -> None:
    decoder, encoder = make_parts()
    with pytest.raises(InputError, match="4 channels"):
        LayerDiffuseCodec(make_vae(16, 4), decoder, encoder)
    with pytest.raises(InputError, match="decoder is for 16 latent channels, but the VAE has 4"):
        LayerDiffuseCodec(make_vae(4), decoder)
    with pytest.raises(InputError, match="Between 1 and 4"):
        LayerDiffuseCodec(make_vae(), decoder, together=8)
    codec = LayerDiffuseCodec(make_vae(), decoder, encoder)
    for bad in (torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 12, 8)):
        with pytest.raises(ValueError, match=r"B, 4|multiples of 8"):
            codec.encode(bad)
    with pytest.raises(ValueError, match="B, 16, h, w"):
        codec.decode(torch.zeros(1, 4, 2, 2))
