"""What a run says about itself: which model exactly, how long, how much memory, and how true the result is.

Two records with different fates. *Provenance* is the same for every run with the same arguments and is stored in every
file written; the *report* adds timings and memory, and goes only where it is asked for. Knows nothing of how a run works.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__

if TYPE_CHECKING:
    from .layers.document import LayeredImage
    from .layers.recompose import RecomposeReport


def provenance(
    *, task: str, seed: int, model: str, revision: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """The reproducible facts of a run, JSON-able; equal runs give equal facts."""
    return {
        "acetate": __version__,
        "task": task,
        "seed": seed,
        "model": model,
        "revision": revision,
        "arguments": arguments,
    }


def build_report(
    document: LayeredImage,
    facts: dict[str, Any],
    seconds: dict[str, float],
    recomposition: dict[str, Any] | None,
    memory: dict[str, Any] | None = None,
    dropped: Sequence[str] = (),
) -> dict[str, Any]:
    """The whole report, JSON-able. ``seconds`` per phase; ``recomposition`` from :func:`recomposition_facts`, or None for
    a document that has no picture to be compared with; ``memory``: the plan by which the model was held, if any;
    ``dropped``: what of the input could not be read."""
    return {
        **facts,
        **({} if memory is None else {"memory_plan": memory}),
        **({"dropped": list(dropped)} if dropped else {}),
        "canvas": [document.width, document.height],
        "layers": [
            {
                "name": layer.name,
                "id": layer.id,
                "box": list(layer.box),
                "opacity": layer.opacity,
                "blend": layer.blend.value,
            }
            for layer in document.leaves()
        ],
        "recomposition": recomposition,
        "seconds": {
            **{phase: round(value, 3) for phase, value in seconds.items()},
            "total": round(sum(seconds.values()), 3),
        },
        "peak_memory_mib": peak_memory_mib(),
    }


def recomposition_facts(report: RecomposeReport) -> dict[str, Any]:
    """Errors in levels of 1/255 before and after exact recomposition, and what it had to change. A PSNR of None means
    that there is no error at all."""
    found = report.as_dict()
    return {
        "before": {
            "mean": found["error_before_mean"],
            "max": found["error_before_max"],
            "psnr": found["psnr_before"],
        },
        "after": {"max": found["error_after_max"], "psnr": found["psnr_after"]},
        "colour_change": {key: found[f"colour_change_{key}"] for key in ("mean", "max", "share")},
        "alpha_change": {key: found[f"alpha_change_{key}"] for key in ("mean", "max", "share")},
        "forced_pixels": found["forced_pixels"],
    }


def peak_memory_mib() -> dict[str, float | None]:
    """The most memory this process has held so far, in MiB: of the machine, and of the accelerator where one was used."""
    peaks: dict[str, float | None] = {"host": host_peak_mib(), "accelerator": None}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        # Of all of them: ACETATE_DEVICE may name another than torch's current one.
        held = [torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count())]
        peaks["accelerator"] = round(max(held, default=0) / 2**20, 1)
    return peaks


def host_peak_mib() -> float | None:
    """The machine's part of it. Safe in a thread beside one that is just loading torch."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no getrusage
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def write_report(report: dict[str, Any], path: str | Path) -> None:
    """Write ``report`` as JSON, completely or not at all; raises OutputError."""
    from .layers.io.atomic import atomic_write

    with atomic_write(path) as file:
        file.write((json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
