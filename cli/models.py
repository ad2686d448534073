"""`acetate models`: what can be used here, and how a model would be held in memory, before anything of it is loaded."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .create import parse_size

if TYPE_CHECKING:
    from ..models.family import Family
    from ..models.memory.plan import Plan
    from ..models.registry import ModelEntry


def models(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        return _plans(arguments)
    for option in ("memory", "layers", "size", "device", "quantise", "transformer"):
        if getattr(arguments, option) is not None:
            raise InputError(
                f"--{option} needs a model: `acetate models Qwen/Qwen-Image-Layered --memory 24`"
            )
    return _list(arguments.json)


def _list(as_json: bool) -> int:
    from ..models.memory.known import SMALLEST
    from ..models.registry import DEFAULT_MODEL, MODELS

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "default": entry.name == DEFAULT_MODEL,
            "kind": entry.kind,
            "here": entry.available,
            "licence": entry.licence,
            "summary": entry.summary,
            "tasks": list(entry.tasks),
            "caveat": entry.caveat,
            "backbone": entry.backbone,
            "files": list(entry.files),
            "gigabytes": entry.gigabytes,
            "smallest_memory": SMALLEST.get(entry.name),
            "where": entry.where,
        }
        for entry in MODELS.values()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    width, wide = (max(len(row[key]) for row in rows) for key in ("name", "licence"))
    for row in rows:
        here = "here" if row["here"] else "missing" if row["kind"] == "embedded" else "not downloaded"
        print(f"{row['name']:<{width}}  {here:<14}  {row['licence']:<{wide}}  {row['summary']}")
        size = "" if row["gigabytes"] is None else f"; {row['gigabytes']:g} GB"
        print(f"{'':<{width}}  {', '.join(row['tasks'])}; {row['backbone']}{size}; {row['where']}")
        print(f"{'':<{width}}  {_smallest(row['smallest_memory'])}")
        if row["caveat"]:
            print(f"{'':<{width}}  {row['caveat']}")
    print(
        "Any folder of one of these layouts is a model too: --model PATH. How one fits: acetate models MODEL."
    )
    return 0


def _smallest(known: dict[str, int | None] | None) -> str:
    if known is None:
        return "memory is not planned for it"
    names = {"cuda": "a GPU", "cpu": "the CPU"}
    found = [
        f"--memory {preset} on {names[device]}" if preset is not None else f"no --memory on {names[device]}"
        for device, preset in known.items()
    ]
    return "smallest: " + ", ".join(found)


def _plans(arguments: argparse.Namespace) -> int:
    """The plan for ``--memory``, or every preset's: for one call of ``decompose``; on FLUX of ``transparent``, or of
    ``generate`` where several layers are asked for."""
    from ..fitting import Call, model_inventory, plan_elsewhere, plan_here
    from ..models.family import FLUX
    from ..models.memory.budget import parse_memory
    from ..models.memory.show import lines, preset_rows, table
    from ..models.quantised.storage import STORED
    from ..models.registry import resolve
    from ..run import gguf_path
    from ..session import ModelOptions

    size = None if arguments.size is None else parse_size(arguments.size)
    storage, file = arguments.quantise, gguf_path(arguments.transformer)
    preset = None if arguments.memory is None else parse_memory(arguments.memory)
    if arguments.layers is not None and arguments.layers < 1:
        raise InputError(f"--layers must be at least 1, not {arguments.layers}")
    if size is not None and min(size) < 1:
        raise InputError(f"--size {arguments.size} has no pixels")
    entry = resolve(arguments.model)
    task, usual = "decompose", 4
    if _family(entry) is FLUX:
        task, usual = ("transparent" if arguments.layers in (None, 1) else "generate"), 1
    if storage is not None and storage not in STORED:
        raise InputError(f"quantise must be one of {', '.join(STORED)}, not {storage!r}")
    model = model_inventory(entry, task, ModelOptions(transformer=file))
    call = Call(task=task, layers=arguments.layers or usual, size=size)
    work = call.work(model, {**_stored(entry), **_own_size(size)})
    device = arguments.device or _this_device()
    found: list[Plan]
    if arguments.memory == "auto":
        if arguments.device not in (None, _this_device().split(":")[0]):
            raise InputError(
                f"--memory auto looks at this machine, which has no {arguments.device}: give a preset"
            )
        found = [plan_here(model, "auto", work, _this_device(), storage)]
    elif preset is not None:
        found = [plan_elsewhere(model, preset, work, device.split(":")[0], storage)]
    else:
        rows = preset_rows(model, work, device.split(":")[0], storage)
        if arguments.json:
            listed = [
                {"memory": one, "plan": None if plan is None else plan.as_dict(), "refused": why or None}
                for one, plan, why in rows
            ]
            print(json.dumps(listed, indent=2))
        else:
            print("\n".join(table(model, [work], device.split(":")[0], storage)))
        return 0
    if arguments.json:
        print(json.dumps(found[0].as_dict(), indent=2))
    else:
        print("\n".join(lines(found[0].as_dict())))
    return 0


def _family(entry: ModelEntry) -> Family:
    from ..models.family import FLUX, QWEN, family_of

    stored = _stored(entry)
    if stored and entry.path is not None:
        return family_of(entry.path, stored)
    return FLUX if entry.backbone == FLUX.transformer else QWEN


def _own_size(size: tuple[int, int] | None) -> dict[str, int]:
    """Settings under which a size that was asked for is taken as it is, to a whole multiple of 32 pixels."""
    if size is None:
        return {}
    return {"default_resolution": round((size[0] * size[1]) ** 0.5)}


def _stored(entry: ModelEntry) -> dict[str, Any]:
    from ..models.folder import read_json
    from ..models.registry import cached_snapshot

    path = entry.path or cached_snapshot(entry)
    return {} if path is None else read_json(path / "model_index.json", entry.remedy)


def _this_device() -> str:
    from ..session import device_name

    return device_name()
