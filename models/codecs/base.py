"""Pixels to latents and back: the ``Codec`` protocol. Knows shapes and ranges, no particular network."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class Codec(Protocol):
    """RGBA pixels, float (B, 4, H, W) in [-1, 1], straight colour <-> normalised latents (B, c, H/d, W/d)."""

    downscale: int
    """d: pixels per latent along each side; H and W are multiples of it."""
    latent_channels: int
    """c: channels of a latent."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents with about unit variance, in the dtype of ``pixels``; deterministic (the distribution's mode)."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels clamped to [-1, 1], in the dtype of ``latents``."""
        ...
