"""The plan: the mildest means that fit a budget, what they come to, and a refusal with numbers where none do.

Everything is decided before a weight is read. Knows arithmetic only; ``residency`` carries a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ...errors import InputError
from ..quantised.storage import installed
from .budget import GB, OVERHEAD, PRESETS, Budget
from .inventory import Inventory
from .means import EXACT, Means, full_dtype, ladder
from .prediction import Phase, host_peak, peak, predict
from .work import Work


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one call of one model is held in memory, and what it comes to. Equal for equal questions."""

    model: str
    work: Work
    device: str
    memory: int
    means: Means
    phases: tuple[Phase, ...]
    blocks: int
    host: int | None = field(default=None)

    @property
    def peak(self) -> int:
        """Bytes of tensors on the device, at most."""
        return peak(self.phases).device

    @property
    def total(self) -> int:
        """The same with what the device needs beside tensors: to be compared with the budget."""
        return self.peak + OVERHEAD[self.device]

    @property
    def exact(self) -> bool:
        """Whether every bit of the result is that of a run without a plan (one result at a time)."""
        return self.means.loss(full_dtype(self.device)) == EXACT

    @property
    def rank(self) -> tuple[int, tuple[bool, int, bool]]:
        """How far from the plain run in results, then in speed; smaller is better."""
        return self.means.loss(full_dtype(self.device)), self.means.slowness(self.blocks)

    @property
    def described(self) -> list[tuple[str, bool]]:
        """The means, one sentence each, and whether each leaves the result as it is."""
        return self.means.described(self.blocks, full_dtype(self.device))

    @property
    def coarser(self) -> list[str]:
        """The means that change results."""
        return [text for text, exact in self.described if not exact]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON values; bytes as they are."""
        return {
            "model": self.model,
            "device": self.device,
            "budget": self.memory,
            "host": self.host,
            "size": [self.work.width, self.work.height],
            "layers": self.work.layers,
            "means": [{"what": text, "exact": exact} for text, exact in self.described],
            "exact": self.exact,
            "peaks": {
                one.name: {"weights": one.weights, "work": one.work, "device": one.device, "host": one.host}
                for one in self.phases
            },
            "peak": self.peak,
            "beside_tensors": OVERHEAD[self.device],
            "total": self.total,
        }


def plan(model: Inventory, work: Work, budget: Budget, storage: str | None = None) -> Plan:
    """The first means of the device's ladder that fit. ``storage``: how the user wants blocks to be kept, "float8", "int8"
    or "nf4". Raises InputError with what is needed, what there is and what would fit instead."""
    tried: list[Plan] = []
    for means in ladder_for(model, budget.device, storage):
        tried.append(_with(model, work, budget, means))
        if _fits(tried[-1], budget):
            return tried[-1]
    raise InputError(_refusal(model, work, budget, tried, storage))


def plan_with(model: Inventory, work: Work, means: Means, device: str) -> Plan:
    """The plan with exactly these means, whatever memory there is."""
    phases = predict(model, work, means, shared=device != "cuda")
    total = peak(phases).device + OVERHEAD[device]
    return Plan(
        model=model.name,
        work=work,
        device=device,
        memory=total,
        means=means,
        phases=phases,
        blocks=model.num_blocks,
    )


@lru_cache(maxsize=64)
def smallest_preset(model: Inventory, work: Work, device: str) -> int | None:
    """The smallest preset in GB that fits, with a machine that is large enough beside it; None when none does."""
    for preset in PRESETS:
        try:
            plan(model, work, Budget(device=device, memory=preset * GB))
        except InputError:
            continue
        return preset
    return None


def _with(model: Inventory, work: Work, budget: Budget, means: Means) -> Plan:
    """The means with as many blocks on the device as fit."""
    if means.offload is not None:
        means = replace(means, resident=_most_staying(model, work, budget, means))
    phases = predict(model, work, means, shared=budget.shared)
    return Plan(
        model=model.name,
        work=work,
        device=budget.device,
        memory=budget.memory,
        host=budget.host,
        means=means,
        phases=phases,
        blocks=model.num_blocks,
    )


def _most_staying(model: Inventory, work: Work, budget: Budget, means: Means) -> int:
    """How many blocks can stay. Keeping all of them would be another rung."""
    few, too_many = 0, model.num_blocks
    while too_many - few > 1:
        tried = (few + too_many) // 2
        phases = predict(model, work, replace(means, resident=tried), shared=budget.shared)
        # Blocks are there in every phase but that of the words, before which they are gone where those come first.
        taken = max(phase.device for phase in phases if phase.name != "text" or not means.text_first)
        few, too_many = (tried, too_many) if taken <= budget.tensors else (few, tried)
    return few


def ladder_for(model: Inventory, device: str, storage: str | None = None) -> list[Means]:
    """The means that a model can be held by. LoRAs lie beside layers as they are, not beside few bits, and not over
    modulation that is a table. What is in few bits, by the user's wish (``storage``) or in the model's own file, is not
    rounded again and not read anew for every pass, and modulation is a table there. Of what the planner may choose itself,
    what can be made here."""
    steps = ladder(device)
    if storage is not None or model.kept is not None:
        steps = _in_few_bits(steps, storage)
    elif model.adapters:
        steps = [means for means in steps if means.storage is None]
    if model.adapts_modulation:
        steps = list(dict.fromkeys(replace(means, table=False) for means in steps))
    return [means for means in steps if means.storage in (None, storage) or installed(means.storage)]


def _in_few_bits(steps: list[Means], storage: str | None) -> list[Means]:
    """The ladder for a transformer that may be smaller than its text encoder: the latter's layers wait before any block."""
    kept: list[Means] = []
    for means in steps:
        if not means.table or means.storage is not None or means.offload == "files":
            continue
        kept.append(replace(means, storage=storage))
        if means.text_first and means.offload is None and any(one.text_offload for one in steps):
            kept.append(replace(kept[-1], text_offload=True))
    return kept


def _fits(candidate: Plan, budget: Budget) -> bool:
    return candidate.peak <= budget.tensors and (
        budget.host is None or host_peak(candidate.phases) <= budget.host
    )


def _refusal(
    model: Inventory, work: Work, budget: Budget, tried: list[Plan], storage: str | None = None
) -> str:
    least = min(tried, key=lambda one: one.peak)
    if least.peak <= budget.tensors:
        host = min(host_peak(one.phases) for one in tried if one.peak <= budget.tensors)
        return (
            f"{model.name} fits the device, but {_gb(host)} GB of weights must wait in the machine's memory, where "
            f"{_gb(budget.host or 0)} GB are free: free some, or give --memory a larger preset of a larger device"
        )
    phase = peak(least.phases)
    what = {
        "text": "reading the prompt",
        "encode": "encoding the picture",
        "denoise": "a denoising step",
        "decode": "decoding a layer",
    }[phase.name]
    size = f"{work.layers} layer{'s' * (work.layers != 1)} at {work.width} x {work.height} px"
    text = (
        f"{model.name} with {size} needs at least {_gb(least.total)} GB on this device ({what}: {_gb(phase.weights)} GB of "
        f"weights, {_gb(phase.work)} GB of work, {_gb(OVERHEAD[budget.device])} GB beside), and there are "
        f"{_gb(budget.memory)} GB"
    )
    return f"{text}: {_remedies(model, work, budget, phase, storage)}"


def _remedies(model: Inventory, work: Work, budget: Budget, phase: Phase, storage: str | None) -> str:
    """What would fit: fewer layers, a smaller size, a larger preset; whichever of them do."""
    found = []
    if phase.name != "text":
        most, too_many = 0, work.layers  # so many fit, so many do not
        while too_many - most > 1:
            layers = (most + too_many) // 2
            fewer = work.fewer(layers)
            most, too_many = (
                (layers, too_many) if _any_fits(model, fewer, budget, storage) else (most, layers)
            )
        if most:
            found.append(f"ask for {most} layer{'s' * (most != 1)}")
        for share in (0.75, 0.625, 0.5, 0.375, 0.25):
            wide, tall = (max(32, round(side * share / 32) * 32) for side in (work.width, work.height))
            if _any_fits(model, work.resized(wide, tall), budget, storage):
                found.append(f"work at {wide} x {tall} px")
                break
    larger = [preset for preset in PRESETS if preset * GB > budget.memory]
    fitting = next(
        (
            preset
            for preset in larger
            if _any_fits(model, work, replace(budget, memory=preset * GB, host=None), storage)
        ),
        None,
    )
    if fitting is not None:
        found.append(f"use a device for --memory {fitting}")
    return ", or ".join(found) if found else "no preset fits; ask for fewer layers and a smaller size"


def _any_fits(model: Inventory, work: Work, budget: Budget, storage: str | None) -> bool:
    steps = ladder_for(model, budget.device, storage)
    return any(_fits(_with(model, work, budget, means), budget) for means in steps)


def _gb(size: int) -> str:
    return f"{size / GB:.1f}"
