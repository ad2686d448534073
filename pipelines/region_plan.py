"""Where the layers of a design go, before anything is drawn: ART's planner interface (arXiv 2502.18364, section 3.1).

    planner: prompt -> {"wholecaption": ..., "layout": [{"layer": i, "x": ..., "y": ..., "width": ..., "height": ...}]}

x and y are a box's centre, all four are fractions of the canvas, layer 0 is the background. Regions are anonymous: no
box has a caption. Differs: any planner that has ``plan`` will do; acetate ships none. Knows boxes and words; no
networks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..errors import InputError
from .sizes import Box

ROUNDING = 1e-6  # pixels


@dataclass(frozen=True, kw_only=True)
class RegionPlan:
    """``caption``: the prompt of the whole picture. ``boxes``: pixels, one per layer, bottom to top; None fills the canvas,
    as the first layer, the background, does."""

    caption: str
    boxes: tuple[Box | None, ...]


@runtime_checkable
class RegionPlanner(Protocol):
    """Turns a prompt into a plan, for instance with a language model."""

    def plan(self, prompt: str, width: int, height: int) -> RegionPlan:
        """A plan for a canvas of ``width`` x ``height`` pixels."""
        ...


def parse_plan(answer: str | Mapping[str, Any], width: int, height: int) -> RegionPlan:
    """The plan in a planner's JSON. Boxes are cut at the canvas; layers come in the order of their numbers, and a background
    that the answer leaves out is added.

    Raises InputError when the answer is no such JSON or a box is empty or lies outside of the canvas.
    """
    try:
        value = json.loads(answer) if isinstance(answer, str) else answer
        caption = str(value["wholecaption"])
        entries = sorted(value["layout"], key=lambda entry: int(entry["layer"]))
        boxes = [(int(entry["layer"]), _box(entry, width, height)) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The planner's answer is no plan ({type(error).__name__}: {error}); it must be JSON with wholecaption and "
            "layout."
        ) from error
    layers: list[Box | None] = [None]
    for number, box in boxes:
        if number == 0:
            continue
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            raise InputError(
                f"The planner's box of layer {number} is empty on the {width} x {height} canvas."
            )
        layers.append(box)
    return RegionPlan(caption=caption, boxes=tuple(layers))


def _box(entry: Mapping[str, Any], width: int, height: int) -> Box:
    x, y, wide, tall = (float(entry[name]) for name in ("x", "y", "width", "height"))
    if not all(map(math.isfinite, (x, y, wide, tall))):
        raise ValueError("a coordinate is not finite")
    left, right = (min(max(edge, 0.0), 1.0) * width for edge in (x - wide / 2, x + wide / 2))
    top, bottom = (min(max(edge, 0.0), 1.0) * height for edge in (y - tall / 2, y + tall / 2))
    # Fractions are rarely exact: a hair over an edge is on it.
    x0, y0 = (math.floor(edge + ROUNDING) for edge in (left, top))
    x1, y1 = (math.ceil(edge - ROUNDING) for edge in (right, bottom))
    return x0, y0, x1, y1
