"""A 4-channel ``AutoencoderKL`` as a codec: AlphaVAE (arXiv 2507.09308), the easiest transparency for FLUX.

    x = s (mode(E(C, A)) - t),   s, t: the VAE's scaling and shift factor; pixels straight, all four channels in [-1, 1]

Differs from the paper in nothing; also any RGB VAE of the class that ``widen_rgb_vae`` gave a fourth channel. It knows
pictures; not layers' order, boxes or documents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch

from ...errors import InputError
from ..parts import check_weights, load_part, read_json
from .base import TiledCodec
from .tiles import Tiling

CLASS = "AutoencoderKL"


class KLRGBACodec(TiledCodec):
    """``one_at_a_time`` is short for ``tiling=Tiling(pictures=1)``. Raises InputError unless ``vae`` takes 4 channels."""

    def __init__(self, vae: Any, *, one_at_a_time: bool = False, tiling: Tiling | None = None) -> None:
        super().__init__(tiling or Tiling(pictures=1 if one_at_a_time else None))
        channels = int(vae.config.in_channels)
        if channels != 4:
            raise InputError(
                f"The VAE works on {channels} channels, but layers are RGBA and need 4; use AlphaVAE's VAE, or widen this "
                "one with acetate.models.codecs.widen_rgb_vae."
            )
        self.vae = vae
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_channels = int(vae.config.latent_channels)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        **settings: Any,
    ) -> Self:
        """The codec of a published folder (config.json, diffusion_pytorch_model.safetensors), strict by name and shape.

        Raises InputError that names the file and what is wrong with it.
        """
        folder, remedy = Path(folder), "copy the VAE's whole folder again"
        config = read_json(folder / "config.json", remedy)
        if config.get("_class_name") != CLASS or config.get("in_channels", 3) != 4:
            raise InputError(
                f"{folder / 'config.json'} describes a {config.get('_class_name')} of {config.get('in_channels', 3)} "
                "channels, but an AutoencoderKL of 4 is needed; give the folder of AlphaVAE, or widen an RGB VAE with "
                "widen_rgb_vae."
            )
        check_weights(folder, CLASS, config, remedy)
        return cls(load_part(CLASS, folder, device, dtype), **settings)

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        scale, shift = self._normalisation
        seen = pixels.to(self.vae.dtype)
        modes = self._to_latents(lambda part: self.vae.encode(part).latent_dist.mode(), seen)
        return scale * (modes - shift)

    def _decode(self, latents: torch.Tensor, clamp: bool) -> torch.Tensor:
        scale, shift = self._normalisation
        raw = (latents / scale + shift).to(self.vae.dtype)
        return self._to_pixels(lambda part: self.vae.decode(part, return_dict=False)[0], raw)

    @property
    def _normalisation(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)
