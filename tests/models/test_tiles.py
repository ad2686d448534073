"""Codecs in slices and tiles: exact where they must be, close where they may be, and refused where they cannot work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage

from acetate.errors import InputError
from acetate.models.codecs import KLRGBACodec, LayerDiffuseCodec, QwenRGBACodec, TiledCodec, Tiling
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
from acetate.models.codecs.tiles import Span, in_tiles, ramp, spans

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
Make = Callable[..., TiledCodec]


def make_kl(channels: int, latents: int = 4) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=latents,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.1,
    ).eval()


def make_layerdiffuse(tiling: Tiling, augmented: bool, latents: int) -> LayerDiffuseCodec:
    """``multiple`` is 8 with four levels. Layers that start at zero are given weights, or nothing would be tested."""
    vae = make_kl(3, latents)
    torch.manual_seed(1)
    decoder = TransparentUNet(latents, widths=(8, 8, 16, 16), attention_levels=1, blocks_per_level=1).eval()
    encoder = LatentOffsetEncoder(latents, widths=(8, 8, 8, 8)).eval()
    for layer in (decoder.latent_conv_in, encoder.blocks[-1]):
        torch.nn.init.normal_(layer.weight, std=0.05)
    return LayerDiffuseCodec(vae, decoder, encoder, offset_scale=1.0, augmented=augmented, tiling=tiling)


def make_qwen(tiling: Tiling) -> QwenRGBACodec:
    torch.manual_seed(2)
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1, input_channels=4
    )
    return QwenRGBACodec(vae.eval(), transparent_fill=0.5, tiling=tiling)


CODECS: dict[str, Make] = {
    "qwen": make_qwen,
    "kl": lambda tiling: KLRGBACodec(make_kl(4), tiling=tiling),
    "layerdiffuse, FLUX, one pass": lambda tiling: make_layerdiffuse(tiling, False, 16),
    "layerdiffuse, SDXL, eight passes": lambda tiling: make_layerdiffuse(tiling, True, 4),
}


def pixels(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(batch, 4, height // 8, width // 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


@pytest.mark.parametrize("length", [1, 7, 8, 9, 20, 100])
@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 1), (8, 4), (7, 3)])
def test_spans_cover_everything_with_weight(length: int, tile: int, overlap: int) -> None:
    total = torch.zeros(length * 2)
    found = spans(length, tile, overlap)
    for span in found:
        assert span.stop - span.start == min(tile, length)
        assert span.before == (span.start > 0) and span.after == (span.stop < length)
        total[span.start * 2 : span.stop * 2] += ramp(span, overlap, 2, total)
    assert found[0].start == 0 and found[-1].stop == length and total.min() > 0.99


def test_neighbours_weights_add_up_to_one() -> None:
    """At the regular distance, over the overlap; so nothing brightens or darkens at seams."""
    left, right = (
        ramp(Span(0, 16, False, True), 8, 3, torch.zeros(1)),
        ramp(Span(8, 24, True, False), 8, 3, torch.zeros(1)),
    )
    torch.testing.assert_close(left[-24:] + right[:24], torch.ones(24))
    assert left[:24].eq(1).all() and left[-6:].eq(0).all() and right[:6].eq(0).all()


def test_a_network_that_looks_no_farther_than_a_quarter_overlap_is_exact() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 2, 9, padding=4).double()
    picture = torch.randn(2, 3, 70, 90, dtype=torch.float64)
    with torch.no_grad():
        tiled = in_tiles(network, 40, 16, (1,), 1, picture)
        torch.testing.assert_close(tiled, network(picture), rtol=0, atol=1e-6)
        seams = in_tiles(network, 40, 4, (1,), 1, picture)
    assert (seams - network(picture)).abs().max() > 1e-3  # the test can fail


@pytest.mark.parametrize("kind", CODECS)
@torch.no_grad()
def test_slices_are_the_same(kind: str) -> None:
    x = pixels(3, 32, 48)
    codec = CODECS[kind](Tiling())
    latents = codec.encode(x)
    decoded = codec.decode(latents)
    for pictures in (1, 2, 3):
        codec.tiling = Tiling(pictures=pictures)
        torch.testing.assert_close(codec.encode(x), latents, rtol=0, atol=2e-5)
        torch.testing.assert_close(codec.decode(latents), decoded, rtol=0, atol=2e-5)
    one_by_one = torch.cat([codec.decode(one) for one in latents.split(1)])
    codec.tiling = Tiling(pictures=1)
    assert torch.equal(codec.decode(latents), one_by_one)


@pytest.mark.parametrize("kind", CODECS)
@torch.no_grad()
def test_one_tile_over_the_picture_changes_nothing(kind: str) -> None:
    x = pixels(1, 40, 56)
    plain, tiled = CODECS[kind](Tiling()), CODECS[kind](Tiling(tile=64, overlap=16))
    latents = plain.encode(x)
    assert torch.equal(tiled.encode(x), latents)
    assert torch.equal(tiled.decode(latents), plain.decode(latents))


@pytest.mark.parametrize("kind", CODECS)
@torch.no_grad()
def test_tiles_run_where_the_network_sees_them_and_have_the_right_shapes(kind: str) -> None:
    """Odd sizes, more tiles than two, non-square; the largest pictures that the network gets are tiles."""
    x = pixels(2, 72, 136)
    codec = CODECS[kind](Tiling(tile=48, overlap=16, pictures=1))
    seen: list[tuple[int, ...]] = []
    networks = [
        codec.vae.encoder,
        codec.vae.decoder,
        getattr(codec, "decoder", None),
        getattr(codec, "encoder", None),
    ]
    for network in (one for one in networks if one is not None):
        network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    latents = codec.encode(x)
    decoded = codec.decode(latents)
    assert latents.shape == (2, codec.latent_channels, 9, 17) and decoded.shape == x.shape
    assert len(seen) > 24 and all(shape[0] == 1 and max(shape[-2:]) <= 48 for shape in seen)
    assert decoded.isfinite().all() and decoded.min() >= -1 and decoded.max() <= 1


@torch.no_grad()
def test_the_embedded_codec_in_tiles_is_as_good_as_whole() -> None:
    """A trained network on a picture of 3 x 3 tiles: the difference is far below the codec's own error."""
    vae = AutoencoderKLQwenImage.from_pretrained(str(WEIGHTS / "vae"), torch_dtype=torch.float32).eval()
    codec = QwenRGBACodec(vae, transparent_fill=0.5)
    x = pixels(1, 160, 192)
    x[:, 3] = torch.where(x[:, 3] > 0, 1.0, -1.0)  # edges of alpha too
    latents = codec.encode(x)
    whole = codec.decode(latents)
    codec.tiling = Tiling(tile=96, overlap=48)
    tiled = codec.decode(codec.encode(x))
    assert psnr(tiled, whole) > 45
    assert psnr(tiled, x) > psnr(whole, x) - 0.3


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of premultiplied RGBA in [0, 1], dB."""
    one, other = ((x + 1) / 2 for x in (first, second))
    error = torch.cat([one[:, :3] * one[:, 3:] - other[:, :3] * other[:, 3:], one[:, 3:] - other[:, 3:]], 1)
    return float(-10 * error.square().mean().log10())


@torch.no_grad()
def test_raw_output_is_tiled_too() -> None:
    codec = make_qwen(Tiling(tile=32, overlap=16))
    codec.vae.decoder.conv_out.bias += 3.0
    latents = codec.encode(pixels(1, 48, 48))
    assert codec.decode(latents, clamp=False).max() > 1 >= codec.decode(latents).max()


def test_gradients_pass_through_tiles() -> None:
    codec = make_layerdiffuse(Tiling(tile=32, overlap=16), False, 4)
    x = pixels(1, 48, 48).requires_grad_()
    codec.decode(codec.encode(x), clamp=False).square().mean().backward()
    assert x.grad is not None and (x.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pictures": 0}, "pictures must be at least 1"),
        ({"tile": 0}, "tile must be a number of pixels"),
        ({"tile": 64, "overlap": 40}, "between 0 and half of the tile, 64 pixels; not 40"),
        ({"overlap": -8}, "not -8"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Tiling(**settings)


def test_tiles_that_the_network_cannot_take_are_refused() -> None:
    codec = make_layerdiffuse(Tiling(tile=36, overlap=8), True, 4)
    with pytest.raises(InputError, match="steps of 8 pixels and overlaps in steps of 8; not 36 and 8"):
        codec.encode(pixels(1, 48, 48))
    with torch.device("meta"):
        published = TransparentUNet()
    codec = LayerDiffuseCodec(make_kl(3, 16), published, tiling=Tiling(tile=96, overlap=16))
    with pytest.raises(InputError, match="steps of 64 pixels"):
        codec.decode(torch.zeros(1, 16, 8, 8))
