"""Codecs: RGBA pixels to latents and back."""

from __future__ import annotations

from .base import Codec
from .qwen_rgba import QwenRGBACodec
from .still import install_still_convolutions, still_convolutions
from .widen import widen_rgb_vae

__all__ = ["Codec", "QwenRGBACodec", "install_still_convolutions", "still_convolutions", "widen_rgb_vae"]
