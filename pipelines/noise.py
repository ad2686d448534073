"""Where the noise of each result comes from. One draw per result, the same whatever else is in the batch.

Knows seeds, generators and shapes. Noise is drawn in float32 on the generator's device (the CPU for seeds),
so one seed is one result on every kind of machine and in every precision of the model.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InputError

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSource:
    """The generator of one result; ``seed`` is None when the caller brought a generator."""

    generator: torch.Generator
    seed: int | None = None


def noise_sources(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    images: int,
    per_image: int,
) -> list[NoiseSource]:
    """One source per result, image by image, ``per_image`` results each.

    ``seed`` one number: every image uses it, its further results the numbers after it, so a picture alone
    gives what it gives in a batch. A list has one seed per image or one per result. ``generator``: one,
    drawn from in order, or one per result. Nothing given: a random seed, which the documents record. Raises
    InputError when counts do not match.
    """
    total = images * per_image
    if generator is not None:
        if seed is not None:
            raise InputError("Give either a seed or a generator, not both.")
        many = [generator] * total if isinstance(generator, torch.Generator) else list(generator)
        if len(many) != total:
            raise InputError(f"{len(many)} generators were given for {total} results; give one for each.")
        return [NoiseSource(generator=one, seed=None) for one in many]
    if seed is None:
        seed = secrets.randbits(31)
    if not isinstance(seed, Sequence) or isinstance(seed, str):
        seed = _whole(seed)
        seeds = [seed + k for _ in range(images) for k in range(per_image)]
    elif len(seed) == total:
        seeds = [_whole(one) for one in seed]
    elif len(seed) == images:
        seeds = [_whole(one) + k for one in seed for k in range(per_image)]
    else:
        raise InputError(f"{len(seed)} seeds were given for {images} images with {per_image} results each.")
    return [NoiseSource(generator=_seeded(one), seed=one) for one in seeds]


def draw_noise(
    source: NoiseSource,
    shape: tuple[int, int, int, int],
    layer_seeds: Sequence[int | None] | None = None,
    *,
    first: int = 1,
) -> torch.Tensor:
    """Standard normal (frames, C, h, w), float32 on the CPU, the composite's frame first.

    ``layer_seeds``: a seed of its own for each layer, bottom to top; None keeps the layer's part of the
    common draw. So one layer can be drawn anew while the others stay. ``first``: the frame of the lowest
    layer, 0 where there is no composite.
    """
    device = source.generator.device
    noise = torch.randn(shape, generator=source.generator, device=device, dtype=torch.float32).cpu()
    if layer_seeds is None:
        return noise
    if len(layer_seeds) != shape[0] - first:
        raise InputError(
            f"{len(layer_seeds)} layer seeds were given for {shape[0] - first} layers; give one or None for each."
        )
    for frame, seed in enumerate(layer_seeds, start=first):
        if seed is not None:
            noise[frame] = torch.randn(shape[1:], generator=_seeded(seed), dtype=torch.float32)
    return noise


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(_whole(seed))


def _whole(seed: Any) -> int:
    """A seed of any integer type as an int; raises InputError for what is none."""
    if (
        hasattr(seed, "__index__")
        and not isinstance(seed, bool)
        and 0 <= (value := operator.index(seed)) <= MAX_SEED
    ):
        return value
    raise InputError(f"A seed must be a whole number between 0 and {MAX_SEED}; got {seed!r}.")
