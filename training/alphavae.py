"""Training a 4-channel VAE as AlphaVAE does (arXiv 2507.09308): the expected error over random backgrounds.

With a = (alpha + 1) / 2, colour in [-1, 1], and a background b of moments E[b], E[b^2] per channel, the flattened pictures
of target and result differ by D - b d, D = C a - C' a', d = a - a', so that

    L_rec = sum (D^2 - 2 E[b] D d + E[b^2] d^2) / B
    L = L_rec + w_p L_perceptual + w_k KL(q | N(0, 1)) + w_r KL(q | q_ref) + w_d lambda L_adv

q_ref is the posterior of the frozen, freshly widened VAE for the picture flattened on grey and on white; L_perceptual is any
network on both flattenings. Differs from the published code: no perceptual network comes with acetate (callers pass
one). Knows losses; not data, schedules or optimisers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .critic import PatchCritic, adaptive_weight, adversarial_loss
from .precision import mixed
from .vae import premultiplied

Perceptual = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class AlphaVAELossSettings:
    """Weights of the terms and moments of backgrounds in [-1, 1] per channel; the published ones."""

    mean: tuple[float, float, float] = (-0.0357, -0.0811, -0.1797)
    square: tuple[float, float, float] = (0.3163, 0.3060, 0.3634)
    perceptual: float = 0.5
    kl: float = 1e-6
    reference_kl: float = 1e-16
    adversarial: float = 1.0


def expected_background_loss(made: Tensor, target: Tensor, settings: AlphaVAELossSettings) -> Tensor:
    """L_rec above: summed over pixels and channels, averaged over the batch. Both (B, 4, H, W) straight in [-1, 1]."""
    alpha, wanted = (made[:, 3:] + 1) / 2, (target[:, 3:] + 1) / 2
    colour = target[:, :3] * wanted - made[:, :3] * alpha
    cover = wanted - alpha
    mean, square = (
        torch.tensor(moments, dtype=made.dtype, device=made.device).view(1, 3, 1, 1)
        for moments in (settings.mean, settings.square)
    )
    error = colour.square() - 2 * mean * colour * cover + square * cover.square()
    return error.sum() / len(made)


def flattenings(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(on mid grey, on white), each (B, 3, H, W) in [-1, 1], of straight (B, 4, H, W) in [-1, 1]."""
    alpha = (pixels[:, 3:] + 1) / 2
    return pixels[:, :3] * alpha, pixels[:, :3] * alpha + (1 - alpha)


def flatten_some(pixels: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """A ``share`` of the pictures flattened on a random colour of {-1, 0, 1}^3 and made opaque, so that the VAE stays one
    for pictures (published: 0.3)."""
    device = pixels.device
    draw = torch.rand(len(pixels), 1, 1, 1, generator=generator, device=device)
    colour = torch.randint(-1, 2, (len(pixels), 3, 1, 1), generator=generator, device=device).to(pixels)
    alpha = (pixels[:, 3:] + 1) / 2
    opaque = torch.cat([pixels[:, :3] * alpha + colour * (1 - alpha), torch.ones_like(alpha)], 1)
    return torch.where(draw < share, opaque, pixels)


def alphavae_loss(
    vae: Any,
    pixels: Tensor,
    settings: AlphaVAELossSettings,
    *,
    reference: Any = None,
    perceptual: Perceptual | None = None,
    critic: PatchCritic | None = None,
    half: bool = True,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(loss, pixels that came out, what to log) of a batch (B, 4, H, W) in [-1, 1]; ``vae`` a 4-channel AutoencoderKL.

    ``reference``: the frozen widened VAE. ``perceptual``: of two pictures (B, 3, H, W) in [-1, 1]. ``half``: bf16 where the
    device has it; on a CPU a narrow network is faster without. Logged: PSNR of
    premultiplied RGBA in dB and the divergence per picture.
    """
    with mixed(pixels.device.type, half):
        posterior = vae.encode(pixels).latent_dist
        made = vae.decode(posterior.sample(), return_dict=False)[0]
    made = made.float()
    reconstruction = expected_background_loss(made, pixels, settings)
    if perceptual is not None:
        pairs = zip(flattenings(made), flattenings(pixels), strict=True)
        reconstruction = reconstruction + settings.perceptual * sum(perceptual(*pair) for pair in pairs) / 2
    divergence = posterior.kl().mean()
    loss = reconstruction + settings.kl * divergence
    if reference is not None:
        opaque = torch.ones_like(pixels[:, 3:])
        with torch.no_grad():
            known = [reference.encode(torch.cat([one, opaque], 1)).latent_dist for one in flattenings(pixels)]
        loss = loss + settings.reference_kl * sum(posterior.kl(one).mean() for one in known) / 2
    if critic is not None:
        adversarial = adversarial_loss(critic, made)
        weight = adaptive_weight(reconstruction, adversarial, vae.decoder.conv_out.weight)
        loss = loss + settings.adversarial * weight * adversarial
    with torch.no_grad():
        error = premultiplied(made.clamp(-1, 1)) - premultiplied(pixels)
        log = {"psnr": -10 * torch.log10(error.square().mean()), "kl": divergence.detach()}
    return loss, made, log
