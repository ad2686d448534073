"""Adapters of diffusers' transformers."""

from __future__ import annotations

from .base import Backbone, Capabilities
from .flux import FluxBackbone
from .qwen import QwenBackbone

__all__ = ["Backbone", "Capabilities", "FluxBackbone", "QwenBackbone"]
