"""Codecs: RGBA pixels to latents and back."""

from __future__ import annotations

from .base import Codec, TiledCodec
from .kl_rgba import KLRGBACodec
from .layerdiffuse import LayerDiffuseCodec
from .qwen_rgba import QwenRGBACodec
from .region_codec import RegionCodec
from .region_decoder import RegionDecoder
from .still import install_still_convolutions, still_convolutions
from .tiles import Tiling
from .widen import widen_rgb_vae

__all__ = [
    "Codec",
    "KLRGBACodec",
    "LayerDiffuseCodec",
    "QwenRGBACodec",
    "RegionCodec",
    "RegionDecoder",
    "TiledCodec",
    "Tiling",
    "install_still_convolutions",
    "still_convolutions",
    "widen_rgb_vae",
]
