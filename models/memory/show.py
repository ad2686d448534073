"""Plans as people read them. Knows text only."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InputError
from .activations import Work
from .budget import GB, OVERHEAD, PRESETS, Budget
from .inventory import Inventory
from .plan import Plan, plan


def lines(found: Plan) -> list[str]:
    """One plan in full: what is done, whether it changes results, and the predicted peak of every phase."""
    work = found.work
    text = [
        f"{found.model}, {work.layers} layers at {work.width} x {work.height} px, {found.memory / GB:.1f} GB ({found.device})"
    ]
    if not found.described:
        text.append("  as it is: everything fits at once")
    for what, exact in found.described:
        text.append(f"  {what} ({'same result' if exact else 'changes the result'})")
    text.append(f"  {'phase':<9}{'weights':>9}{'work':>8}{'peak':>8}{'in the machine':>17}   (GB, predicted)")
    for phase in found.phases:
        numbers = f"{phase.weights / GB:9.2f}{phase.work / GB:8.2f}{phase.device / GB:8.2f}{phase.host / GB:17.2f}"
        text.append(f"  {phase.name:<9}{numbers}")
    text.append(
        f"  highest {found.peak / GB:.2f} GB, and {OVERHEAD[found.device] / GB:.1f} GB beside tensors, of {found.memory / GB:.1f} GB"
    )
    return text


def preset_rows(model: Inventory, work: Work, device: str) -> list[tuple[int, Plan | None, str]]:
    """(preset in GB, its plan, or None and why there is none) for every preset."""
    rows: list[tuple[int, Plan | None, str]] = []
    for preset in PRESETS:
        try:
            rows.append((preset, plan(model, work, Budget(device=device, memory=preset * GB)), ""))
        except InputError as error:
            rows.append((preset, None, str(error)))
    return rows


def table(model: Inventory, works: Sequence[Work], device: str) -> list[str]:
    """Every preset for several sizes, as a Markdown table."""
    text = [
        "| `--memory` | layers, size | what is done | same result | text | encode | denoise | decode | in the machine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for work in works:
        for preset, found, why in preset_rows(model, work, device):
            size = f"{work.layers} layers, {work.width} x {work.height}"
            if found is None:
                text.append(f"| {preset} | {size} | refused: {why.partition(': ')[2] or why} | | | | | | |")
                continue
            done = "; ".join(what for what, _ in found.described) or "as it is"
            peaks = " | ".join(f"{phase.device / GB:.1f}" for phase in found.phases)
            host = max(phase.host for phase in found.phases)
            text.append(f"| {preset} | {size} | {done} | {'yes' if found.exact else 'no'} | {peaks} | {host / GB:.1f} |")
    return text
