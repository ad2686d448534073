"""The quality bench: a model through its public pipelines on held-out scenes, beside its baselines, against the bars.

:func:`run_quality` measures, :meth:`QualityReport.text` is the table, :meth:`QualityReport.write` the sheets and the JSON.
``acetate bench quality`` is this with options.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..report import peak_memory_mib, write_report
from .acceptance import acceptance, by_objects, comparison
from .bench import Bench, OnProgress
from .pages import plain, write_sheets
from .results import Results
from .runs import Models
from .table import Figure, figure_table

ROWS = ("codec", "decompose", "baselines", "auto", "generate", "boxes", "given", "speed")


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """What to run: how many held-out ``scenes``, and which ``rows`` of the table, out of ROWS."""

    scenes: int = 200
    rows: tuple[str, ...] = ROWS

    def __post_init__(self) -> None:
        if self.scenes < 1:
            raise InputError(f"--scenes must be at least 1, not {self.scenes}")
        unknown = [row for row in self.rows if row not in ROWS]
        if unknown or not self.rows:
            raise InputError(
                f"--rows takes a list out of {', '.join(ROWS)}; not {', '.join(unknown) or 'an empty one'}"
            )


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """What a run found: the figures in the order of the table, all results, and the facts that belong to them."""

    settings: QualitySettings
    figures: list[Figure]
    results: Results
    facts: dict[str, Any]

    def text(self) -> str:
        """The tables as plain text."""
        facts = self.facts
        seconds, memory = facts["seconds"]["all"], facts["peak_memory_mib"]["host"]
        head = (
            f"{facts['model']} (revision {facts['revision']}), {self.settings.scenes} held-out scenes "
            f"at {facts['size']} px, {facts['steps']} steps, {seconds:.0f} s, peak memory {memory} MiB"
        )
        parts = [head, figure_table(self.figures), comparison(self.results), by_objects(self.results)]
        return "\n\n".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        results = self.results
        methods = [results.model, results.bare, *results.baselines, results.through_codec]
        single = {
            "codec": results.codec,
            "retrieval": results.retrieval,
            "judge": results.judge,
            "boxes": results.boxes,
            "given": results.given,
        }
        values = {
            **self.facts,
            "figures": [asdict(figure) for figure in self.figures],
            "methods": [method.as_dict() for method in methods if method is not None],
            "not_run": [{"method": title, "why": why} for title, why in results.absent],
            "telea_background_psnr": results.telea,
            "composite_consistency": results.consistency,
            "speed": None
            if results.speed is None
            else {**asdict(results.speed), "ratio": results.speed.ratio},
            **{name: None if value is None else asdict(value) for name, value in single.items()},
        }
        return plain(values)

    def write(self, folder: Path, json: Path | None = None) -> list[Path]:
        """Writes the contact sheets into ``folder`` and the JSON (by default quality.json beside them); returns their
        paths. Raises OutputError."""
        folder.mkdir(parents=True, exist_ok=True)
        written = write_sheets(self.results, folder, self.facts["model"])
        json = json or folder / "quality.json"
        write_report(self.as_dict(), json)
        return [*written, json]


def run_quality(
    models: Models, settings: QualitySettings, on_progress: OnProgress | None = None
) -> QualityReport:
    """Measures the rows that ``settings`` asks for. Raises InputError when the emoji font is missing."""
    import torch

    began = time.perf_counter()
    bench = Bench(on_progress or (lambda what, done, total, left: None))
    rows = set(settings.rows)
    unseen = bool({"codec", "decompose", "baselines", "auto", "speed"} & rows)
    bench.draw_scenes(
        settings.scenes, models.size, unseen=unseen, known=bool({"generate", "boxes", "given"} & rows)
    )
    runs = {
        "codec": bench.codec,
        "decompose": bench.decompose,
        "baselines": bench.baselines,
        "auto": bench.auto,
        "generate": bench.generate,
        "boxes": bench.boxes,
        "given": bench.given,
        "speed": bench.speed,
    }
    for name, run in runs.items():
        if name in rows:
            run(models)
    bench.results.seconds["all"] = round(time.perf_counter() - began, 2)
    pipeline = models.decompose
    facts = {
        "acetate": __version__,
        "bench": "quality",
        "model": models.name,
        "revision": pipeline.model_revision,
        "size": models.size,
        "steps": models.steps,
        "guidance": pipeline.config.default_guidance,
        "text_guidance": pipeline.config.get("text_guidance"),
        "scenes": settings.scenes,
        "rows": list(settings.rows),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": bench.results.seconds,
        "peak_memory_mib": peak_memory_mib(),
    }
    figures = acceptance(bench.results, settings.rows)
    return QualityReport(settings=settings, figures=figures, results=bench.results, facts=facts)
