"""One wanted result: what it starts from and where it belongs. Tensors, layouts and layers only; no networks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from ..models.layout import Layout
from .given import GivenStack


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """An input at its working size. ``width``, ``height``: pixels of the result; ``grid``: (rows, columns)
    of tokens that hold it. ``pictures``: what the clean frames show, in the order of the layout: float32
    H x W x 4 in [0, 1], or latents (C, h, w). ``given``: layers that the result takes over as they are."""

    width: int
    height: int
    grid: tuple[int, int]
    pictures: tuple[np.ndarray | torch.Tensor, ...] = ()
    given: GivenStack | None = None

    @property
    def given_numbers(self) -> tuple[int, ...]:
        """Which layers are given, counted from 1."""
        return () if self.given is None else self.given.numbers

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the result in pixels: that of the given layers where there are any."""
        return (self.width, self.height) if self.given is None else self.given.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """``number``: its place among the results. ``row``: its prompt. ``noise``: latents (pictures, C, h, w),
    float32, one for every picture of the result.

    ``start``: latents (pictures, C, h, w) of layers to start from. ``change``: (rows * columns,) in [0, 1],
    where those may change. ``seed`` None: the caller brought a generator or the noise.
    """

    number: int
    row: int
    canvas: Canvas
    layout: Layout
    noise: torch.Tensor
    seed: int | None = None
    start: torch.Tensor | None = None
    change: torch.Tensor | None = None


def grouped(jobs: Iterable[tuple[Hashable, Job]]) -> list[list[Job]]:
    """Jobs with equal keys together, in the order in which the keys appear."""
    groups: dict[Hashable, list[Job]] = {}
    for key, job in jobs:
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def given_noise(
    latents: torch.Tensor, results: int, frames: int, channels: int, grid: tuple[int, int], patch: int
) -> list[torch.Tensor]:
    """The caller's initial noise, one (frames, C, h, w) float32 per result.

    ``latents``: (B, frames, C, h, w), or packed as diffusers does, (B, frames * rows * columns, C * patch
    ** 2).
    """
    rows, columns = grid
    expected = (results, frames, channels, rows * patch, columns * patch)
    packed = (results, frames * rows * columns, channels * patch * patch)
    if tuple(latents.shape) == packed:
        cells = latents.reshape(results, frames, rows, columns, channels, patch, patch)
        latents = cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(expected)
    if tuple(latents.shape) != expected:
        raise InputError(f"latents must have shape {expected} or {packed}; got {tuple(latents.shape)}.")
    return list(latents.float().cpu())
