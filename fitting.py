"""The memory plan of a call: which frames a task has, at which size, and what fits where it will run.

Joins what the user asked (``memory=``), what the model's folder says of itself and this machine. Reads no weights.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError
from .models.memory.budget import Budget, budget_for, parse_memory
from .models.registry import ModelEntry

if TYPE_CHECKING:
    from .models.memory.activations import Work
    from .models.memory.inventory import Inventory
    from .models.memory.plan import Plan

logger = logging.getLogger("acetate.memory")

Memory = Literal["auto", 8, 12, 16, 24, 48, 80] | str | int
RESOLUTION, MULTIPLE, STEPS = 640, 32, 50  # of Qwen-Image-Layered, for folders that name none

# Frames that a task's layers come with, and whether the size is the picture's at the model's resolution or as asked.
_FRAMES = {
    "decompose": (2, True),
    "generate": (1, False),
    "complete": (1, True),
    "extract": (2, True),
    "transparent": (0, False),
}


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
    from .models.memory.activations import Work
    from .pipelines.sizes import bucket_size

    added, of_picture = _FRAMES[task]
    resolution = int(stored.get("default_resolution", RESOLUTION))
    wide, tall = size or (resolution, resolution)
    if of_picture:
        wide, tall = bucket_size(wide, tall, resolution, int(stored.get("size_multiple", MULTIPLE)))
    return Work(
        width=wide,
        height=tall,
        layers=layers,
        frames=layers + added,
        batch=batch,
        steps=steps or int(stored.get("default_steps", STEPS)),
    )


def plan_call(
    task: str,
    entry: ModelEntry,
    stored: dict[str, Any],
    memory: Memory | None,
    layers: int,
    size: tuple[int, int] | None = None,
    *,
    batch: int = 1,
    steps: int | None = None,
) -> Plan | None:
    """The plan of one call of the API on this machine, None where none is asked for; arguments as for :func:`work_of`. It
    is told to whoever listens to the logger "acetate.memory", before anything is loaded."""
    if memory is None:
        return None
    parse_memory(memory)
    from .models.memory.show import lines
    from .session import device_name

    work = work_of(task, stored, layers, size, batch=batch, steps=steps)
    found = plan_here(entry, memory, work, device_name())
    logger.info("%s", "\n".join(lines(found.as_dict())))
    return found


def plan_here(entry: ModelEntry, memory: Memory, work: Work, device: str) -> Plan:
    """The plan of ``work`` on this machine. Raises InputError for an unknown preset, where nothing fits, and where a preset
    is more than there is."""
    from .models.memory.plan import GB, plan

    parse_memory(memory)
    model = _inventory(entry, _stamp(entry))
    budget = _budget(str(memory), device)
    found = plan(model, work, budget)
    if budget.free is not None and found.peak > budget.free:
        raise InputError(
            f"the plan for --memory {memory} takes {found.peak / GB:.1f} GB, but only {budget.free / GB:.1f} GB are free on "
            f"{device}: give a smaller preset, or auto"
        )
    return found


def plan_elsewhere(model: Inventory, preset: int, work: Work, device: str) -> Plan:
    """The plan for another machine, whose own memory is taken to be large enough. Raises InputError where nothing fits."""
    from .models.memory.plan import GB, plan

    return plan(model, work, Budget(device=device, memory=preset * GB))


@lru_cache(maxsize=8)
def _budget(memory: str, device: str) -> Budget:
    """Looked at once per process: what acetate itself holds later is not somebody else's."""
    return budget_for(memory, device)


@lru_cache(maxsize=4)
def _inventory(entry: ModelEntry, contents: str) -> Inventory:
    from .models.memory.inventory import inventory_of

    return inventory_of(entry)


def _stamp(entry: ModelEntry) -> str:
    from .models.folder import fingerprint

    return "" if entry.path is None else fingerprint(entry.path)


__all__ = ["Memory", "plan_call", "plan_elsewhere", "plan_here", "work_of"]
