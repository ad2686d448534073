"""LayerDiffuse's latent transparency: alpha hidden in the latents of an RGB VAE."""

from __future__ import annotations

from .codec import LayerDiffuseCodec
from .files import read_layerdiffuse
from .forms import FLUX, SDXL, Form
from .offset_encoder import LatentOffsetEncoder
from .pad_rgb import pad_rgb
from .transparent_unet import TransparentUNet

__all__ = [
    "FLUX",
    "SDXL",
    "Form",
    "LatentOffsetEncoder",
    "LayerDiffuseCodec",
    "TransparentUNet",
    "pad_rgb",
    "read_layerdiffuse",
]
