"""Prompts to features: what the features are, and one encoder per kind of model."""

from __future__ import annotations

from .embedded import LAYER_TOKENS, PROMPT_TOKENS, EmbeddedTextEncoder, build_encoder, build_tokenizer
from .features import LayerPrompts, TextEncoder, TextFeatures
from .flux import FluxTextEncoder
from .qwen import QwenTextEncoder

__all__ = [
    "LAYER_TOKENS",
    "PROMPT_TOKENS",
    "EmbeddedTextEncoder",
    "FluxTextEncoder",
    "LayerPrompts",
    "QwenTextEncoder",
    "TextEncoder",
    "TextFeatures",
    "build_encoder",
    "build_tokenizer",
]
