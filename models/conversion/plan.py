"""What a converted checkpoint is made of: every tensor as rows of others, in order. Knows rows; neither names nor files."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..inventory import Shape
from .source import NAMES, Source


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows ``start`` to ``stop`` of a source's tensor, bytes as they are."""

    key: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Target:
    """A tensor to write: the bytes of ``parts`` one after the other, under a name, a dtype and a shape."""

    key: str
    dtype: str
    shape: Shape
    parts: tuple[Rows | torch.Tensor, ...]


def whole(source: Source, key: str, name: str, shape: Shape | None = None) -> Target:
    """The tensor ``key`` under another name (and another shape of as many numbers)."""
    stored = source.tensors[key]
    rows = Rows(key, 0, stored.shape[0] if stored.shape else 1)
    return Target(name, stored.dtype, stored.shape if shape is None else shape, (rows,))


def rows_of(source: Source, key: str, name: str, start: int, stop: int) -> Target:
    """Some rows of the tensor ``key`` under a name of their own."""
    stored = source.tensors[key]
    return Target(name, stored.dtype, (stop - start, *stored.shape[1:]), (Rows(key, start, stop),))


def stacked(source: Source, keys: tuple[str, ...], name: str) -> Target:
    """Tensors of one dtype and one row's shape on top of each other; ValueError where they differ in either."""
    found = [source.tensors[key] for key in keys]
    if len({(one.dtype, one.shape[1:]) for one in found}) != 1:
        raise ValueError("rows differ")
    parts = tuple(Rows(key, 0, one.shape[0]) for key, one in zip(keys, found, strict=True))
    return Target(name, found[0].dtype, (sum(one.shape[0] for one in found), *found[0].shape[1:]), parts)


def swapped(source: Source, key: str, name: str) -> Target:
    """The tensor ``key`` with its lower half above its upper one; ValueError for an odd number of rows."""
    stored = source.tensors[key]
    half, odd = divmod(stored.shape[0], 2)
    if odd:
        raise ValueError("odd rows")
    return Target(name, stored.dtype, stored.shape, (Rows(key, half, 2 * half), Rows(key, 0, half)))


def made(name: str, value: torch.Tensor) -> Target:
    """A tensor that is computed here (only LoRAs need any)."""
    return Target(name, NAMES[value.dtype], tuple(value.shape), (value,))
