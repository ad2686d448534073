"""The model that this process has loaded, and who may use it: one run at a time, parts shared by all tasks.

Knows models, devices and pipelines; nothing of pictures or documents.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError
from .models.family import FLUX, QWEN, Family
from .models.lora import Lora
from .models.registry import ModelEntry, locate, resolve
from .progress import Phases

if TYPE_CHECKING:
    from .models.loading import Components
    from .models.memory.means import Means
    from .models.memory.plan import Plan

Task = Literal["decompose", "generate", "complete", "extract", "transparent"]
_PIPELINES: dict[Family, dict[Task, str]] = {
    QWEN: {
        "decompose": "ImageToLayersPipeline",
        "generate": "TextToLayersPipeline",
        "complete": "LayersToLayersPipeline",
        "extract": "ExtractObjectPipeline",
        "transparent": "TransparentImagePipeline",
    },
    FLUX: {"generate": "RegionLayersPipeline", "transparent": "FluxTransparentImagePipeline"},
}
DEVICE_VARIABLE = "ACETATE_DEVICE"
_WAIT = 0.1
"""Seconds between two looks at whether a run that waits for the model was stopped."""
_ONE_RUN = threading.Lock()
_LOADING = threading.Lock()
_runner: list[int] = []
"""The thread of the run that is under way."""
_loaded: list[Any] = []
"""What ``_components`` was asked for last."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What a user adds to a model. ``transparency``: where FLUX takes alpha from; ``loras``: laid over the transformer while
    a run lasts; ``modulation_table``: the modulation's weights stay in their files; ``transformer``: a GGUF file that has
    the transformer's weights; ``quantise``: how blocks' weights are rounded while they load, "float8", "int8" or "nf4".
    Raises InputError for what does not go together or cannot be done here."""

    transparency: Path | None = None
    loras: tuple[Lora, ...] = ()
    modulation_table: bool = False
    transformer: Path | None = None
    quantise: str | None = None

    def __post_init__(self) -> None:
        if self.quantise is not None:
            check_storage(self.quantise)
        if self.transformer is not None and self.quantise is not None:
            raise InputError(
                f"{self.transformer.name} is quantised already; leave --quantise {self.quantise} out"
            )
        if self.loras and (self.transformer is not None or self.quantise is not None):
            raise InputError(
                f"a LoRA ({self.loras[0].path.name}) lies beside layers as they are, not beside quantised ones; leave "
                "--lora or the quantisation out, or merge the LoRA into the model first"
            )

    @property
    def few_bits(self) -> bool:
        """Whether weights are in few bits, which takes a plan."""
        return self.transformer is not None or self.quantise is not None

    def facts(self) -> dict[str, Any]:
        """What files store of it: names without this machine's folders, and what was in them."""
        from .models.folder import fingerprint

        alpha, file, loras = self.transparency, self.transformer, self.loras
        return {
            "transparency": None if alpha is None else {"name": alpha.name, "contents": fingerprint(alpha)},
            "transformer": None if file is None else {"name": file.name, "contents": fingerprint(file)},
            "quantise": self.quantise,
            "loras": [
                {"name": lora.path.name, "scale": lora.scale, "contents": fingerprint(lora.path)}
                for lora in loras
            ]
            or None,
            "modulation_table": self.modulation_table or None,
        }


def check_storage(name: str) -> None:
    """Raises InputError for a way to quantise that there is not, or that cannot be done here."""
    from .models.quantised.storage import STORED, check_installed

    if name not in STORED:
        raise InputError(f"quantise must be one of {', '.join(STORED)}, not {name!r}")
    check_installed(name)


def stored_settings(model: str, *, transformer: bool = True) -> tuple[ModelEntry, dict[str, Any]]:
    """The model on this machine and what its folder says of itself, read before anything heavy is loaded. ``transformer``:
    its weights are needed too."""
    from .models.folder import read_json

    entry = locate(resolve(model), transformer=transformer)
    assert entry.path is not None
    return entry, read_json(entry.path / "model_index.json", entry.remedy)


def load_libraries() -> None:
    """Import what models are made of, in one thread at a time: the modules of diffusers and transformers load each other
    as they are asked for, and a second thread that asks meanwhile meets some half loaded."""
    with _LOADING:
        from transformers import (  # noqa: F401 - asked for here, they are there for everybody
            PreTrainedTokenizerFast,
            Qwen2_5_VLConfig,
            Qwen2_5_VLForConditionalGeneration,
            Qwen2VLImageProcessorPil,
            T5Config,
            T5EncoderModel,
        )

        from .pipelines import flux_transparent, image_to_layers, region_layers, text_to_layers  # noqa: F401


def check_transparency(family: Family, entry: ModelEntry, alpha: Path | None, task: str) -> None:
    """Raises InputError where a model is given ``alpha`` that it has no use for, or has none for ``task``."""
    if family is FLUX:
        load_libraries()
        from .models.transparency import check_alpha, find_alpha

        assert entry.path is not None
        check_alpha(find_alpha(entry.path, alpha, entry.remedy), task, entry.name)
    elif alpha is not None:
        raise InputError(f"{entry.name} makes alpha by itself; leave transparency out, which is for FLUX.")


@contextmanager
def open_pipeline(
    task: Task,
    entry: ModelEntry,
    family: Family,
    phases: Phases,
    options: ModelOptions | None = None,
    plan: Plan | None = None,
) -> Iterator[Any]:
    """The pipeline of a task, for this thread alone: hooks sit on the shared network while a run lasts. ``plan``: how its
    parts are held in memory."""
    options = options or ModelOptions()
    with _turn(phases):
        phases.start("load")
        load_libraries()
        from . import pipelines
        from .models.folder import fingerprint
        from .pipelines.lora import laid

        assert entry.path is not None
        alpha, file = options.transparency, options.transformer
        check_transparency(family, entry, alpha, task)
        contents = (
            fingerprint(entry.path),
            *(None if one is None else fingerprint(one) for one in (alpha, file)),
        )
        means = None if plan is None else plan.means
        if means is not None and options.modulation_table:
            means = replace(means, table=True)
        wanted = (entry, contents, device_name(), alpha, options.modulation_table, means, file)
        if list(wanted) != _loaded:
            _components.cache_clear()  # the parts of the last model are gone before those of the next one come
            _loaded[:] = wanted
        parts = _components(*wanted)
        pipeline = getattr(pipelines, _PIPELINES[family][task]).from_components(parts)
        if entry.kind == "folder":
            pipeline.model_name = entry.path.name  # files tell which model, not where this machine keeps it
        with laid(pipeline, options.loras):
            phases.start("encode")
            yield pipeline


@contextmanager
def _turn(phases: Phases) -> Iterator[None]:
    """This thread has the model for itself. Raises Cancelled while it waits, and InputError in the middle of this thread's
    own run, whose LoRAs and hooks are on the network."""
    if threading.get_ident() in _runner:
        raise InputError("a run is under way in this thread: begin the next one when it has ended")
    while not _ONE_RUN.acquire(timeout=_WAIT):
        phases.check()
    _runner.append(threading.get_ident())
    try:
        yield
    finally:
        _runner.clear()
        _ONE_RUN.release()


@lru_cache(maxsize=1)
def _components(
    entry: ModelEntry,
    contents: tuple[str | None, ...],
    device: str,
    transparency: Path | None,
    table: bool,
    means: Means | None,
    file: Path | None,
) -> Components:
    """The loaded parts of the last model, shared by all tasks and kept for the next call in this process. ``contents``
    tells folders and files that have changed from what was loaded."""
    from .models.loading import load_components

    return load_components(
        entry, device, modulation_table=table, transparency=transparency, means=means, transformer=file
    )


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
