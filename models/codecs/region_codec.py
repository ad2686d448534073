"""A stack of layers in boxes, from FLUX's tokens to pixels (ART, arXiv 2502.18364, section 3.3).

The whole picture and the background come from the RGB VAE and are opaque, the layers from the region decoder, together; or
everything from a 4-channel VAE. Differs: outside of boxes, where no latents were made, stand those of mid grey. Knows
tokens, layouts and networks; not who asks.
"""

from __future__ import annotations

from typing import Any

import torch

from ..backbones.packing import pack_latents, unpack_latents
from ..layout import Box, Frame, Layout
from .kl_rgba import KLRGBACodec
from .region_decoder import RegionDecoder
from .tiles import Tiling, in_tiles

PATCH = 2  # latents along each side of a token


class RegionCodec:
    """``region_decoder`` None: ``vae`` is one of 4 channels. ``tiling``: pictures pass the VAE in tiles; the region decoder
    sees all layers at once and is never tiled."""

    def __init__(
        self, vae: Any, region_decoder: RegionDecoder | None = None, tiling: Tiling | None = None
    ) -> None:
        self.vae = vae
        self.region_decoder = region_decoder
        self.tiling = Tiling(pictures=1) if tiling is None else tiling
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)

    @property
    def _normalisation(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)

    def frames(self, tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
        """The sampled tokens (1, num_noisy_tokens, C) as (frames, c, h, w) normalised latents."""
        grey: Any = 0.0
        if any(frame.box is not None for frame in layout.frames):
            grey = pack_latents(self._grey(layout, tokens.device), PATCH)
        parts = [
            layout.scatter(tokens[:, where], frame, grey)
            for where, frame in zip(layout.slices, layout.frames, strict=True)
        ]
        return unpack_latents(torch.cat(parts), layout.height, layout.width, PATCH)

    def decode(self, frames: torch.Tensor, layout: Layout) -> torch.Tensor:
        """(frames, c, h, w) normalised latents -> straight RGBA (frames, 4, H, W) in [-1, 1]."""
        if self.region_decoder is None:
            return torch.cat([self.decode_alone(frames, place)[None] for place in range(len(frames))])
        scale, shift = self._normalisation
        raw = frames / scale + shift
        opaque = torch.cat([self._opaque(one) for one in raw[:2]])
        finer = Layout(
            height=PATCH * layout.height,
            width=PATCH * layout.width,
            frames=tuple(
                Frame(role=f.role, index=f.index, box=None if f.box is None else _finer(f.box))
                for f in layout.frames
            ),
        )
        seen = self.region_decoder(raw.to(self.region_decoder.dtype), finer).float()
        return torch.cat([opaque, seen[2:]]).clamp(-1, 1)

    def decode_alone(self, frames: torch.Tensor, place: int) -> torch.Tensor:
        """(4, H, W) of one frame, through the 4-channel VAE; the picture and the background opaque."""
        pixels = KLRGBACodec(self.vae, tiling=self.tiling).decode(frames[place : place + 1])[0]
        if place < 2:
            pixels[3] = 1
        return pixels

    def decode_opaque(self, latents: torch.Tensor) -> torch.Tensor:
        """(4, H, W) in [-1, 1] of the normalised latents (c, h, w) of one opaque picture, with an RGB VAE."""
        scale, shift = self._normalisation
        return self._opaque(latents / scale + shift)[0].clamp(-1, 1)

    def _grey(self, layout: Layout, device: torch.device) -> torch.Tensor:
        """Normalised latents (1, c, h, w) of a grey canvas."""
        side, channels = PATCH * self.downscale, int(self.vae.config.in_channels)
        canvas = torch.zeros(1, channels, layout.height * side, layout.width * side, device=device)
        tile, overlap = self.tiling.in_latents(self.downscale, self.downscale)
        mode = in_tiles(
            lambda part: self.vae.encode(part).latent_dist.mode(),
            tile,
            overlap,
            (self.downscale,),
            1,
            canvas.to(self.vae.dtype),
        ).float()
        scale, shift = self._normalisation
        return scale * (mode - shift)

    def _opaque(self, raw: torch.Tensor) -> torch.Tensor:
        """(1, 4, H, W) of raw latents (c, h, w)."""
        tile, overlap = self.tiling.in_latents(self.downscale, self.downscale)
        shown = in_tiles(
            lambda part: self.vae.decode(part, return_dict=False)[0],
            tile,
            overlap,
            (1,),
            self.downscale,
            raw[None].to(self.vae.dtype),
        ).float()
        return torch.cat([shown, torch.ones_like(shown[:, :1])], 1)


def _finer(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return PATCH * x0, PATCH * y0, PATCH * x1, PATCH * y1
