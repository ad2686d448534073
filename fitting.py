"""The memory plan of a call: which frames a task has, at which size, and what fits where it will run.

Joins what the user asked (``memory=``), what the model's folder says of itself and this machine. Reads no weights.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError
from .models.family import FLUX, Family
from .models.memory.budget import Budget, budget_for, parse_memory
from .models.registry import ModelEntry

if TYPE_CHECKING:
    from .models.memory.inventory import Inventory
    from .models.memory.plan import Plan
    from .models.memory.work import Box, Work
    from .session import ModelOptions

logger = logging.getLogger("acetate.memory")

Memory = Literal["auto", 8, 12, 16, 24, 48, 80] | str | int
Quantise = Literal["float8", "int8", "nf4"] | str
RESOLUTION, MULTIPLE, STEPS = 640, 32, 50  # of Qwen-Image-Layered, for folders that name none
# FLUX's pipelines have these: steps and branches of a task, and steps of schnell.
FLUX_STEPS, FLUX_BRANCHES, FAST_STEPS = (
    {"transparent": 50, "generate": 28},
    {"transparent": 1, "generate": 2},
    4,
)

# Frames that a task's layers come with, and whether the size is the picture's at the model's resolution or as asked.
_FRAMES = {
    "decompose": (2, True),
    "generate": (1, False),
    "complete": (1, True),
    "extract": (2, True),
    "transparent": (0, False),
}


def usual(entry: ModelEntry, family: Family, stored: dict[str, Any]) -> tuple[int, int]:
    """Steps, and pixels along a side of the canvas, of a model on this machine where nobody asks for others."""
    if family is FLUX:
        from .models.folder import read_json
        from .pipelines.sizes import FLUX_SIDE

        assert entry.path is not None
        told = read_json(entry.path / "transformer" / "config.json", entry.remedy).get(
            "guidance_embeds", False
        )
        return (FLUX_STEPS["generate"] if told else FAST_STEPS), FLUX_SIDE
    return int(stored.get("default_steps", STEPS)), int(stored.get("default_resolution", RESOLUTION))


def picture_size(stored: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) at which the model works on a picture of ``size``. ``stored``: the model's own settings."""
    from .pipelines.sizes import bucket_size

    resolution = int(stored.get("default_resolution", RESOLUTION))
    return bucket_size(*size, resolution, int(stored.get("size_multiple", MULTIPLE)))


def work_of(
    task: str,
    stored: dict[str, Any],
    layers: int,
    size: tuple[int, int] | None = None,
    *,
    batch: int = 1,
    steps: int | None = None,
) -> Work:
    """What one call comes to. ``stored``: the model's own settings; ``size``: (width, height) of the picture or canvas in
    pixels, None for the model's own square."""
    from .models.memory.work import Work

    added, of_picture = _FRAMES[task]
    resolution = int(stored.get("default_resolution", RESOLUTION))
    wide, tall = size or (resolution, resolution)
    if of_picture:
        wide, tall = picture_size(stored, (wide, tall))
    return Work(
        width=wide,
        height=tall,
        layers=layers,
        frames=layers + added,
        batch=batch,
        steps=steps or int(stored.get("default_steps", STEPS)),
    )


def flux_work(
    task: str,
    fast: bool,
    layers: int,
    size: tuple[int, int] | None = None,
    *,
    steps: int | None = None,
    boxes: Sequence[Box | None] | None = None,
    picture: bool = False,
) -> Work:
    """What one call on FLUX comes to. ``fast``: schnell; ``size``: (width, height) of the canvas; ``boxes``: of the layers,
    the background's None first; ``picture``: whether it starts from one."""
    from .models.memory.work import Work
    from .pipelines.sizes import flux_canvas

    wide, tall = flux_canvas(*(size or (None, None)))
    return Work(
        width=wide,
        height=tall,
        layers=layers,
        frames=layers + (task == "generate"),
        steps=steps or (FAST_STEPS if fast else FLUX_STEPS[task]),
        branches=FLUX_BRANCHES[task],
        boxes=None if boxes is None else tuple(boxes),
        picture=picture,
    )


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the API: its task, and what there is in it. ``size``: (width, height) of a picture or canvas in pixels,
    None for the model's own; ``steps`` None: the model's own; ``boxes``: of every layer, the background's None first, where
    layers have boxes; ``picture``: whether FLUX starts from one."""

    task: str
    layers: int
    size: tuple[int, int] | None = None
    batch: int = 1
    steps: int | None = None
    boxes: Sequence[Box | None] | None = None
    picture: bool = False

    def work(self, model: Inventory, stored: dict[str, Any]) -> Work:
        """What it comes to on ``model``. ``stored``: the model's own settings."""
        if model.family is not FLUX:
            return work_of(self.task, stored, self.layers, self.size, batch=self.batch, steps=self.steps)
        return flux_work(
            self.task,
            model.fast,
            self.layers,
            self.size,
            steps=self.steps,
            boxes=self.boxes,
            picture=self.picture,
        )


def plan_call(
    call: Call,
    entry: ModelEntry,
    stored: dict[str, Any],
    memory: Memory | None,
    options: ModelOptions | None = None,
) -> Plan | None:
    """The plan of one call of the API on this machine, None where none is asked for. It is told to whoever listens to the
    logger "acetate.memory", before anything is loaded. ``options``: what the user adds to the model, which counts; weights
    in few bits are planned for what is free where no ``memory`` is named."""
    if memory is None and options is not None and options.few_bits:
        memory = "auto"
    if memory is None:
        return None
    parse_memory(memory)
    from .models.memory.show import lines
    from .session import device_name, load_libraries

    load_libraries()
    model = model_inventory(entry, call.task, options)
    storage = None if options is None else options.quantise
    found = plan_here(model, memory, call.work(model, stored), device_name(), storage)
    logger.info("%s", "\n".join(lines(found.as_dict())))
    return found


def model_inventory(entry: ModelEntry, task: str, options: ModelOptions | None = None) -> Inventory:
    """What a model's parts weigh for ``task``, with what the user adds to it. Raises InputError for LoRAs that a plan cannot
    count."""
    from .models.folder import fingerprint

    alpha, file = (None, None) if options is None else (options.transparency, options.transformer)
    contents = tuple(None if path is None else fingerprint(path) for path in (entry.path, alpha, file))
    model = _inventory(entry, task, alpha, file, contents)
    loras = () if options is None else options.loras
    if not loras:
        return model
    from .models.memory.adapters import count_adapters

    size, modulation = count_adapters(loras)
    return replace(model, adapters=size, adapts_modulation=modulation)


def plan_here(model: Inventory, memory: Memory, work: Work, device: str, storage: str | None = None) -> Plan:
    """The plan of ``work`` on this machine. ``storage``: how the user wants blocks to be quantised. Raises InputError for an
    unknown preset, where nothing fits, and where a preset is more than there is."""
    from .models.memory.plan import GB, plan

    parse_memory(memory)
    budget = _budget(str(memory), device)
    found = plan(model, work, budget, storage)
    if budget.free is not None and found.peak > budget.free:
        raise InputError(
            f"the plan for --memory {memory} takes {found.peak / GB:.1f} GB, but only {budget.free / GB:.1f} GB are free on "
            f"{device}: give a smaller preset, or auto"
        )
    return found


def plan_elsewhere(
    model: Inventory, preset: int, work: Work, device: str, storage: str | None = None
) -> Plan:
    """The plan for another machine, whose own memory is taken to be large enough; ``storage`` as :func:`plan_here` has it.
    Raises InputError where nothing fits."""
    from .models.memory.plan import GB, plan

    return plan(model, work, Budget(device=device, memory=preset * GB), storage)


@lru_cache(maxsize=8)
def _budget(memory: str, device: str) -> Budget:
    """Looked at once per process: what acetate itself holds later is not somebody else's."""
    return budget_for(memory, device)


@lru_cache(maxsize=4)
def _inventory(
    entry: ModelEntry,
    task: str,
    transparency: Path | None,
    file: Path | None,
    contents: tuple[str | None, ...],
) -> Inventory:
    """``contents`` tells files that have changed from what was counted."""
    from .models.memory.inventory import inventory_of

    return inventory_of(entry, task, transparency, file)


__all__ = [
    "Call",
    "Memory",
    "Quantise",
    "model_inventory",
    "picture_size",
    "plan_call",
    "plan_elsewhere",
    "plan_here",
    "work_of",
]
