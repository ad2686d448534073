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
from .augment import decode_augmented
from .files import read_layerdiffuse
from .forms import OFFSET_SCALE, Form, form_of
from .offset_encoder import LatentOffsetEncoder
from .pad_rgb import pad_rgb
from .transparent_unet import TransparentUNet


class LayerDiffuseCodec:
    """``vae``: a 3-channel AutoencoderKL. ``encoder`` None: decoding only. ``offset_scale``: what the encoder's output is
    multiplied by (300 for the diffusers files, 1 for Forge's). ``augmented``: the median of eight passes, else one pass;
    ``together``: how many of the eight run as one batch.

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
    ) -> None:
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

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) straight RGBA in [-1, 1] -> normalised latents (B, c, H/8, W/8) in the dtype of ``pixels``.

        H and W are multiples of 8. Deterministic: the offset takes the place of the noise. Raises InputError without an
        offset encoder. Gradients flow.
        """
        if self.encoder is None:
            raise InputError(
                "This codec has no offset encoder, so it can only decode; name its file as encoder=..."
            )
        if pixels.ndim != 4 or pixels.shape[1] != 4:
            raise ValueError(f"expected (B, 4, H, W) pixels, got {tuple(pixels.shape)}")
        if pixels.shape[2] % self.downscale or pixels.shape[3] % self.downscale:
            raise ValueError(
                f"height and width must be multiples of {self.downscale}, got {tuple(pixels.shape[2:])}"
            )
        scale, shift = self._normalisation
        raw = torch.cat([self.hide(one)[0] for one in pixels.split(1)])
        return (scale * (raw - shift)).to(pixels.dtype)

    def decode(self, latents: torch.Tensor, *, clamp: bool = True) -> torch.Tensor:
        """(B, c, h, w) normalised latents -> straight RGBA (B, 4, 8h, 8w) in the dtype of ``latents``, in [-1, 1] when
        clamped (always when augmented)."""
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"expected (B, {self.latent_channels}, h, w) latents, got {tuple(latents.shape)}"
            )
        scale, shift = self._normalisation
        raw = latents / scale + shift
        pixels = 2 * torch.cat([self.reveal(one)[1] for one in raw.split(1)]).to(latents.dtype) - 1
        return pixels.clamp(-1, 1) if clamp else pixels

    def hide(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(raw latents x_a, the picture on grey in [-1, 1] that they should still decode to), of pixels as above."""
        alpha = (pixels[:, 3:] + 1) / 2
        on_grey = pixels[:, :3] * alpha
        padded = pad_rgb(torch.cat([(pixels[:, :3] + 1) / 2, alpha], 1).float())
        distribution = self.vae.encode(on_grey.to(self.vae.dtype)).latent_dist
        seen = [alpha, padded] if self.form.alpha_first else [padded, alpha]
        assert self.encoder is not None
        offset = self.encoder(torch.cat(seen, 1).to(self.encoder.dtype)) * self.offset_scale
        return distribution.mean + distribution.std * offset.to(distribution.std), on_grey

    def reveal(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the picture (B, 3, H, W) that the VAE itself shows, RGBA (B, 4, H, W)) of raw latents, both about [0, 1]."""
        raw = raw.to(self.vae.dtype)
        picture = self.vae.decode(raw, return_dict=False)[0] * 0.5 + 0.5
        picture = picture.clamp(0, 1) if self.form.clip else picture
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
        seen = seen[..., :height, :width]
        return picture, seen.roll(-1, 1) if self.form.alpha_first else seen

    @property
    def _normalisation(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)
