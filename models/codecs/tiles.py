"""Codecs on less memory: a few pictures at a time, and pictures in overlapping tiles that are blended.

Along an axis of n latents, tiles of t start every t - o and the last ends at n. A quarter of an overlap is context that is
thrown away, the middle half goes over from one tile to its neighbour:

    w(x) = clamp((x + 1/2 - o/4) / (o/2), 0, 1),   x: places from the tile's edge, a product over both axes

So a network that looks no farther than o/4 gives the same as on the whole picture; normalisations and attention look
farther. A picture that one tile covers is not tiled at all. Knows sizes and weights; no networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ...errors import InputError

Run = Callable[..., torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """``pictures``: how many go through the network together (None: all). ``tile``: pixels along a side of a tile (None:
    pictures are never cut), ``overlap``: pixels that neighbours share.

    Raises InputError for values that cannot be.
    """

    pictures: int | None = None
    tile: int | None = None
    overlap: int = 64

    def __post_init__(self) -> None:
        if self.pictures is not None and self.pictures < 1:
            raise InputError(f"pictures must be at least 1 at a time, not {self.pictures}")
        if self.tile is not None and self.tile < 1:
            raise InputError(f"tile must be a number of pixels, not {self.tile}")
        if self.overlap < 0 or (self.tile is not None and 2 * self.overlap > self.tile):
            raise InputError(
                f"overlap must lie between 0 and half of the tile, {self.tile} pixels; not {self.overlap}"
            )

    def in_latents(self, downscale: int, multiple: int) -> tuple[int | None, int]:
        """(tile, overlap) counted in latents. Raises InputError unless both are multiples: of ``multiple`` pixels the
        tile, of ``downscale`` the overlap."""
        if self.tile is None:
            return None, 0
        if self.tile % multiple or self.overlap % downscale:
            raise InputError(
                f"this codec takes tiles in steps of {multiple} pixels and overlaps in steps of {downscale}; not "
                f"{self.tile} and {self.overlap}"
            )
        return self.tile // downscale, self.overlap // downscale


PLANNED = Tiling(pictures=1, tile=512, overlap=128)
"""What a memory plan means by tiles."""


@dataclass(frozen=True, slots=True)
class Span:
    """Places ``start`` to ``stop`` along one axis, and whether neighbours lie before and after."""

    start: int
    stop: int
    before: bool
    after: bool


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """The tiles along an axis, all of one size; one for what a tile covers."""
    if length <= tile:
        return [Span(0, length, False, False)]
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    return [Span(start, start + tile, start > 0, start + tile < length) for start in starts]


def in_slices(run: Run, pictures: int | None, *batches: torch.Tensor) -> torch.Tensor:
    """``run`` on up to ``pictures`` of each batch at a time, put together again."""
    if pictures is None or len(batches[0]) <= pictures:
        return run(*batches)
    return torch.cat([run(*parts) for parts in zip(*(one.split(pictures) for one in batches), strict=True)])


def in_tiles(
    run: Run, tile: int | None, overlap: int, scales: tuple[int, ...], out: int, *inputs: torch.Tensor
) -> torch.Tensor:
    """``run`` on tiles of every input, blended.

    ``tile`` and ``overlap`` count latents; the k-th input (B, C, H, W) has ``scales[k]`` places a latent along each axis,
    the result ``out``. Without a tile, or where one covers everything, ``run`` is called once on the inputs as they are.
    """
    height, width = (size // scales[0] for size in inputs[0].shape[-2:])
    if tile is None or (height <= tile and width <= tile):
        return run(*inputs)
    total = weights = None
    for rows, columns in _cells(spans(height, tile, overlap), spans(width, tile, overlap)):
        parts = [
            one[..., rows.start * s : rows.stop * s, columns.start * s : columns.stop * s]
            for one, s in zip(inputs, scales, strict=True)
        ]
        made = run(*parts)
        if total is None or weights is None:
            shape = (*made.shape[:-2], height * out, width * out)
            total = torch.zeros(shape, dtype=torch.float32, device=made.device)
            weights = torch.zeros(shape[-2:], dtype=torch.float32, device=made.device)
        place = (
            ...,
            slice(rows.start * out, rows.stop * out),
            slice(columns.start * out, columns.stop * out),
        )
        weight = ramp(rows, overlap, out, made)[:, None] * ramp(columns, overlap, out, made)
        total[place] += made * weight
        weights[place] += weight
    assert total is not None and weights is not None
    return (total / weights).to(made.dtype)


def _cells(rows: list[Span], columns: list[Span]) -> Iterator[tuple[Span, Span]]:
    return ((row, column) for row in rows for column in columns)


def ramp(span: Span, overlap: int, scale: int, like: torch.Tensor) -> torch.Tensor:
    """The weights of a tile along one axis, float32: w above, at edges that have a neighbour."""
    places = torch.arange((span.stop - span.start) * scale, dtype=torch.float32, device=like.device) + 0.5
    weight, shared = torch.ones_like(places), overlap * scale
    for known, counted in ((span.before, places), (span.after, places.flip(0))):
        if known and shared:
            weight = weight * ((counted - shared / 4) / (shared / 2)).clamp(0, 1)
    return weight
