"""The RGBA codec of Qwen-Image-Layered: a 4-channel ``AutoencoderKLQwenImage``, one layer = a video of one frame.

Normalisation comes from ``vae.config`` (arXiv 2512.15603 uses Qwen-Image's constants). It knows single frames of four
channels; not layers' order, boxes or documents.
"""

from __future__ import annotations

from typing import Any

import torch

from ...errors import InputError
from .base import TiledCodec
from .tiles import Tiling


class QwenRGBACodec(TiledCodec):
    """Encodes and decodes batches of layers.

    ``one_at_a_time`` is short for ``tiling=Tiling(pictures=1)``: the same values, the memory of one layer. The VAE's own
    tiles (``vae.enable_tiling()``) work too, when clamped. ``transparent_fill`` in 0..1 is the colour that the VAE was
    trained to see under alpha 0 (None: whatever the pixels hold there). Raises InputError
    when ``vae`` does not take 4 channels.
    """

    def __init__(
        self,
        vae: Any,
        *,
        one_at_a_time: bool = False,
        transparent_fill: float | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        super().__init__(tiling or Tiling(pictures=1 if one_at_a_time else None))
        channels = int(vae.config.input_channels)
        if channels != 4:
            raise InputError(
                f"The VAE works on {channels} channels, but layers are RGBA and need 4; use the VAE of a layered model, "
                "or widen this one with acetate.models.codecs.widen_rgb_vae."
            )
        self.vae = vae
        self.transparent_fill = transparent_fill
        self.downscale = int(vae.spatial_compression_ratio)
        self.latent_channels = int(vae.config.z_dim)

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.transparent_fill is not None:
            fill = torch.full_like(pixels[:, :3], 2 * self.transparent_fill - 1)
            colour = torch.where(pixels[:, 3:] > -1, pixels[:, :3], fill)
            pixels = torch.cat([colour, pixels[:, 3:]], 1)
        frames = pixels.to(self.vae.dtype)[:, :, None]
        latents = self._to_latents(lambda part: self.vae.encode(part).latent_dist.mode(), frames)
        mean, std = self._statistics(latents)
        return ((latents - mean) / std)[:, :, 0]

    def _decode(self, latents: torch.Tensor, clamp: bool) -> torch.Tensor:
        frames = latents.to(self.vae.dtype)[:, :, None]
        mean, std = self._statistics(frames)

        def decoded(part: torch.Tensor) -> torch.Tensor:
            if not clamp:  # the stock method clamps, and its own tiles are for pictures
                return self.vae.decoder(self.vae.post_quant_conv(part))
            return self.vae.decode(part, return_dict=False)[0]

        return self._to_pixels(decoded, frames * std + mean)[:, :, 0]

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.vae.config
        mean = torch.tensor(config.latents_mean, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        std = torch.tensor(config.latents_std, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        return mean, std
