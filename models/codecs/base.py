"""Pixels to latents and back: the ``Codec`` protocol, and what codecs share, which is checks, slices and tiles.

Knows shapes and ranges, no particular network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch

from .tiles import Run, Tiling, in_slices, in_tiles


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


class TiledCodec(ABC):
    """A codec whose network runs on a few pictures at a time, or on overlapping tiles of them: see ``tiling``.

    Slices are the same arithmetic picture by picture. Tiles differ from the whole picture where the network looks
    farther than the overlap (its normalisations look everywhere); what one tile covers is exactly the same.
    """

    downscale: int
    latent_channels: int

    def __init__(self, tiling: Tiling | None = None) -> None:
        self.tiling = tiling or Tiling()
        """Raises InputError on use, where the tile does not fit the network; may be changed at any time."""

    @property
    def tile_multiple(self) -> int:
        """Tiles are multiples of so many pixels."""
        return self.downscale

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) straight RGBA in [-1, 1] -> normalised latents (B, c, H/d, W/d) in the dtype of ``pixels``.

        H and W are multiples of d; raises ValueError for other shapes, InputError for a tiling that does not fit.
        Deterministic. Gradients flow.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 4:
            raise ValueError(f"expected (B, 4, H, W) pixels, got {tuple(pixels.shape)}")
        if pixels.shape[2] % self.downscale or pixels.shape[3] % self.downscale:
            raise ValueError(
                f"height and width must be multiples of {self.downscale}, got {tuple(pixels.shape[2:])}"
            )
        return in_slices(self._encode, self.tiling.pictures, pixels).to(pixels.dtype)

    def decode(self, latents: torch.Tensor, *, clamp: bool = True) -> torch.Tensor:
        """(B, c, h, w) normalised latents -> straight RGBA (B, 4, hd, wd) in the dtype of ``latents``, in [-1, 1].

        ``clamp=False`` returns the network's raw output, for losses that must see past the limits. Raises ValueError for
        other shapes, InputError for a tiling that does not fit.
        """
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"expected (B, {self.latent_channels}, h, w) latents, got {tuple(latents.shape)}"
            )
        pixels = in_slices(lambda part: self._decode(part, clamp), self.tiling.pictures, latents)
        return (pixels.clamp(-1, 1) if clamp else pixels).to(latents.dtype)

    @abstractmethod
    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents of a few pictures; tiles itself."""

    @abstractmethod
    def _decode(self, latents: torch.Tensor, clamp: bool) -> torch.Tensor:
        """Pixels of the latents of a few pictures; tiles itself."""

    def _to_latents(self, run: Run, *pictures: torch.Tensor) -> torch.Tensor:
        """``run`` on tiles of pictures, all of the same size, giving what has the size of latents."""
        tile, overlap = self.tiling.in_latents(self.downscale, self.tile_multiple)
        return in_tiles(run, tile, overlap, (self.downscale,) * len(pictures), 1, *pictures)

    def _to_pixels(self, run: Run, latents: torch.Tensor, *pictures: torch.Tensor) -> torch.Tensor:
        """``run`` on tiles of latents (and of pictures that belong to them), giving what has the size of pixels."""
        tile, overlap = self.tiling.in_latents(self.downscale, self.tile_multiple)
        scales = (1, *(self.downscale,) * len(pictures))
        return in_tiles(run, tile, overlap, scales, self.downscale, latents, *pictures)
