"""`acetate bench`: measures a model against its bars, or codecs side by side; prints the table, writes sheets and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..run import MAX_STEPS
from .output import check_place
from .progress import Progress, make_progress

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation.runs import Models

OUT = Path("out") / "bench"
ONLY = {"quality": ("rows", "steps"), "codecs": ("codec", "size", "tile")}
"""Options that one of the two has and the other does not."""


def bench(arguments: argparse.Namespace) -> int:
    for what, options in ONLY.items():
        for option in options:
            if what != arguments.what and getattr(arguments, option) is not None:
                raise InputError(f"--{option} belongs to `acetate bench {what}`; leave it out")
    folder = OUT if arguments.out is None else Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file: give a folder for the contact sheets")
    json = None if arguments.json is None else Path(arguments.json)
    if json is not None:
        if json.is_dir():
            raise InputError(f"--json {json} is a folder: give the name of a file in it")
        check_place(json)
    if arguments.what == "codecs":
        from .bench_codecs import bench_codecs

        return bench_codecs(arguments, folder, json)
    return bench_quality(arguments, folder, json)


def bench_quality(arguments: argparse.Namespace, folder: Path, json: Path | None) -> int:
    from ..evaluation.quality import ROWS, QualitySettings, run_quality

    if arguments.steps is not None and not 1 <= arguments.steps <= MAX_STEPS:
        raise InputError(f"--steps must lie between 1 and {MAX_STEPS}, not {arguments.steps}")
    rows = ROWS if arguments.rows is None else tuple(row.strip() for row in arguments.rows.split(","))
    scenes = QualitySettings.scenes if arguments.scenes is None else arguments.scenes
    settings = QualitySettings(scenes=scenes, rows=rows)
    with make_progress(arguments.quiet) as progress:
        models = load(arguments.model, arguments.steps, progress)
        folder.mkdir(parents=True, exist_ok=True)
        report = run_quality(models, settings, progress)
    written = report.write(folder, json)
    print(report.text())
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return 0


def load(model: str, steps: int | None, progress: Progress) -> Models:
    """The pipelines of a model over one set of parts. Raises InputError where it is missing or broken."""
    progress("load", 0, 1, None)
    from ..evaluation.runs import Models
    from ..models.loading import load_components
    from ..models.registry import resolve
    from ..pipelines.image_to_layers import ImageToLayersPipeline
    from ..pipelines.layers_to_layers import LayersToLayersPipeline
    from ..pipelines.text_to_layers import TextToLayersPipeline
    from ..session import device_name

    parts = load_components(resolve(model), device_name(), download=False, task="decompose")
    decompose = ImageToLayersPipeline.from_components(parts)
    if parts.entry.kind == "folder" and parts.entry.path is not None:
        decompose.model_name = (
            parts.entry.path.name
        )  # reports tell which model, not where this machine keeps it
    codec = decompose.engine().codec

    def through_codec(layers: np.ndarray) -> np.ndarray:
        import numpy as np
        import torch

        from ..layers.composite import quantise, to_float
        from ..pipelines.engine import open_codec
        from ..pipelines.images import to_pixels, to_tensor

        with torch.no_grad(), open_codec(codec, None):
            pixels = torch.stack([to_tensor(to_float(layer)) for layer in layers]).to(parts.vae.device)
            decoded = [to_pixels(one) for one in codec.decode(codec.encode(pixels))]
        return quantise(np.stack(decoded), 8)

    return Models(
        decompose=decompose,
        generate=TextToLayersPipeline.from_components(parts),
        complete=LayersToLayersPipeline.from_components(parts),
        codec=through_codec,
        size=int(decompose.config.default_resolution),
        steps=int(steps or decompose.config.default_steps),
    )
