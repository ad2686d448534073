"""The RGBA codec of Qwen-Image-Layered: a 4-channel ``AutoencoderKLQwenImage``, one layer = a video of one frame.

Normalisation comes from ``vae.config`` (arXiv 2512.15603 uses Qwen-Image's constants). It knows single frames of four
channels; not layers' order, boxes or documents.
"""

from __future__ import annotations

from typing import Any

import torch

from ...errors import InputError


class QwenRGBACodec:
    """Encodes and decodes batches of layers.

    ``one_at_a_time`` runs the network on one layer at a time: the same values, the memory of one layer. Tiling is the
    VAE's own (``vae.enable_tiling()``). ``transparent_fill`` in 0..1 is the colour that the VAE was trained to see under
    alpha 0 (None: whatever the pixels hold there). Raises InputError when ``vae`` does not take 4 channels.
    """

    def __init__(
        self, vae: Any, *, one_at_a_time: bool = False, transparent_fill: float | None = None
    ) -> None:
        channels = int(vae.config.input_channels)
        if channels != 4:
            raise InputError(
                f"The VAE works on {channels} channels, but layers are RGBA and need 4; use the VAE of a layered model, "
                "or widen this one with acetate.models.codecs.widen_rgb_vae."
            )
        self.vae = vae
        self.one_at_a_time = one_at_a_time
        self.transparent_fill = transparent_fill
        self.downscale = int(vae.spatial_compression_ratio)
        self.latent_channels = int(vae.config.z_dim)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) float in [-1, 1] -> (B, c, H/d, W/d), (mode - mean) / std, in the dtype of ``pixels``.

        Raises ValueError for other shapes. Gradients flow.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 4:
            raise ValueError(f"expected (B, 4, H, W) pixels, got {tuple(pixels.shape)}")
        if pixels.shape[2] % self.downscale or pixels.shape[3] % self.downscale:
            raise ValueError(
                f"height and width must be multiples of {self.downscale}, got {tuple(pixels.shape[2:])}"
            )
        if self.transparent_fill is not None:
            fill = torch.full_like(pixels[:, :3], 2 * self.transparent_fill - 1)
            colour = torch.where(pixels[:, 3:] > -1, pixels[:, :3], fill)
            pixels = torch.cat([colour, pixels[:, 3:]], 1)
        frames = pixels.to(self.vae.dtype)[:, :, None]
        modes = [self.vae.encode(part).latent_dist.mode() for part in self._parts(frames)]
        latents = modes[0] if len(modes) == 1 else torch.cat(modes)
        mean, std = self._statistics(latents)
        return ((latents - mean) / std)[:, :, 0].to(pixels.dtype)

    def decode(self, latents: torch.Tensor, *, clamp: bool = True) -> torch.Tensor:
        """(B, c, h, w) -> (B, 4, h*d, w*d) in the dtype of ``latents``, clamped to [-1, 1] also when tiled.

        ``clamp=False`` returns the network's raw output, for losses that must see past the limits; it is never tiled.
        """
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"expected (B, {self.latent_channels}, h, w) latents, got {tuple(latents.shape)}"
            )
        frames = latents.to(self.vae.dtype)[:, :, None]
        mean, std = self._statistics(frames)
        frames = frames * std + mean
        parts = [self._decode(part, clamp) for part in self._parts(frames)]
        pixels = parts[0] if len(parts) == 1 else torch.cat(parts)
        return pixels[:, :, 0].to(latents.dtype)

    def _decode(self, frames: torch.Tensor, clamp: bool) -> torch.Tensor:
        if not clamp:
            return self.vae.decoder(self.vae.post_quant_conv(frames))
        return self.vae.decode(frames, return_dict=False)[0].clamp(-1.0, 1.0)

    def _parts(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return frames.split(1) if self.one_at_a_time else (frames,)

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.vae.config
        mean = torch.tensor(config.latents_mean, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        std = torch.tensor(config.latents_std, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        return mean, std
