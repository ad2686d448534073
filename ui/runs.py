"""Everything that calls a model: what is asked is checked here, what it does is in ``tasks``, when it runs in ``jobs``.

Each takes who asks and JSON-able values, like every action; see ``actions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..api import AUTO_LAYERS, check_layer_prompts
from ..errors import InputError
from ..fitting import usual
from ..layers.document import Box
from ..run import MAX_STEPS
from . import tasks, tasks_layers
from .documents import Record, Store
from .guard import check_after
from .jobs import Job, Worker
from .settings import StudioSettings
from .words import shown, stem


class Runs:
    """The runs of all visitors: one per visitor, one at a time for all."""

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.worker = Worker(settings.max_waiting)
        self.store = Store(settings, in_use=self.worker.documents)

    def decompose(
        self,
        visitor: str,
        document: str,
        layers: int | None = 4,
        layer: str | None = None,
        prompt: str | None = None,
        layer_prompts: list[str | None] | None = None,
        model: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Job:
        """Take the flattened document apart into so many layers, or as many as it takes where ``layers`` is null; with
        ``layer`` that layer alone, which becomes a group. Layer prompts name the layers from the background up and are told
        to the model, which was not trained to follow them here."""
        record = self._grown(visitor, document)
        shown = self._check_layers(layers, model)
        settings = {
            **self._run(model, steps, seed),
            "prompt": prompt or None,
            "layer_prompts": check_layer_prompts(layer_prompts or [], shown) or [],
        }
        if layer is None:
            work, task = tasks.take_apart(record, layers, shown, settings), "Image to layers"
        else:
            work, task = tasks.split_again(record, layer, layers, shown, settings), "Split the layer"
        return self._submit(visitor, task, work, record)

    def generate(
        self,
        visitor: str,
        prompt: str,
        layers: int | None = None,
        layer_prompts: list[str | None] | None = None,
        boxes: list[list[int] | None] | None = None,
        width: int | None = None,
        height: int | None = None,
        model: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Job:
        """Make a new document from text. Layer prompts, and boxes (x0, y0, x1, y1) in pixels, describe the layers above the
        background, bottom to top; null leaves one open."""
        if not prompt.strip():
            raise InputError("The prompt is empty: say in words what the picture shows.")
        described = max(len(layer_prompts or []), len(boxes or []))
        layers = layers if layers is not None else (described + 1 if described else 3)
        most = int(self.model_facts(self._model_name(model))["max_layers"])
        if described >= most:
            raise InputError(
                f"{described} layers are described, and this model makes at most {most} layers, the background included."
            )
        self._check_layers(layers, model)
        if described >= layers:
            raise InputError(
                f"{described} layers are described above the background: ask for {described + 1}."
            )
        if (width is None) != (height is None):
            raise InputError("Give both width and height, or neither.")
        settings = {
            **self._run(model, steps, seed),
            "transparency": self.settings.transparency,
            "prompt": prompt,
            "layers": layers,
            "layer_prompts": [text or None for text in layer_prompts or []],
            "boxes": [_box(box) for box in boxes or []],
            "size": None if width is None or height is None else (width, height),
        }
        work = tasks.make(self.store, visitor, stem(prompt), settings)
        return self._submit(visitor, "Text to layers", work)

    def complete(
        self,
        visitor: str,
        document: str,
        prompt: str | None = None,
        layer: str | None = None,
        where: str = "above",
        box: list[int] | None = None,
        scene: str | None = None,
        model: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Job:
        """Make one layer that fits the visible others: "above" or "below" a layer (or all of them), "instead" of it, or
        "behind" it as its background."""
        record = self._grown(visitor, document)
        most = int(self.model_facts(self._model_name(model))["max_layers"])
        settings = {**self._run(model, steps, seed), "prompt": prompt or None, "scene": scene or None}
        work = tasks_layers.fit_layer(record, layer, where, _box(box), most, settings)
        return self._submit(visitor, tasks_layers.TASKS[where], work, record)

    def extract(
        self,
        visitor: str,
        document: str,
        box: list[int],
        layer: str | None = None,
        model: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Job:
        """Lift the object in a box, with its shadow, off its background: of one layer, or of the flattened document."""
        record = self._grown(visitor, document)
        where = _box(box)
        assert where is not None
        work = tasks_layers.lift(record, layer, where, self._run(model, steps, seed))
        return self._submit(visitor, "Lift an object", work, record)

    def watch(self, visitor: str, job: str) -> Job:
        """The visitor's own run, to follow it again after a reload."""
        return self.worker.find(visitor, job)

    def cancel(self, visitor: str) -> dict[str, Any]:
        """Stop the visitor's run; the document stays as it was."""
        return {"cancelled": self.worker.cancel(visitor)}

    # -- inside

    def _submit(
        self, visitor: str, task: str, work: Callable[[Job], str], record: Record | None = None
    ) -> Job:
        document = None if record is None else record.id
        return self.worker.submit(Job(owner=visitor, task=task, work=work, document=document))

    def _grown(self, visitor: str, document: str) -> Record:
        """The document, refused where earlier runs have made it larger than one may be here."""
        record = self.store.get(visitor, document)
        check_after(record.state.doc, self.settings.limits)
        return record

    def _model_name(self, model: str | None) -> str:
        choices = self.settings.choices
        name = next(iter(choices)) if model is None else model
        if name not in choices:
            raise InputError(f"This studio has no model {shown(name)!r}; it has {', '.join(choices)}.")
        return name

    def model_facts(self, name: str) -> dict[str, Any]:
        """What the page needs to know of a model, or why it cannot be used."""
        from ..models.family import family_of
        from ..session import check_transparency, stored_settings

        facts: dict[str, Any] = {
            "name": name,
            "steps": 50,
            "max_layers": 20,
            "resolution": 640,
            "caveat": "",
            "tasks": [],
            "able": "",
            "error": None,
        }
        try:
            whole = self.settings.transformer is None
            entry, stored = stored_settings(self.settings.choices[name], transformer=whole)
            assert entry.path is not None
            family = family_of(entry.path, stored)
            check_transparency(family, entry, self.settings.transparency, "generate")
            steps, resolution = usual(entry, family, stored)
        except InputError as error:
            return {**facts, "error": str(error)}
        return {
            **facts,
            "caveat": entry.caveat or family.caveat,
            "tasks": list(family.tasks),
            "able": family.able,
            "steps": steps,
            "max_layers": stored.get("max_layers", family.max_layers),
            "resolution": resolution,
        }

    def _check_layers(self, layers: int | None, model: str | None) -> int:
        """How many layers a run makes at most. Raises InputError for a number that the model does not take."""
        most = int(self.model_facts(self._model_name(model))["max_layers"])
        if layers is None:
            return min(most, AUTO_LAYERS)
        if not 1 <= layers <= most:
            raise InputError(
                f"The number of layers must lie between 1 and {most}, the background included, not {layers}."
            )
        return layers

    def _run(self, model: str | None, steps: int | None, seed: int) -> dict[str, Any]:
        if steps is not None and not 1 <= steps <= MAX_STEPS:
            raise InputError(f"The number of steps must lie between 1 and {MAX_STEPS}, not {steps}.")
        if not 0 <= seed < 2**53:
            raise InputError(f"The seed must be a whole number from 0 on, not {seed}.")
        model = self.settings.choices[self._model_name(model)]
        return {"model": model, **self.settings.held, "steps": steps, "seed": seed}


def _box(box: list[int] | None) -> Box | None:
    if box is None:
        return None
    if len(box) != 4:
        raise InputError(f"A box is four whole numbers x0, y0, x1, y1, not {len(box)}.")
    return box[0], box[1], box[2], box[3]
