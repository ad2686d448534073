"""The codec bench: every codec there is on the same held-out layers, whole and in tiles, as one table, a sheet and a JSON.

``acetate bench codecs`` is this with options. Codecs come in as functions: this package judges and loads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import __version__
from ..errors import InputError
from ..layers.io.atomic import atomic_write
from ..report import peak_memory_mib, write_report
from .bench import OnProgress
from .codec_scores import BACKDROPS, CodecFigures, Roundtrip, TiledFigures, compare_tiled, score_layers
from .layerd import over
from .pages import plain
from .scenes import EvaluationScene, evaluation_scenes
from .sheets import Panel, Strip, sheet
from .table import aligned

SHEET = "codecs_first8.png"
FIRST = 8
LOUDER = 8
MAX_SIZE = 2048


@dataclass(frozen=True, kw_only=True)
class CodecSettings:
    """``scenes``: how many held-out ones; ``size``: pixels along a side; ``tile``: of the tiles they are compared in."""

    scenes: int = 50
    size: int = 128
    tile: int = 64

    def __post_init__(self) -> None:
        if self.scenes < 1:
            raise InputError(f"--scenes must be at least 1, not {self.scenes}")
        if not 32 <= self.size <= MAX_SIZE or self.size % 16:
            raise InputError(
                f"--size must be a multiple of 16 between 32 and {MAX_SIZE} pixels, not {self.size}"
            )
        if self.tile < 16 or self.tile % 16:
            raise InputError(f"--tile must be a multiple of 16 pixels, not {self.tile}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A codec on trial: its ``name``, where it comes from (``origin``), and the two ways through it."""

    name: str
    origin: str
    whole: Roundtrip
    tiled: Roundtrip


@dataclass(frozen=True, kw_only=True, eq=False)
class CodecResult:
    """``first``: what it made of the first scenes' layers, for the sheet."""

    contender: Contender
    figures: CodecFigures
    tiles: TiledFigures
    first: list[np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class CodecReport:
    """All results in the order of the contenders, the first scenes, and the facts that belong to them."""

    settings: CodecSettings
    results: list[CodecResult]
    scenes: Sequence[EvaluationScene]
    facts: dict[str, Any]

    def text(self) -> str:
        """The table as plain text."""
        layers = self.results[0].figures.layers
        settings, facts = self.settings, self.facts
        head = (
            f"{layers} layers of {settings.scenes} held-out scenes at {settings.size} px, tiles of {settings.tile} px, "
            f"{facts['seconds']:.0f} s, peak memory {facts['peak_memory_mib']['host']} MiB"
        )
        columns = (
            "codec",
            "PSNR",
            "pooled",
            "alpha error",
            "alpha IoU",
            *(f"halo, {name}" for name in BACKDROPS),
        )
        columns = (*columns, "ms a layer", "tiled: PSNR to whole", "largest", "time")
        rows = [_row(result) for result in self.results]
        notes = (
            "PSNR of premultiplied RGBA in dB; alpha error and halo in 1/255, halo along edges on a backdrop"
        )
        return "\n\n".join([head, aligned(columns, rows, right=range(1, len(columns))), notes])

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        codecs = [
            {
                "name": result.contender.name,
                "origin": result.contender.origin,
                **asdict(result.figures),
                "tiled": {**asdict(result.tiles), "ratio": result.tiles.ratio},
            }
            for result in self.results
        ]
        return plain({**self.facts, **asdict(self.settings), "codecs": codecs})

    def write(self, folder: Path, json: Path | None = None) -> list[Path]:
        """Writes the contact sheet into ``folder`` and the JSON (codecs.json beside it); returns both.

        Raises OutputError."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / SHEET) as file:
            self._sheet().save(file, "PNG")
        json = json or folder / "codecs.json"
        write_report(self.as_dict(), json)
        return [folder / SHEET, json]

    def _sheet(self) -> Image.Image:
        panels = []
        for number, scene in enumerate(self.scenes[:FIRST]):
            strips = [Strip(label="truth", pictures=[scene.picture, *scene.layers])]
            for result in self.results:
                made = result.first[number]
                flat = reduce(over, made)
                wrong = [
                    _error(flat, scene.picture),
                    *(_error(*pair) for pair in zip(made, scene.layers, strict=True)),
                ]
                strips.append(Strip(label=result.contender.name[:11], pictures=[flat, *made]))
                strips.append(Strip(label=f"error x {LOUDER}", pictures=wrong))
            panels.append(Panel(caption=f"scene {scene.index}: {scene.scene.caption}", strips=strips))
        facts = f"the first {len(panels)} held-out scenes, none left out; flattened, then each layer"
        return sheet("True layers through codecs", facts, panels)


def run_codecs(
    contenders: Sequence[Contender], settings: CodecSettings, on_progress: OnProgress | None = None
) -> CodecReport:
    """Measures every contender. Raises InputError when the emoji font is missing."""
    import torch

    tell = on_progress or (lambda what, done, total, left: None)
    began = time.perf_counter()
    tell("drawing the scenes", 0, 1, None)
    scenes = evaluation_scenes(settings.scenes, size=settings.size)
    results = []
    for contender in contenders:
        contender.whole(scenes[0].layers[:1])  # the first call is slower than all others
        whole: list[np.ndarray] = []
        tiled: list[np.ndarray] = []
        seconds: tuple[list[float], list[float]] = ([], [])
        started = time.perf_counter()
        for done, scene in enumerate(scenes, start=1):
            for run, made, taken in (
                (contender.whole, whole, seconds[0]),
                (contender.tiled, tiled, seconds[1]),
            ):
                start = time.perf_counter()
                made.append(run(scene.layers))
                taken.append(time.perf_counter() - start)
            left = (time.perf_counter() - started) / done * (len(scenes) - done)
            tell(f"through {contender.name}", done, len(scenes), left)
        tiles = compare_tiled(tiled, whole, seconds[1], seconds[0])
        figures = score_layers(whole, scenes)
        results.append(CodecResult(contender=contender, figures=figures, tiles=tiles, first=whole[:FIRST]))
    facts = {
        "acetate": __version__,
        "bench": "codecs",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - began, 2),
        "peak_memory_mib": peak_memory_mib(),
    }
    return CodecReport(settings=settings, results=results, scenes=scenes[:FIRST], facts=facts)


def _row(result: CodecResult) -> tuple[str, ...]:
    figures, tiles = result.figures, result.tiles
    return (
        result.contender.name,
        f"{figures.psnr:.1f}",
        f"{figures.pooled:.1f}",
        f"{255 * figures.alpha_mae:.2f}",
        f"{figures.alpha_iou:.3f}",
        *(f"{255 * figures.halo[name]:.1f}" for name in BACKDROPS),
        f"{1000 * tiles.whole_seconds:.0f}",
        f"{tiles.psnr:.1f}",
        f"{tiles.largest:.3f}",
        f"{tiles.ratio:.2f} x",
    )


def _error(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The premultiplied difference, louder, as an opaque picture; alpha's counts in all three colours."""
    seen = [pixels.astype(np.float64) for pixels in (made, truth)]
    first, second = (np.concatenate([one[..., :3] * one[..., 3:] / 255, one[..., 3:]], -1) for one in seen)
    error = np.abs(first - second)
    shown = np.maximum(error[..., :3], error[..., 3:]) * LOUDER
    return np.dstack([np.clip(shown, 0, 255), np.full(shown.shape[:2], 255)]).astype(np.uint8)
