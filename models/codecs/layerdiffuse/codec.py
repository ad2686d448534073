"""LayerDiffuse as a codec (arXiv 2402.17113; FLUX form as published by RedAIGC): RGBA pixels to latents of an RGB VAE.

    encode: x = mu + s * k f(A, P)  of the VAE's distribution for (C in [-1, 1]) * A, normalised as the VAE's config says
    decode: y = g(D(x), x), once or as the median of eight symmetries

Differs from the published code: any size that the VAE takes (the U-Net's input is continued at its edges to its multiple
of 64 and cut again), and one class for both forms. Knows pictures one by one; not documents, prompts or samplers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F

from ....errors import InputError
from ..base import TiledCodec
from ..tiles import Tiling
from .augment import decode_augmented
from .files import read_layerdiffuse
from .forms import OFFSET_SCALE, Form, form_of
from .offset_encoder import LatentOffsetEncoder
from .pad_rgb import pad_rgb
from .transparent_unet import TransparentUNet


class LayerDiffuseCodec(TiledCodec):
    """``vae``: a 3-channel AutoencoderKL. ``encoder`` None: decoding only. ``offset_scale``: what the encoder's output is
    multiplied by (300 for the diffusers files, 1 for Forge's). ``augmented``: the median of eight passes, else one pass;
    ``together``: how many of the eight run as one batch. ``tiling``: by default one picture at a time.

    Raises InputError when the VAE has not three channels or the parts' latent channels differ.
    """

    def __init__(
        self,
        vae: Any,
        decoder: TransparentUNet,
        encoder: LatentOffsetEncoder | None = None,
        *,
        offset_scale: float = OFFSET_SCALE,
        augmented: bool = True,
        together: int = 1,
        tiling: Tiling | None = None,
    ) -> None:
        # One picture after the other, as published, unless the caller says otherwise.
        super().__init__(tiling or Tiling(pictures=1))
        channels, latents = int(vae.config.in_channels), int(vae.config.latent_channels)
        if channels != 3:
            raise InputError(
                f"LayerDiffuse hides alpha in an RGB VAE, but this one works on {channels} channels; use the VAE of the "
                "base model, not one that was made for RGBA."
            )
        for name, part in (("decoder", decoder), ("offset encoder", encoder)):
            if part is not None and part.config["latent_channels"] != latents:
                raise InputError(
                    f"LayerDiffuse's {name} is for {part.config['latent_channels']} latent channels, but the VAE has "
                    f"{latents}; use the files that were made for this base model."
                )
        if not 1 <= together <= 4:
            raise InputError(f"Between 1 and 4 passes can run together; got {together}.")
        self.form: Form = form_of(latents)
        self.vae = vae
        self.decoder = decoder
        self.encoder = encoder
        self.offset_scale = float(offset_scale)
        self.augmented = augmented
        self.together = together
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_channels = latents

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        vae: Any,
        *,
        encoder: str | Path | None = None,
        offset_scale: float | None = None,
        **settings: Any,
    ) -> Self:
        """The codec of published files, loaded strictly by name and shape, on the device and in the dtype of ``vae``.

        ``path``: the FLUX form's TransparentVAE (.pth or .safetensors), or a decoder alone; ``encoder``: the file of the
        SDXL form's encoder. ``offset_scale`` None: what the encoder's file was published with. ``settings``: as in the
        constructor. Raises InputError that names the file and what is wrong with it.
        """
        parts = read_layerdiffuse(Path(path), None if encoder is None else Path(encoder), offset_scale)
        decoder, built = parts.build(vae.device, vae.dtype)
        return cls(vae, decoder, built, offset_scale=parts.offset_scale, **settings)

    @property
    def tile_multiple(self) -> int:
        """The U-Net's own multiple, 64 pixels as published, so that no tile is continued at its edges."""
        return max(self.downscale, self.decoder.multiple)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) straight RGBA in [-1, 1] -> normalised latents (B, c, H/8, W/8) in the dtype of ``pixels``.

        H and W are multiples of 8. Deterministic: the offset takes the place of the noise. Raises InputError without an
        offset encoder, ValueError for other shapes. Gradients flow.
        """
        if self.encoder is None:
            raise InputError(
                "This codec has no offset encoder, so it can only decode; name its file as encoder=..."
            )
        return super().encode(pixels)

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        scale, shift = self._normalisation
        return scale * (self.hide(pixels)[0] - shift)

    def _decode(self, latents: torch.Tensor, clamp: bool) -> torch.Tensor:
        scale, shift = self._normalisation
        return 2 * self.reveal(latents / scale + shift)[1].to(latents.dtype) - 1

    def hide(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(raw latents x_a, the picture on grey in [-1, 1] that they should still decode to), of pixels as above."""
        alpha = (pixels[:, 3:] + 1) / 2
        on_grey = pixels[:, :3] * alpha
        padded = pad_rgb(torch.cat([(pixels[:, :3] + 1) / 2, alpha], 1).float())
        seen = torch.cat([alpha, padded] if self.form.alpha_first else [padded, alpha], 1)

        def hidden(shown: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
            distribution = self.vae.encode(shown).latent_dist
            assert self.encoder is not None
            offset = self.encoder(told.to(self.encoder.dtype)) * self.offset_scale
            return distribution.mean + distribution.std * offset.to(distribution.std)

        return self._to_latents(hidden, on_grey.to(self.vae.dtype), seen), on_grey

    def reveal(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the picture (B, 3, H, W) that the VAE itself shows, RGBA (B, 4, H, W)) of raw latents, both about [0, 1].

        Tiled, the VAE's picture is put together first; then the U-Net sees tiles of it, all its passes tile by tile.
        """
        raw = raw.to(self.vae.dtype)
        picture = self._to_pixels(lambda part: self.vae.decode(part, return_dict=False)[0], raw) * 0.5 + 0.5
        picture = picture.clamp(0, 1) if self.form.clip else picture
        seen = self._to_pixels(self._see, raw, picture)
        return picture, seen.roll(-1, 1) if self.form.alpha_first else seen

    def _see(self, raw: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """What the U-Net makes of a picture and its latents, of any size that the VAE takes."""
        height, width = picture.shape[-2:]
        lower, right = (-size % self.decoder.multiple for size in (height, width))
        edge = (0, right, 0, lower)
        wide = F.pad(picture, edge, mode="replicate").to(self.decoder.dtype)
        deep = F.pad(raw, [size // self.downscale for size in edge], mode="replicate").to(self.decoder.dtype)
        if self.augmented:
            pairs = zip(wide.split(1), deep.split(1), strict=True)
            seen = torch.cat([decode_augmented(self.decoder, *pair, self.together) for pair in pairs])
        else:
            seen = self.decoder(wide, deep)
        return seen[..., :height, :width]

    @property
    def _normalisation(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)
