"""Training the RGBA codec (AutoencoderKLQwenImage with four channels) on procedural layers.

Loss: what an eye can see of a straight RGBA picture, namely its premultiplied colour and its alpha, plus the flattened
picture over a random colour (AlphaVAE's expected-background idea, by sampling), plus gradients. Latents get Gaussian
noise before decoding, so that the decoder forgives what a diffusion model gets slightly wrong, and a small penalty
keeps them near unit scale. No perceptual or adversarial network: none can be had offline. Callers train under
``install_still_convolutions``: pictures through a video VAE at the price of a picture VAE.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLQwenImage
from torch import Tensor

from .precision import mixed


@dataclass(frozen=True, kw_only=True, slots=True)
class VAELossSettings:
    """Weights of the terms; ``noise`` is the standard deviation added to the latents. ``overlap``: of 1 - soft IoU of the
    alphas, picture by picture, which makes a small object's outline count as much as a large one's."""

    alpha: float = 1.0
    overlap: float = 0.0
    background: float = 0.5
    gradient: float = 0.5
    square: float = 2.0
    scale: float = 1e-3
    noise: float = 0.08


def encode_moments(vae: AutoencoderKLQwenImage, pixels: Tensor) -> Tensor:
    """Mean and log-variance (B, 2 z_dim, H/8, W/8) of pixels (B, 4, H, W) in [-1, 1]."""
    return vae.encode(pixels[:, :, None]).latent_dist.parameters[:, :, 0]


def decode_pixels(vae: AutoencoderKLQwenImage, latents: Tensor) -> Tensor:
    """Unclamped pixels (B, 4, 8h, 8w) of raw latents (B, z_dim, h, w)."""
    return vae.decoder(vae.post_quant_conv(latents[:, :, None]))[:, :, 0]


def premultiplied(pixels: Tensor) -> Tensor:
    """(B, 4, H, W) straight in [-1,1] -> premultiplied in [0,1]."""
    unit = (pixels + 1) / 2
    return torch.cat([unit[:, :3] * unit[:, 3:], unit[:, 3:]], 1)


def vae_loss(
    vae: AutoencoderKLQwenImage, pixels: Tensor, settings: VAELossSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a batch (B, 4, H, W) in [-1,1] and what to log (PSNR of premultiplied RGBA in dB, latent scale), left on the
    device."""
    with mixed(pixels.device.type):
        mean = encode_moments(vae, pixels)[:, : vae.config.z_dim]
        decoded = decode_pixels(vae, mean + settings.noise * torch.randn_like(mean))
    mean, decoded = mean.float(), decoded.float()
    seen, target = premultiplied(decoded), premultiplied(pixels)
    error = seen - target
    flat = error[:, :3] - error[:, 3:] * torch.rand(len(pixels), 3, 1, 1, device=pixels.device)
    down, right = error.diff(dim=2).abs().mean(), error.diff(dim=3).abs().mean()
    loss = (
        error[:, :3].abs().mean()
        + settings.alpha * error[:, 3:].abs().mean()
        + settings.background * flat.abs().mean()
        + settings.gradient * (down + right)
        + settings.square * error.square().mean()
        + settings.scale * mean.square().mean()
        + 0.02 * F.relu(decoded.abs() - 1).mean()
    )
    if settings.overlap:
        loss = loss + settings.overlap * (1 - soft_overlap(seen[:, 3].clamp(0, 1), target[:, 3])).mean()
    with torch.no_grad():
        shown = premultiplied(decoded.clamp(-1, 1)) - target
        psnr = -10 * torch.log10(shown.square().mean())
    return loss, {"psnr": psnr, "latent_std": mean.detach().std()}


def soft_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Sum of minima over sum of maxima of alphas (B, H, W) in [0, 1], (B,); close to 1 where both are empty."""
    least, most = torch.minimum(one, other).sum((1, 2)), torch.maximum(one, other).sum((1, 2))
    return (least + 1) / (most + 1)


@torch.no_grad()
def measure_latents(vae: AutoencoderKLQwenImage, batches: list[Tensor]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent channel over the batches, for ``latents_mean`` and ``latents_std``."""
    means = torch.cat([encode_moments(vae, b)[:, : vae.config.z_dim].float() for b in batches])
    return means.mean((0, 2, 3)).tolist(), means.std((0, 2, 3)).tolist()


def clear_video_taps(vae: AutoencoderKLQwenImage) -> None:
    """Zero the temporal taps that pictures never reach, and fix the posterior's variance to the training noise."""
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.weight[:, :, :-1] = 0
        vae.quant_conv.weight[vae.config.z_dim :] = 0
        vae.quant_conv.bias[vae.config.z_dim :] = -5.05  # 2 ln 0.08
