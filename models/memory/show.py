"""Plans as people read them. Knows text only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InputError
from .budget import GB, PRESETS, Budget
from .inventory import Inventory
from .means import full_dtype
from .plan import Plan, plan
from .work import Work

_COLUMNS = (("weights", 9), ("work", 8), ("device", 8), ("host", 17))


def lines(plan: Mapping[str, Any]) -> list[str]:
    """One plan in full, from its ``as_dict``: what is done, whether it changes results, the peak of every phase."""
    (width, height), layers = plan["size"], plan["layers"]
    budget = plan["budget"] / GB
    text = [
        f"{plan['model']}, {layers} layer{'s' * (layers != 1)} at {width} x {height} px, {budget:.1f} GB ({plan['device']})"
    ]
    if not plan["means"]:
        text.append("  as it is: everything fits at once")
    for means in plan["means"]:
        text.append(f"  {means['what']} ({'same result' if means['exact'] else 'changes the result'})")
    text.append(f"  {'phase':<9}{'weights':>9}{'work':>8}{'peak':>8}{'in the machine':>17}   (GB, predicted)")
    for name, peak in plan["peaks"].items():
        numbers = "".join(f"{peak[key] / GB:{width}.2f}" for key, width in _COLUMNS)
        text.append(f"  {name:<9}{numbers}")
    beside = f"{plan['beside_tensors'] / GB:.1f} GB beside tensors"
    text.append(f"  highest {plan['peak'] / GB:.2f} GB, and {beside}, of {budget:.1f} GB")
    return text


def preset_rows(
    model: Inventory, work: Work, device: str, storage: str | None = None
) -> list[tuple[int, Plan | None, str]]:
    """(preset in GB, its plan, or None and why there is none) for every preset. ``storage``: as ``plan`` takes it."""
    rows: list[tuple[int, Plan | None, str]] = []
    for preset in PRESETS:
        try:
            rows.append((preset, plan(model, work, Budget(device=device, memory=preset * GB), storage), ""))
        except InputError as error:
            rows.append((preset, None, str(error)))
    return rows


def table(model: Inventory, works: Sequence[Work], device: str, storage: str | None = None) -> list[str]:
    """Every preset for several sizes, as a Markdown table; numbers are GB."""
    text = [
        "| `--memory` | layers | size | how it is held | same result | text | encode | denoise | decode | in the machine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for work in works:
        for preset, found, why in preset_rows(model, work, device, storage):
            row = f"| {preset} | {work.layers} | {work.width} x {work.height} |"
            if found is None:
                text.append(f"{row} refused: {why} | | | | | | |")
                continue
            done = found.means.short(found.blocks, full_dtype(device))
            peaks = " | ".join(f"{phase.device / GB:.1f}" for phase in found.phases)
            host = max(phase.host for phase in found.phases)
            text.append(f"{row} {done} | {'yes' if found.exact else 'no'} | {peaks} | {host / GB:.1f} |")
    return text
