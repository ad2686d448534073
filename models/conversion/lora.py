"""LoRA files from one spelling into another, exactly: halves and alphas keep their values, fused layers come apart.

Where the original has one matrix for what diffusers has in several (query, key, value, MLP), with n parts

    apart:     every part has the same lower half and its own rows of the upper half; or, where the upper half is
               block-diagonal, its own n-th of both and of alpha
    together:  the other way round; parts with different lower halves become block-diagonal

Knows values of LoRAs; not of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch

from ...errors import InputError
from .lora_layouts import (
    KOHYA,
    LORA_LAYOUTS,
    PEFT,
    Adapter,
    FoundLora,
    LoraLayout,
    modules_of,
    told_alpha,
    told_alphas,
)
from .modules import Module, Split, cuts, shown
from .plan import Target, made, rows_of, stacked, swapped, whole
from .source import Source, read_tensor


def plan_lora(source: Source, found: FoundLora, to: str) -> tuple[list[Target], dict[str, str]]:
    """The plan into the layout ``to`` and the metadata of its file. Raises InputError where that layout cannot hold the
    LoRA as it is."""
    target = LORA_LAYOUTS[to]
    told = told_alphas(source.metadata, source.config)
    maker = _Maker(source, found, target, told)
    targets = [one for module in modules_of(found.family, found.adapters) for one in maker.module(module)]
    metadata = dict(source.metadata)
    if target.tails == PEFT and told is not None and "lora_adapter_metadata" not in metadata:
        settings = {f"transformer.{key}": value for key, value in told.items()}
        metadata["lora_adapter_metadata"] = json.dumps(settings, sort_keys=True)
    if to == "peft" and any(one.key.endswith(".alpha") for one in targets):
        raise InputError(
            f"{source.where} has alphas of its own, which peft keeps in adapter_config.json and not in the file; convert it "
            "with --to diffusers, which takes them along."
        )
    return targets, metadata


class _Maker:
    def __init__(
        self, source: Source, found: FoundLora, target: LoraLayout, told: dict[str, Any] | None
    ) -> None:
        self.source, self.target, self.told = source, target, told
        self.adapters, self.names = found.adapters, found.layout.names

    def module(self, module: Module) -> Iterator[Target]:
        ours = (module.original,) if self.names == "original" else module.diffusers
        if not any(name in self.adapters for name in ours):
            return
        if self.names == self.target.names or module.split is Split.SAME:
            theirs = (module.original,) if self.target.names == "original" else module.diffusers
            for one, other in zip(ours, ours if self.names == self.target.names else theirs, strict=True):
                if one in self.adapters:
                    yield from self._renamed(self.adapters[one], other, self._diffusers_name(module, one))
        elif module.split is Split.SWAPPED:
            other = module.diffusers[0] if self.names == "original" else module.original
            yield from self._renamed(self.adapters[ours[0]], other, module.diffusers[0], turned=True)
        elif self.names == "original":
            yield from self._apart(module)
        else:
            yield from self._together(module)

    def _diffusers_name(self, module: Module, name: str) -> str:
        return name if self.names == "diffusers" else module.diffusers[0]

    def _key(self, name: str, tail: str) -> str:
        return f"{self.target.prefix}{name.replace('.', '_') if self.target.flat else name}.{tail}"

    def _renamed(
        self, adapter: Adapter, name: str, diffusers: str, *, turned: bool = False
    ) -> Iterator[Target]:
        down, up = (self._key(name, tail) for tail in self.target.tails)
        yield whole(self.source, adapter.down, down)
        yield (swapped if turned else whole)(self.source, adapter.up, up)
        yield from self._alpha(adapter, name, diffusers)

    def _alpha(self, adapter: Adapter, name: str, diffusers: str) -> Iterator[Target]:
        rank = self.source.tensors[adapter.down].shape[0]
        told = told_alpha(self.told, diffusers, rank)
        if adapter.alpha is not None:
            value = read_tensor(self.source, adapter.alpha)
            if not (
                self.target.tails == PEFT and told is not None and value.item() == torch.tensor(told).item()
            ):
                yield whole(self.source, adapter.alpha, self._key(name, "alpha"))
        elif self.target.tails == KOHYA and told is not None and told != rank:
            yield made(self._key(name, "alpha"), torch.tensor(told))

    def _apart(self, module: Module) -> Iterator[Target]:
        adapter = self.adapters[module.original]
        down, up = (self.source.tensors[key] for key in (adapter.down, adapter.up))
        try:
            bounds = cuts(module.split, up.shape[0], down.shape[1])
        except ValueError as error:
            raise InputError(
                f"{self.source.where} holds {adapter.up} with {up.shape}, which is not as wide as {module.original} is; it "
                "belongs to another model."
            ) from error
        upper = read_tensor(self.source, adapter.up)
        alpha = None if adapter.alpha is None else read_tensor(self.source, adapter.alpha)
        share = _share(alpha, len(bounds))
        diagonal = _block_diagonal(upper, bounds) and (alpha is None or share is not None)
        rank = down.shape[0] // len(bounds)
        for k, (name, (start, stop)) in enumerate(zip(module.diffusers, bounds, strict=True)):
            first, second = (self._key(name, tail) for tail in self.target.tails)
            if diagonal:
                yield rows_of(self.source, adapter.down, first, k * rank, (k + 1) * rank)
                yield made(second, upper[start:stop, k * rank : (k + 1) * rank].contiguous())
            else:
                yield whole(self.source, adapter.down, first)
                yield rows_of(self.source, adapter.up, second, start, stop)
            if alpha is not None:
                yield from self._part_alpha(name, share if diagonal and share is not None else alpha, rank)

    def _part_alpha(self, name: str, alpha: torch.Tensor, rank: int) -> Iterator[Target]:
        told = told_alpha(self.told, name, rank)
        if told is None or alpha.item() != torch.tensor(told).item():
            yield made(self._key(name, "alpha"), alpha)

    def _together(self, module: Module) -> Iterator[Target]:
        absent = [name for name in module.diffusers if name not in self.adapters]
        if absent:
            raise InputError(
                f"{self.source.where} changes a part of what {module.original} is in one matrix, but not {shown(absent)}; "
                "only a LoRA of all parts has a place there."
            )
        parts = [self.adapters[name] for name in module.diffusers]
        downs = [read_tensor(self.source, part.down) for part in parts]
        alphas = [self._effective(name, part) for name, part in zip(module.diffusers, parts, strict=True)]
        ranks = {down.shape[0] for down in downs}
        if len(ranks) > 1 or any(_differ(alphas[0], other) for other in alphas[1:]):
            raise InputError(
                f"{self.source.where} gives the parts of {module.original} ({shown(module.diffusers)}) different ranks or "
                "alphas, but it is one matrix there; train or resize them alike."
            )
        first, second = (self._key(module.original, tail) for tail in self.target.tails)
        uppers = [read_tensor(self.source, part.up) for part in parts]
        stops = [sum(len(one) for one in uppers[: k + 1]) for k in range(len(uppers))]
        bounds = list(zip([0, *stops[:-1]], stops, strict=True))
        alpha = alphas[0]
        if all(torch.equal(downs[0], other) for other in downs[1:]) and not _block_diagonal(
            torch.cat(uppers), bounds
        ):
            yield whole(self.source, parts[0].down, first)
            yield stacked(self.source, tuple(part.up for part in parts), second)
        else:
            yield stacked(self.source, tuple(part.down for part in parts), first)
            yield made(second, torch.block_diag(*uppers).to(uppers[0].dtype))
            alpha = None if alpha is None else alpha * len(parts)
            if alpha is not None and _share(alpha, len(parts)) is None:
                raise InputError(f"{self.source.where} has alphas of {module.original} too large for their dtype when put "
                                 "together; save them as float32.")  # fmt: skip
        if alpha is not None:
            yield made(self._key(module.original, "alpha"), alpha)

    def _effective(self, name: str, part: Adapter) -> torch.Tensor | None:
        if part.alpha is not None:
            return read_tensor(self.source, part.alpha)
        rank = self.source.tensors[part.down].shape[0]
        told = told_alpha(self.told, name, rank)
        return None if told is None or told == rank else torch.tensor(told)


def _share(alpha: torch.Tensor | None, parts: int) -> torch.Tensor | None:
    """``alpha`` divided among ``parts``, or None where that is not exact in its dtype."""
    if alpha is None or not alpha.is_floating_point():
        return None
    share = alpha / parts
    return share if torch.equal(share * parts, alpha) else None


def _differ(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None:
        return first is not second
    return not torch.equal(first, second)


def _block_diagonal(upper: torch.Tensor, bounds: list[tuple[int, int]]) -> bool:
    """Whether each part's rows use an n-th of the rank of their own."""
    rank, rest = divmod(upper.shape[1], len(bounds))
    if rest or not rank:
        return False
    for k, (start, stop) in enumerate(bounds):
        rows = upper[start:stop]
        if rows[:, : k * rank].any() or rows[:, (k + 1) * rank :].any():
            return False
    return True
