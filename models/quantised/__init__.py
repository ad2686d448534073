"""Weights of linear layers in few bits: NF4 and int8, made while a model loads, and GGUF files as others made them.

``linear`` is a layer whose weight is kept so and is whole only while it computes; ``storage`` has the ways to keep it,
each with the library that defines it (bitsandbytes, diffusers with gguf); ``gguf_file`` and ``gguf_weights`` read a file.
"""

from __future__ import annotations

from .linear import HeldLinear, hold, linears_of_blocks
from .storage import STORED, GGUFBlocks, Storage, storage_named

__all__ = [
    "STORED",
    "GGUFBlocks",
    "HeldLinear",
    "Storage",
    "hold",
    "linears_of_blocks",
    "storage_named",
]
