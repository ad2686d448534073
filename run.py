"""What every function of the Python API does around its pipeline: checks, the model, progress, and the facts of a run.

Knows steps, seeds and models; nothing of what a task is given or makes.
"""

from __future__ import annotations

import operator
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .fitting import Call, Memory, plan_call
from .models.family import FAMILIES, FLUX, Family, check_task, family_of
from .models.lora import LoraLike, read_loras
from .models.registry import ModelEntry, resolve
from .progress import OnProgress, Phases
from .report import build_report, provenance
from .session import ModelOptions, Task, check_transparency, open_pipeline, stored_settings

if TYPE_CHECKING:
    from .layers.document import LayeredImage
    from .models.memory.plan import Plan
    from .models.memory.work import Box
    from .pipelines.outputs import LayersOutput
    from .pipelines.progress import Progress

MAX_LAYERS = 20
"""Layers of one run where the model's folder names no limit: what the published layered model was trained for."""
MAX_STEPS = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One run of a task, from what was asked of the model to the finished document.

    Made before anything is read: raises InputError for steps, seeds, LoRAs or a transparency that cannot be. The model is
    looked for when :attr:`stored` or :attr:`family` is first asked for, which may fetch it.
    """

    task: Task
    model: str
    steps: int | None
    seed: int
    loras: Iterable[LoraLike] | LoraLike = ()
    modulation_table: bool = False
    transparency: str | os.PathLike[str] | None = None
    memory: Memory | None = None
    transformer: str | os.PathLike[str] | None = None
    quantise: str | None = None
    on_progress: OnProgress | None = None
    on_step: Callable[[Progress], None] | None = None
    cancel: threading.Event | None = None
    _done: dict[str, str] = field(default_factory=dict, repr=False)
    _plans: list[Plan] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        steps, seed = check_run(self.steps, self.seed)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "seed", seed)
        _ = self.options  # made now, since making them checks them

    @cached_property
    def options(self) -> ModelOptions:
        """What the user adds to the model."""
        return ModelOptions(
            transparency=alpha_path(self.transparency),
            loras=read_loras(self.loras),
            modulation_table=self.modulation_table,
            transformer=gguf_path(self.transformer),
            quantise=self.quantise,
        )

    @cached_property
    def phases(self) -> Phases:
        """The stopwatch of the run."""
        return Phases(self.on_progress, self.cancel)

    @cached_property
    def _model(self) -> tuple[ModelEntry, dict[str, Any], Family]:
        self._check_before_fetching(resolve(self.model))
        entry, stored = stored_settings(self.model, transformer=self.transformer is None)
        assert entry.path is not None
        family = family_of(entry.path, stored)
        check_task(family, self.task, entry.name)
        if family is not FLUX:  # which has more to say first, and tells when it is opened
            check_transparency(family, entry, self.options.transparency, self.task)
        return entry, stored, family

    def _check_before_fetching(self, entry: ModelEntry) -> None:
        """Raises InputError where a model that the hub has cannot do what is asked, without tens of gigabytes."""
        family = next((one for one in FAMILIES if one.transformer == entry.backbone), None)
        if entry.path is not None or family is None:
            return
        check_task(family, self.task, entry.name)
        if family is FLUX and self.options.transparency is None:
            from .models.transparency import PUBLISHED, check_alpha

            check_alpha(PUBLISHED, self.task, entry.name)

    @property
    def stored(self) -> dict[str, Any]:
        """What the model's folder says of itself. Raises InputError for a model that is not here or cannot do the task."""
        return self._model[1]

    @property
    def family(self) -> Family:
        """Which family the model is of; raises as :attr:`stored` does."""
        return self._model[2]

    def fit(
        self,
        layers: int,
        size: tuple[int, int] | None = None,
        *,
        batch: int = 1,
        boxes: Sequence[Box | None] | None = None,
        picture: bool = False,
    ) -> None:
        """Plans how the model is held, where ``memory`` asks for that, for ``layers`` layers of a picture or canvas of
        ``size``; ``boxes`` and ``picture`` as :class:`~acetate.fitting.Call` has them. Raises InputError where nothing
        fits, and for LoRAs of a text encoder, which comes and goes."""
        entry, stored, _ = self._model
        call = Call(
            task=self.task,
            layers=layers,
            size=size,
            batch=batch,
            steps=self.steps,
            boxes=boxes,
            picture=picture,
        )
        plan = plan_call(call, entry, stored, self.memory, self.options)
        if plan is not None:
            self._plans.append(plan)

    def made(self, **call: Any) -> LayersOutput:
        """What the task's pipeline makes of ``call``, as documents."""
        entry, _, family = self._model
        with open_pipeline(self.task, entry, family, self.phases, self.options, self._plan) as pipeline:
            output: LayersOutput = pipeline(
                **call,
                num_inference_steps=self.steps,
                seed=self.seed,
                output_type="document",
                on_progress=self._relay,
                cancel=self.cancel,
            )
            self._done.update(model=pipeline.name or "unknown", revision=pipeline.model_revision or "unknown")
        self.phases.stop()
        return output

    def finished(
        self,
        document: LayeredImage,
        arguments: dict[str, Any],
        recomposition: dict[str, Any] | None = None,
        *,
        seed: int | None = None,
        dropped: Sequence[str] = (),
    ) -> LayeredImage:
        """The document with the facts that its files store, and the report with the timings. Arguments of None are left
        out; ``seed``: of the result that was chosen, where there were several; ``dropped``: what of the input could not be
        read."""
        plan = self._plan
        known = {**arguments, "steps": self.steps, **self.options.facts()}
        known["memory"] = (
            None if plan is None else plan.coarser or None
        )  # of a plan only what changes results
        facts = provenance(
            task=self.task,
            seed=self.seed if seed is None else seed,
            model=self._done["model"],
            revision=self._done["revision"],
            arguments={name: value for name, value in known.items() if value is not None},
        )
        memory = None if plan is None else plan.as_dict()
        report = build_report(document, facts, self.phases.seconds, recomposition, memory, dropped)
        return document.replace(metadata={**facts, "report": report})

    @property
    def _plan(self) -> Plan | None:
        return self._plans[-1] if self._plans else None

    def _relay(self, progress: Progress) -> None:
        """Turns what a pipeline reports into phases: the first report of sampling tells when it began. Sampling reports,
        which carry the preview, go on to ``on_step``."""
        phases = self.phases
        if progress.phase == "sample":
            if phases.current != "denoise":
                phases.start("denoise", steps=progress.total, at=time.perf_counter() - progress.elapsed)
            phases.report("denoise", progress.done, progress.total, progress.remaining)
            if self.on_step is not None:
                self.on_step(progress)
        elif progress.phase == "decode":
            if phases.current != "decode":
                phases.start("decode", steps=progress.total)
            phases.report("decode", progress.done, progress.total, None)


def gguf_path(given: str | os.PathLike[str] | None) -> Path | None:
    """A transformer's GGUF file as the user names it. Raises InputError where that is none."""
    if given is None:
        return None
    file = Path(given).expanduser()
    if file.suffix != ".gguf" or not file.is_file():
        raise InputError(f"{file} is no .gguf file; transformer is one that has the transformer's weights.")
    return file


def whole(value: object) -> int | None:
    """``value`` as a plain int where it is a whole number, numpy's included; None for everything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_run(steps: int | None, seed: int) -> tuple[int | None, int]:
    """Both as plain numbers. Raises InputError for a number of steps or a seed that cannot be."""
    count, start = whole(steps), whole(seed)
    if steps is not None and (count is None or not 1 <= count <= MAX_STEPS):
        raise InputError(f"the number of steps must lie between 1 and {MAX_STEPS}, not {steps!r}")
    if start is None or not 0 <= start < 2**63:
        raise InputError(f"the seed must be a whole number from 0 on, not {seed!r}")
    return count, start


def check_text(name: str, text: object) -> None:
    """Raises InputError for what is no text, and for text that no file and no tokenizer could hold."""
    if not isinstance(text, str):
        raise InputError(f"the {name} must be text, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the {name} holds bytes that are no UTF-8 text: write it anew") from error


def check_prompt(prompt: str, shows: str) -> None:
    """Raises InputError for a prompt without words; ``shows``: what shows what it says."""
    check_text("prompt", prompt)
    if not prompt.strip():
        raise InputError(f"the prompt is empty: say in words what the {shows} shows")


def alpha_path(given: str | os.PathLike[str] | None) -> Path | None:
    """Where FLUX takes alpha from; InputError where there is nothing."""
    path = None if given is None else Path(given).expanduser()
    if path is not None and not path.exists():
        raise InputError(f"There is no file or folder {path}; transparency is where FLUX takes alpha from.")
    return path


def check_layers(layers: int, stored: dict[str, Any], most: int = MAX_LAYERS) -> int:
    """The number as a plain int. Raises InputError for more layers than the model may make, or none; ``stored``: what its
    folder says of it, ``most`` where that is nothing."""
    most = stored.get("max_layers", most)
    count = whole(layers)
    if count is None or not 1 <= count <= most:
        raise InputError(
            f"the number of layers must lie between 1 and {most}, the background included, not {layers!r}"
        )
    return count


def check_sides(size: Sequence[int] | None) -> tuple[int, int] | None:
    """(width, height) as plain ints. Raises InputError for what is no such pair."""
    if size is None:
        return None
    sides = [whole(side) for side in size] if isinstance(size, Sequence) and not isinstance(size, str) else []
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        raise InputError(f"the size must be (width, height), two whole numbers of pixels, not {size!r}")
    return sides[0], sides[1]
