"""The contact sheets and the JSON of a bench run. The first scenes, not chosen ones; and the worst, labelled as such."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..layers.io.atomic import atomic_write
from .layerd import over
from .results import Results
from .scenes import EvaluationScene
from .sheets import Panel, Strip, sheet

FIRST = 20
WORST = 8
OUTLINE = (230, 0, 120, 255)


def write_sheets(results: Results, folder: Path, model: str) -> list[Path]:
    """Writes the sheets of the rows that were run into ``folder`` and returns their paths. Raises OutputError."""
    makers: dict[str, Callable[[], Image.Image] | None] = {
        "decompose_first20.png": (lambda: _decomposed(results, model)) if results.decomposed else None,
        "decompose_worst8.png": (lambda: _worst(results, model)) if results.model else None,
        "generate_first20.png": (lambda: _generated(results, model)) if results.generated else None,
        "boxes_first20.png": (lambda: _boxed(results, model)) if results.boxed else None,
        "given_first20.png": (lambda: _completed(results, model)) if results.forward else None,
    }
    written = []
    for name, make in makers.items():
        if make is not None:
            with atomic_write(folder / name) as file:
                make().save(file, "PNG")
            written.append(folder / name)
    return written


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: infinite and undefined numbers become None, arrays and tuples lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def _decomposed(results: Results, model: str) -> Image.Image:
    scenes = results.scenes[:FIRST]
    panels = [
        _pair(scene, results, i, f"scene {scene.index}: {scene.scene.caption}")
        for i, scene in enumerate(scenes)
    ]
    facts = (
        f"the first {len(scenes)} held-out scenes, none left out; sprites and seeds that training never saw"
    )
    return sheet(f"Taken apart by {model}", facts, panels)


def _worst(results: Results, model: str) -> Image.Image:
    assert results.model is not None
    panels = []
    for i in results.model.worst(WORST):
        scene, score = results.scenes[i], results.model.samples[i].raw[0]
        panels.append(
            _pair(scene, results, i, f"scene {scene.index}: IoU {score.iou:.3f}, L1 {score.l1:.3f}")
        )
    facts = f"the {len(panels)} lowest alpha IoU of {len(results.scenes)} held-out scenes, worst first"
    return sheet(f"Where {model} fails", facts, panels)


def _pair(scene: EvaluationScene, results: Results, i: int, caption: str) -> Panel:
    ours = results.decomposed[i].layers
    return Panel(
        caption=caption,
        strips=[
            Strip(label="model", pictures=[reduce(over, ours), *ours]),
            Strip(label="truth", pictures=[scene.picture, *scene.layers]),
        ],
    )


def _generated(results: Results, model: str) -> Image.Image:
    panels = [
        Panel(
            caption=f"{scene.index}: {scene.scene.caption}",
            strips=[Strip(label="made", pictures=[reduce(over, made.layers), *made.layers])],
        )
        for scene, made in zip(results.worded[:FIRST], results.generated, strict=False)
    ]
    facts = f"the first {len(panels)} held-out captions, none left out; flattened, then each layer"
    return sheet(f"Made from text by {model}", facts, panels)


def _boxed(results: Results, model: str) -> Image.Image:
    panels = []
    for scene, made in zip(results.worded[:FIRST], results.boxed, strict=False):
        objects = [_outlined(layer, box) for layer, box in zip(made.layers[1:], scene.boxes, strict=True)]
        strip = Strip(label="made", pictures=[reduce(over, made.layers), made.layers[0], *objects])
        panels.append(Panel(caption=f"{scene.index}: {scene.scene.caption}", strips=[strip]))
    facts = f"the first {len(panels)} held-out captions with the boxes shown, none left out"
    return sheet(f"Made from text and boxes by {model}", facts, panels)


def _completed(results: Results, model: str) -> Image.Image:
    panels = []
    rows = zip(results.worded[:FIRST], results.forward, results.back, strict=False)
    for scene, forward, back in rows:
        strips = [
            Strip(label=label, pictures=[reduce(over, made.layers), *made.layers])
            for label, made in (("objects made", forward), ("ground made", back))
        ]
        panels.append(Panel(caption=f"{scene.index}: {scene.scene.caption}", strips=strips))
    facts = f"the first {len(panels)} held-out scenes, none left out; the other layers were given and are the true ones"
    return sheet(f"Completed by {model}", facts, panels)


def _outlined(layer: np.ndarray, box: Sequence[int]) -> np.ndarray:
    shown = layer.copy()
    x0, y0, x1, y1 = box
    shown[y0, x0:x1] = shown[y1 - 1, x0:x1] = shown[y0:y1, x0] = shown[y0:y1, x1 - 1] = OUTLINE
    return shown
