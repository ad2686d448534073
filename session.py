"""The model that this process has loaded, and who may use it: one run at a time, parts shared by all tasks.

Knows models, devices and pipelines; nothing of pictures or documents.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError
from .models.registry import ModelEntry, locate, resolve
from .progress import Phases

if TYPE_CHECKING:
    from .models.loading import Components
    from .models.memory.means import Means
    from .models.memory.plan import Plan
    from .pipelines.base import LayersPipeline

Task = Literal["decompose", "generate", "complete", "extract", "transparent"]
_PIPELINES: dict[Task, str] = {
    "decompose": "ImageToLayersPipeline",
    "generate": "TextToLayersPipeline",
    "complete": "LayersToLayersPipeline",
    "extract": "ExtractObjectPipeline",
    "transparent": "TransparentImagePipeline",
}
DEVICE_VARIABLE = "ACETATE_DEVICE"
_ONE_RUN = threading.RLock()
_loaded: list[Any] = []
"""What ``_components`` was asked for last."""


def stored_settings(model: str) -> tuple[ModelEntry, dict[str, Any]]:
    """The model on this machine and what its folder says of itself, read before anything heavy is loaded."""
    from .models.folder import read_json

    entry = locate(resolve(model))
    assert entry.path is not None
    return entry, read_json(entry.path / "model_index.json", entry.remedy)


@contextmanager
def open_pipeline(
    task: Task, entry: ModelEntry, phases: Phases, plan: Plan | None = None
) -> Iterator[LayersPipeline]:
    """The pipeline of a task, for this thread alone: hooks sit on the shared network while a run lasts. ``plan``: how its
    parts are held in memory."""
    with _ONE_RUN:
        phases.start("load")
        from . import pipelines
        from .models.folder import fingerprint

        kind: type[LayersPipeline] = getattr(pipelines, _PIPELINES[task])
        assert entry.path is not None
        wanted = (entry, fingerprint(entry.path), device_name(), None if plan is None else plan.means)
        if list(wanted) != _loaded:
            _components.cache_clear()  # the parts of the last model are gone before those of the next one come
            _loaded[:] = wanted
        pipeline = kind.from_components(_components(*wanted))
        if entry.kind == "folder":
            pipeline.model_name = entry.path.name  # files tell which model, not where this machine keeps it
        phases.start("encode")
        yield pipeline


@lru_cache(maxsize=1)
def _components(entry: ModelEntry, contents: str, device: str, means: Means | None) -> Components:
    """The loaded parts of the last model, shared by all tasks and kept for the next call in this process. ``contents``
    tells a folder whose files have changed from what was loaded."""
    from .models.loading import load_components

    return load_components(entry, device, means=means)


def device_name() -> str:
    """Where models run: ``ACETATE_DEVICE`` where it is set, else the first accelerator there is, else the CPU."""
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE)
    if wanted:
        try:
            return str(torch.empty(0, device=wanted).device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{DEVICE_VARIABLE}={wanted} cannot be used ({reason}): try cpu or cuda"
            ) from error
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
