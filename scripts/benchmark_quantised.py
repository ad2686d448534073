"""What few bits cost: the embedded model with its transformer kept in each way, on the same held-out scenes and seeds.

    python -P scripts/benchmark_quantised.py                       20 scenes, all ways; docs/memory.md has the table
    python -P scripts/benchmark_quantised.py --scenes 4 --ways nf4 Q4_0

"MiB" is what the transformer holds; "PSNR" how close the layers come to those of the same model as it is (colour times
alpha, dB); L1 and IoU are LayerD's against the true layers, without a merge. Everything else computes in float32. GGUF
files are written first, by the gguf package.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from acetate.evaluation.layerd import layerd_scores
from acetate.evaluation.scenes import EvaluationScene, evaluation_scenes
from acetate.layers.composite import quantise
from acetate.models.memory.means import Means
from acetate.models.quantised.gguf_writing import MADE, write_gguf
from acetate.models.registry import WEIGHTS
from acetate.pipelines import ImageToLayersPipeline

PLAIN = Means(dtype="float32", table=True)
STORAGES = ("float8", "int8", "nf4")
FILES = tuple(kind for kind in MADE if kind.startswith("Q"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument(
        "--ways", nargs="*", choices=(*STORAGES, *FILES), default=(*STORAGES, *FILES), metavar="WAY"
    )
    given = parser.parse_args()
    scenes = evaluation_scenes(given.scenes)
    reference = None
    print("| kept as | PSNR | L1 | IoU | MiB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for way in ("as it is", *given.ways):
            pipeline = _load(way, Path(folder))
            made = [_layers(pipeline, scene) for scene in scenes]
            reference = reference or made
            held = f"{_held(pipeline.transformer) / 2**20:.1f}"
            print(f"| {' | '.join((way, *_figures(made, reference, scenes), held))} |", flush=True)


def _load(way: str, folder: Path) -> Any:
    file, means = None, PLAIN
    if way in STORAGES:
        means = Means(dtype="float32", table=True, storage=way)
    elif way in FILES:
        shards = sorted((WEIGHTS / "transformer").glob("*.safetensors"))
        state = {key: value for shard in shards for key, value in load_file(shard).items()}
        file = write_gguf(folder / f"{way}.gguf", state, way)
    pipeline = ImageToLayersPipeline.load("tiny", means=means, transformer=file)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _layers(pipeline: Any, scene: EvaluationScene) -> np.ndarray:
    output = pipeline(scene.picture, layers=len(scene.layers), prompt="", seed=scene.index, output_type="np")
    return np.stack(output.images[0])


def _figures(
    made: list[np.ndarray], reference: list[np.ndarray], scenes: list[EvaluationScene]
) -> tuple[str, str, str]:
    errors = [
        float(np.mean((a[..., :3] * a[..., 3:] - b[..., :3] * b[..., 3:]) ** 2))
        for a, b in zip(made, reference, strict=True)
    ]
    scores = [
        layerd_scores(list(quantise(one, 8)), list(scene.layers), max_edits=0)[0]
        for one, scene in zip(made, scenes, strict=True)
    ]
    error = float(np.mean(errors))
    close = f"{-10 * np.log10(error):.1f}" if error else "equal"
    return close, *(f"{np.mean([getattr(score, name) for score in scores]):.3f}" for name in ("l1", "iou"))


def _held(transformer: Any) -> int:
    return sum(one.nbytes for one in (*transformer.parameters(), *transformer.buffers()) if not one.is_meta)


if __name__ == "__main__":
    main()
