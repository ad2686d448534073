"""Two spellings of one network, module by module, and the plan from either to the other.

A :class:`Module` says which module of the original code is which of diffusers' modules, and how their rows correspond:

    SAME     one module, another name            THIRDS   query, key and value as one matrix
    SWAPPED  shift and scale in the other order  LINEAR1  query, key, value and MLP as one matrix
    POINT    a 1 x 1 convolution is a matrix

Strict: every tensor of the source is used, none is missing. Knows rows and names; the tables are in their own files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ...errors import InputError
from .plan import Target, rows_of, stacked, swapped, whole
from .source import Source

Style = Literal["original", "diffusers"]
LINEAR = (("weight", "weight"), ("bias", "bias"))
WEIGHT = (("weight", "weight"),)
GAMMA = (("gamma", "gamma"),)
SCALE = (("scale", "weight"),)
SHOWN = 3


class Split(Enum):
    SAME = "same"
    THIRDS = "thirds"
    LINEAR1 = "linear1"
    SWAPPED = "swapped"
    POINT = "point"


@dataclass(frozen=True, slots=True)
class Module:
    """``tails``: the parameters, (name in the original code, name in diffusers). ``optional``: it may be missing whole."""

    original: str
    diffusers: tuple[str, ...]
    split: Split = Split.SAME
    tails: tuple[tuple[str, str], ...] = LINEAR
    optional: bool = False


def same(
    original: str, diffusers: str, tails: tuple[tuple[str, str], ...] = LINEAR, *, optional: bool = False
) -> Module:
    return Module(original, (diffusers,), Split.SAME, tails, optional)


class Names:
    """The keys of a source in one style, prefix taken off, for tables that must know how many blocks there are."""

    def __init__(self, keys: Collection[str], style: Style) -> None:
        self.keys, self.style = keys, style

    def count(self, original: str, diffusers: str) -> int:
        """One more than the largest number that the pattern's group meets; 0 for none."""
        pattern = re.compile(original if self.style == "original" else diffusers)
        found = (pattern.match(key) for key in self.keys)
        return max((int(match.group(1)) + 1 for match in found if match), default=0)

    def has(self, original: str, diffusers: str) -> bool:
        return (original if self.style == "original" else diffusers) in self.keys


Table = Callable[[Names], list[Module]]


def plan_modules(
    source: Source, table: Table, style: Style, prefix: str, target: Style, target_prefix: str, what: str
) -> list[Target]:
    """The plan from ``style`` under ``prefix`` to ``target`` under ``target_prefix``. ``what`` names the layout in errors.

    Raises InputError naming the first keys that are missing or that the layout has no place for.
    """
    keys = {key.removeprefix(prefix) for key in source.tensors if key.startswith(prefix)}
    modules = table(Names(keys, style))
    used: set[str] = set()
    missing: list[str] = []
    targets: list[Target] = []
    for module in modules:
        names = (module.original,) if style == "original" else module.diffusers
        tail_of = 0 if style == "original" else 1
        wanted = [f"{prefix}{name}.{tail[tail_of]}" for name in names for tail in module.tails]
        absent = [key for key in wanted if key not in source.tensors]
        if module.optional and len(absent) == len(wanted):
            continue
        missing += absent
        used.update(wanted)
        if not absent:
            targets += _plan_one(source, module, style, prefix, target, target_prefix)
    unknown = [key for key in source.tensors if key not in used]
    if unknown:
        raise InputError(f"{source.where} looks like {what}, but holds {shown(unknown)}, which that has no place for"
                         f"{_hint(unknown)}.")  # fmt: skip
    if missing:
        raise InputError(
            f"{source.where} looks like {what}, but lacks {shown(missing)}; fetch or copy it again."
        )
    return targets


def shown(keys: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def _hint(keys: Iterable[str]) -> str:
    if any(
        key.endswith(("scale_weight", "weight_scale", "scaled_fp8", "scale_input", "comfy_quant"))
        for key in keys
    ):
        return ": it is quantised with scales of its own; convert the file in bf16 or plain fp8 instead"
    return "; take them out, or convert the file that they came from"


def _plan_one(
    source: Source, module: Module, style: Style, prefix: str, target: Style, target_prefix: str
) -> list[Target]:
    found: list[Target] = []
    for original_tail, diffusers_tail in module.tails:
        one = f"{module.original}.{original_tail}"
        many = tuple(f"{name}.{diffusers_tail}" for name in module.diffusers)
        try:
            if style == target:
                names = (one,) if style == "original" else many
                found += [whole(source, prefix + name, target_prefix + name) for name in names]
            elif target == "diffusers":
                found += _apart(source, module, prefix + one, [target_prefix + name for name in many], prefix)
            else:
                found.append(
                    _together(source, module, tuple(prefix + name for name in many), target_prefix + one)
                )
        except ValueError as error:
            key = prefix + (one if style == "original" else many[0])
            raise InputError(
                f"{source.where} holds {key} with {source.tensors[key].shape}, which cannot be laid out as {', '.join(many)}"
                "; it belongs to another model."
            ) from error
    return found


def _apart(source: Source, module: Module, key: str, names: list[str], prefix: str) -> list[Target]:
    shape = source.tensors[key].shape
    if module.split is Split.SAME:
        return [whole(source, key, names[0])]
    if module.split is Split.SWAPPED:
        return [swapped(source, key, names[0])]
    if module.split is Split.POINT:
        return [whole(source, key, names[0], _pointless(shape))]
    weight = source.tensors[f"{prefix}{module.original}.weight"]
    bounds = cuts(module.split, shape[0], weight.shape[1])
    return [rows_of(source, key, name, *pair) for name, pair in zip(names, bounds, strict=True)]


def _together(source: Source, module: Module, keys: tuple[str, ...], name: str) -> Target:
    if module.split is Split.SWAPPED:
        return swapped(source, keys[0], name)
    if module.split is Split.POINT and len(shape := source.tensors[keys[0]].shape) > 1:
        return whole(source, keys[0], name, (*shape, 1, 1))
    return stacked(source, keys, name) if len(keys) > 1 else whole(source, keys[0], name)


def cuts(split: Split, rows: int, width: int) -> list[tuple[int, int]]:
    """(start, stop) of each of diffusers' parts in a fused matrix of ``rows`` rows; ValueError where it is none."""
    if split is Split.THIRDS:
        if rows % 3:
            raise ValueError("rows are no multiple of three")
        sizes = [rows // 3] * 3
    else:
        sizes = [width, width, width, rows - 3 * width]
        if sizes[-1] <= 0:
            raise ValueError("too few rows")
    stops = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return list(zip([0, *stops[:-1]], stops, strict=True))


def _pointless(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 1:
        return shape
    if shape[2:] != (1, 1):
        raise ValueError("no 1 x 1 convolution")
    return shape[:2]
