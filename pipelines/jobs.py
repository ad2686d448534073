"""One wanted result: what it starts from and where it belongs. Tensors and numbers only; no networks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """An input at its working size. ``width``, ``height``: pixels of the result; ``grid``: (rows, columns)
    of tokens that hold it. ``pixels``: the picture, float32 H x W x 4 in [0, 1], or ``condition``: its
    latents (C, h, w)."""

    width: int
    height: int
    grid: tuple[int, int]
    pixels: np.ndarray | None = None
    condition: torch.Tensor | None = None

    @property
    def picture(self) -> np.ndarray:
        """``pixels`` of a canvas that has them."""
        assert self.pixels is not None
        return self.pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """``number``: its place among the results. ``row``: its prompt. ``noise``: latents (frames, C, h, w),
    float32.

    ``given``: latents (frames, C, h, w) of layers to start from. ``change``: (rows * columns,) in [0, 1],
    where those may change. ``seed`` None: the caller brought a generator or the noise.
    """

    number: int
    row: int
    canvas: Canvas
    noise: torch.Tensor
    seed: int | None = None
    given: torch.Tensor | None = None
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
