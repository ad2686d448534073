"""Losses of transparent codecs: closed forms against their definitions, and short trainings that must learn.

`scripts/train_codecs.py --rehearse` is the longer one, on procedural scenes."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL

from acetate.models.codecs import widen_rgb_vae
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, LayerDiffuseCodec, TransparentUNet
from acetate.training.alphavae import (
    AlphaVAELossSettings,
    alphavae_loss,
    expected_background_loss,
    flatten_some,
    flattenings,
)
from acetate.training.critic import PatchCritic, adaptive_weight, adversarial_loss, critic_loss
from acetate.training.layerdiffuse import LayerDiffuseLossSettings, layerdiffuse_loss, trainable


@pytest.fixture(autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_vae(channels: int = 3, width: int = 8) -> AutoencoderKL:
    torch.manual_seed(5)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=16,
        block_out_channels=(width,) * 4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )


def stickers(batch: int, seed: int, size: int = 16) -> torch.Tensor:
    """Soft discs of one colour on nothing, straight, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.linspace(-1, 1, size)
    at = torch.rand(batch, 2, 1, 1, generator=generator) - 0.5
    radius = 0.3 + 0.4 * torch.rand(batch, 1, 1, generator=generator)
    distance = ((grid[None, :, None] - at[:, 0]) ** 2 + (grid[None, None] - at[:, 1]) ** 2).sqrt()
    alpha = ((radius - distance) * 8 + 0.5).clamp(0, 1)[:, None]
    colour = torch.rand(batch, 3, 1, 1, generator=generator).expand(-1, -1, size, size)
    return torch.cat([colour, alpha], 1) * 2 - 1


def test_expected_background_is_the_mean_over_backgrounds() -> None:
    settings = AlphaVAELossSettings()
    made, target = (
        torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in (0, 1)
    )
    mean, square = torch.tensor(settings.mean), torch.tensor(settings.square)
    noise = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(2))
    drawn = mean + (square - mean**2).sqrt() * noise

    def flat(pixels: torch.Tensor) -> torch.Tensor:
        alpha = (pixels[:, 3:] + 1) / 2
        return pixels[:, :3].flatten(2)[..., None] * alpha.flatten(2)[..., None] + drawn.T[None, :, None] * (
            1 - alpha.flatten(2)[..., None]
        )

    sampled = (flat(target) - flat(made)).square().mean(-1).sum() / 2
    exact = expected_background_loss(made, target, settings)
    torch.testing.assert_close(exact, sampled, rtol=5e-3, atol=0)
    assert float(expected_background_loss(target, target, settings)) == 0
    unseen = target.clone()
    unseen[:, 3] = -1
    other = unseen.clone()
    other[:, :3] = 0.3
    assert float(expected_background_loss(other, unseen, settings)) == 0  # colour nobody sees


def test_flattenings() -> None:
    x = stickers(3, 0)
    grey, white = flattenings(x)
    empty = (x[:, 3:] == -1).expand_as(grey)
    assert bool((grey[empty] == 0).all()) and bool((white[empty] == 1).all())
    opaque = flatten_some(x, 1.0, torch.Generator().manual_seed(0))
    assert bool((opaque[:, 3] == 1).all())
    assert torch.equal(flatten_some(x, 0.0), x)


def test_critic_and_its_weight() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(layers=3, width=8)
    real, made = torch.rand(2, 4, 32, 32), torch.rand(2, 4, 32, 32).requires_grad_()
    assert critic(real).shape == (2, 1, 2, 2)
    critic_loss(critic, real, made).backward()
    assert made.grad is None
    adversarial_loss(critic, made).backward()
    assert made.grad is not None
    last = torch.nn.Parameter(torch.tensor([2.0]))
    weight = adaptive_weight(3 * last.sum(), 0.5 * last.sum(), last)
    assert float(weight) == pytest.approx(3 / (0.5 + 1e-4)) and not weight.requires_grad


def test_alphavae_learns_alpha() -> None:
    vae = widen_rgb_vae(make_vae()).train()
    reference = widen_rgb_vae(make_vae()).eval()
    settings = AlphaVAELossSettings()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=5e-3, betas=(0.5, 0.9))
    held, psnr = stickers(8, 999), []
    for step in range(22):
        loss, _, log = alphavae_loss(vae, stickers(4, step), settings, reference=reference)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step == 0:
            psnr.append(float(log["psnr"]))
    with torch.no_grad():
        psnr.append(float(alphavae_loss(vae.eval(), held, settings)[2]["psnr"]))
    assert psnr[1] - psnr[0] >= 6, psnr


def test_alphavae_in_float32_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """``half=False`` is the plain network, whatever the processor can do; with bf16 the network rounds."""
    from acetate.training import precision

    vae, settings, pixels = make_vae(4).eval(), AlphaVAELossSettings(), stickers(2, 0)

    def loss(half: bool) -> torch.Tensor:
        torch.manual_seed(0)
        return alphavae_loss(vae, pixels, settings, half=half)[0]

    monkeypatch.setattr(precision, "native_bf16", lambda device: False)
    plain = loss(True)
    monkeypatch.setattr(precision, "native_bf16", lambda device: True)
    assert torch.equal(loss(False), plain) and not torch.equal(loss(True), plain)


def test_alphavae_with_everything_has_finite_gradients() -> None:
    vae = widen_rgb_vae(make_vae())
    critic = PatchCritic(layers=1, width=8)
    loss, made, log = alphavae_loss(
        vae,
        stickers(2, 0),
        AlphaVAELossSettings(reference_kl=1.0),
        reference=widen_rgb_vae(make_vae()),
        perceptual=lambda a, b: (a - b).abs().mean(),
        critic=critic,
    )
    loss.backward()
    assert made.shape == (2, 4, 16, 16) and set(log) == {"psnr", "kl"}
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in vae.parameters())


def make_codec() -> LayerDiffuseCodec:
    vae = make_vae().eval()
    torch.manual_seed(1)
    decoder = TransparentUNet(widths=(8, 8, 8, 16), attention_levels=1)
    return LayerDiffuseCodec(vae, decoder, LatentOffsetEncoder(widths=(8, 16, 16, 16)))


def test_layerdiffuse_learns_and_leaves_the_vae_alone() -> None:
    codec, settings = make_codec(), LayerDiffuseLossSettings()
    before = {key: value.clone() for key, value in codec.vae.state_dict().items()}
    optimiser = torch.optim.AdamW(trainable(codec), lr=3e-3)
    losses, batch = [], stickers(2, 0)
    for _ in range(15):
        loss = layerdiffuse_loss(codec, batch, settings)[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses
    assert all(torch.equal(value, before[key]) for key, value in codec.vae.state_dict().items())
    assert bool(codec.encoder.blocks[-1].weight.any())  # the offset is in use
    assert codec.augmented


def test_layerdiffuse_identity_term_sees_the_offset() -> None:
    codec, x = make_codec(), stickers(2, 0)
    trainable(codec)
    codec.augmented = False
    only = LayerDiffuseLossSettings(alpha=0, hidden=0, adversarial=0)
    critic = PatchCritic(layers=1, width=8)
    plain = layerdiffuse_loss(codec, x, only)[2]["identity_psnr"]
    with torch.no_grad():
        codec.encoder.blocks[-1].bias += 0.05
    loss, _, log = layerdiffuse_loss(codec, x, LayerDiffuseLossSettings(), critic)
    assert float(log["identity_psnr"]) != float(plain)
    loss.backward()
    assert codec.encoder.blocks[0].weight.grad is not None and codec.vae.encoder.conv_in.weight.grad is None
    assert not codec.augmented
