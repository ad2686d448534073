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
from ..folder import read_json
from ..inventory import check_tensors, expected_shapes, stored_tensors, weight_files

STEM = "diffusion_pytorch_model"


class KLRGBACodec:
    """``one_at_a_time`` runs the network on one picture at a time. Raises InputError unless ``vae`` takes 4 channels."""

    def __init__(self, vae: Any, *, one_at_a_time: bool = False) -> None:
        channels = int(vae.config.in_channels)
        if channels != 4:
            raise InputError(
                f"The VAE works on {channels} channels, but layers are RGBA and need 4; use AlphaVAE's VAE, or widen this "
                "one with acetate.models.codecs.widen_rgb_vae."
            )
        self.vae = vae
        self.one_at_a_time = one_at_a_time
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
        from diffusers import AutoencoderKL

        folder, remedy = Path(folder), "copy the VAE's whole folder again"
        config = read_json(folder / "config.json", remedy)
        if config.get("_class_name") != "AutoencoderKL" or config.get("in_channels", 3) != 4:
            raise InputError(
                f"{folder / 'config.json'} describes a {config.get('_class_name')} of {config.get('in_channels', 3)} "
                "channels, but an AutoencoderKL of 4 is needed; give the folder of AlphaVAE, or widen an RGB VAE with "
                "widen_rgb_vae."
            )
        found = stored_tensors(weight_files(folder, STEM, remedy), remedy)
        check_tensors(expected_shapes(AutoencoderKL, config), found, folder, remedy)
        vae = AutoencoderKL.from_pretrained(
            str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
        return cls(vae.to(device).eval(), **settings)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) in [-1, 1] -> (B, c, H/8, W/8) in the dtype of ``pixels``. Raises ValueError for other shapes."""
        if pixels.ndim != 4 or pixels.shape[1] != 4:
            raise ValueError(f"expected (B, 4, H, W) pixels, got {tuple(pixels.shape)}")
        if pixels.shape[2] % self.downscale or pixels.shape[3] % self.downscale:
            raise ValueError(
                f"height and width must be multiples of {self.downscale}, got {tuple(pixels.shape[2:])}"
            )
        modes = [self.vae.encode(one).latent_dist.mode() for one in self._parts(pixels.to(self.vae.dtype))]
        scale, shift = self._normalisation
        return (scale * (torch.cat(modes) - shift)).to(pixels.dtype)

    def decode(self, latents: torch.Tensor, *, clamp: bool = True) -> torch.Tensor:
        """(B, c, h, w) -> (B, 4, 8h, 8w) in the dtype of ``latents``, in [-1, 1] when clamped."""
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"expected (B, {self.latent_channels}, h, w) latents, got {tuple(latents.shape)}"
            )
        scale, shift = self._normalisation
        raw = (latents / scale + shift).to(self.vae.dtype)
        pixels = torch.cat([self.vae.decode(one, return_dict=False)[0] for one in self._parts(raw)])
        return (pixels.clamp(-1, 1) if clamp else pixels).to(latents.dtype)

    def _parts(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return batch.split(1) if self.one_at_a_time else (batch,)

    @property
    def _normalisation(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)
