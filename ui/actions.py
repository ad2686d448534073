"""Everything a visitor can do, as plain typed functions: the page and ``gradio_client`` call these and nothing else.

Each takes who asks and JSON-able values, and answers with JSON-able values. No value is ever used as a path: documents,
models, examples and formats are looked up by name. Knows nothing of Gradio.
"""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layers.blend import BlendMode
from ..layers.document import Box, LayeredImage
from ..layers.edit import parse_operation
from ..layers.io import FORMATS, open_document, save_document
from . import tasks
from .arrange import place
from .documents import Record, State, Store
from .guard import check_after, check_before
from .jobs import Job, Worker
from .settings import StudioSettings
from .view import view

EXPORTS = tuple(name for name in FORMATS if name != "folder")
EXPORT_SECONDS = 600
"""How long an exported file waits to be fetched."""
EXAMPLE_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"


class Studio:
    """What all visitors share. ``visitor`` is who asks: a secret only that visitor's requests carry."""

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self.store = Store(settings)
        self.worker = Worker(settings.max_waiting)
        self._exports = self.store.root / "exports"

    # -- documents

    def session(self, visitor: str) -> dict[str, Any]:
        """What this studio offers and what the visitor has: models, formats, limits, documents, the run under way."""
        job = self.worker.current(visitor)
        return {
            "models": [self._model_facts(name) for name in self.settings.choices],
            "formats": [
                {"name": name, "title": FORMATS[name].title, "holds": FORMATS[name].holds} for name in EXPORTS
            ],
            "blend_modes": [mode.value for mode in BlendMode],
            "examples": sorted(self._examples()),
            "limits": {
                "upload_mib": self.settings.max_upload_mib,
                "megapixels": self.settings.max_megapixels,
                "hours": self.settings.hours,
            },
            "documents": [{"id": record.id, "name": record.name} for record in self.store.owned_by(visitor)],
            "job": None if job is None else self.worker.snapshot(job),
        }

    def open_file(self, visitor: str, path: Path, name: str) -> dict[str, Any]:
        """Open an uploaded file as a new document. ``path`` is where the server put the upload."""
        if not path.is_file():
            raise InputError("Nothing was uploaded: choose a file first.")
        try:
            doc = open_document(path, limits=self.settings.limits)
        except InputError as error:
            raise InputError(str(error).replace(str(path), shown(name))) from error
        return view(self.store.create(visitor, self._opened(doc, name), stem(name)))

    def open_example(self, visitor: str, example: str) -> dict[str, Any]:
        """Open one of the example pictures by its name."""
        path = self._examples().get(example)
        if path is None:
            raise InputError(f"There is no example {shown(example)!r}.")
        return view(self.store.create(visitor, self._opened(open_document(path), example), example))

    def document(self, visitor: str, document: str) -> dict[str, Any]:
        """The document as it is now."""
        return view(self.store.get(visitor, document))

    def edit(self, visitor: str, document: str, operations: list[str]) -> dict[str, Any]:
        """Apply operations of ``acetate edit``, such as "opacity:NAME,0.5", as one step of undo."""
        if not operations:
            raise InputError("Name at least one operation.")
        edits = [parse_operation(text) for text in operations]

        def apply(doc: LayeredImage) -> LayeredImage:
            for text, change in zip(operations, edits, strict=True):
                check_before(doc, text, self.settings.limits)
                doc = change(doc)
                check_after(doc, self.settings.limits)
            return doc

        return self._change(visitor, document, _label(operations[0]), apply)

    def place(
        self, visitor: str, document: str, layer: str, parent: str | None = None, index: int = 0
    ) -> dict[str, Any]:
        """Move a layer or group into a group (or the document) below the node that has that index there now."""
        return self._change(visitor, document, "Reorder", lambda doc: place(doc, layer, parent, index))

    def undo(self, visitor: str, document: str) -> dict[str, Any]:
        """Take the last step back."""
        record = self.store.get(visitor, document)
        record.undo()
        return view(record)

    def redo(self, visitor: str, document: str) -> dict[str, Any]:
        """Do again what was undone."""
        record = self.store.get(visitor, document)
        record.redo()
        return view(record)

    def close(self, visitor: str, document: str) -> dict[str, Any]:
        """Remove a document for good."""
        self.store.close_document(visitor, document)
        return {"closed": document}

    def export(self, visitor: str, document: str, format: str = "psd") -> Path:
        """Write the document with the code of ``acetate convert``; the file is this server's and short-lived."""
        if format not in EXPORTS:
            raise InputError(f"There is no format {shown(format)!r}; choose one of {', '.join(EXPORTS)}.")
        record = self.store.get(visitor, document)
        folder = self._exports / secrets.token_urlsafe(18)
        folder.mkdir(parents=True)
        try:
            return save_document(record.state.doc, folder / f"{record.name}{FORMATS[format].suffixes[0]}")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    # -- runs

    def decompose(
        self,
        visitor: str,
        document: str,
        layers: int = 4,
        layer: str | None = None,
        prompt: str | None = None,
        model: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Job:
        """Take the flattened document apart, or one of its layers, which becomes a group."""
        record = self.store.get(visitor, document)
        settings = {**self._run(model, steps, seed), "prompt": prompt or None}
        self._check_layers(layers, model)
        if layer is None:
            work, task = tasks.take_apart(record, layers, settings), "Take apart"
        else:
            work, task = tasks.split_again(record, layer, layers, settings), "Split the layer"
        return self.worker.submit(Job(owner=visitor, task=task, work=work))

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
        """Make a new document from text; boxes (x0, y0, x1, y1) in pixels belong to the layer prompts."""
        if not prompt.strip():
            raise InputError("The prompt is empty: say in words what the picture shows.")
        described = max(len(layer_prompts or []), len(boxes or []))
        layers = layers if layers is not None else (described + 1 if described else 3)
        self._check_layers(layers, model)
        if described >= layers:
            raise InputError(
                f"{described} layers are described above the background: ask for {described + 1}."
            )
        if (width is None) != (height is None):
            raise InputError("Give both width and height, or neither.")
        settings = {
            **self._run(model, steps, seed),
            "prompt": prompt,
            "layers": layers,
            "layer_prompts": [text or None for text in layer_prompts or []],
            "boxes": [_box(box) for box in boxes or []],
            "size": None if width is None or height is None else (width, height),
        }
        work = tasks.make(self.store, visitor, stem(prompt), settings)
        return self.worker.submit(Job(owner=visitor, task="Generate", work=work))

    def add_layer(
        self,
        visitor: str,
        document: str,
        prompt: str,
        box: list[int] | None = None,
        replace: str | None = None,
        model: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Job:
        """Generate one layer and put it on top, or at the place of the layer ``replace``."""
        if not prompt.strip():
            raise InputError("The prompt is empty: say in words what the layer shows.")
        record = self.store.get(visitor, document)
        resolution = int(self._model_facts(self._model_name(model))["resolution"])
        work = tasks.add_layer(record, prompt, _box(box), replace, resolution, self._run(model, steps, seed))
        return self.worker.submit(
            Job(owner=visitor, task="Replace the layer" if replace else "Add a layer", work=work)
        )

    def watch(self, visitor: str, job: str) -> Job:
        """The visitor's own run, to follow it again after a reload."""
        return self.worker.find(visitor, job)

    def cancel(self, visitor: str) -> dict[str, Any]:
        """Stop the visitor's run; the document stays as it was."""
        return {"cancelled": self.worker.cancel(visitor)}

    # -- housekeeping

    def tidy(self) -> None:
        """Save what changed, remove what has reached its time."""
        self.store.save_all()
        self.store.sweep()
        if self._exports.is_dir():
            for folder in self._exports.iterdir():
                if time.time() - folder.stat().st_mtime > EXPORT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    def shut(self) -> None:
        """The end: stop runs, remove documents."""
        self.worker.close()
        shutil.rmtree(self._exports, ignore_errors=True)
        self.store.close()

    # -- inside

    def _change(
        self, visitor: str, document: str, label: str, edit: Callable[[LayeredImage], LayeredImage]
    ) -> dict[str, Any]:
        record: Record = self.store.get(visitor, document)
        record.change(label, edit)
        return view(record)

    def _opened(self, doc: LayeredImage, name: str) -> State:
        only = doc.layers[0] if len(doc.layers) == 1 else None
        if only is not None and only.name != stem(name):
            flat = Path(name).suffix.lower() not in (".psd", ".psb", ".ora", ".zip")
            doc = doc.with_layers((only.replace(name=stem(name)),)) if flat else doc
        return State(doc=doc, label="Open")

    def _examples(self) -> dict[str, Path]:
        if not EXAMPLE_FOLDER.is_dir():  # a wheel holds no documentation
            return {}
        return {path.stem: path for path in EXAMPLE_FOLDER.iterdir() if path.suffix in (".png", ".jpg")}

    def _model_name(self, model: str | None) -> str:
        choices = self.settings.choices
        name = next(iter(choices)) if model is None else model
        if name not in choices:
            raise InputError(f"This studio has no model {shown(name)!r}; it has {', '.join(choices)}.")
        return name

    def _model_facts(self, name: str) -> dict[str, Any]:
        from ..session import stored_settings

        facts: dict[str, Any] = {
            "name": name,
            "steps": 20,
            "max_layers": 20,
            "resolution": 640,
            "error": None,
        }
        try:
            _, stored = stored_settings(self.settings.choices[name])
        except InputError as error:
            return {**facts, "error": str(error)}
        return {
            **facts,
            "steps": stored.get("default_steps", facts["steps"]),
            "max_layers": stored.get("max_layers", facts["max_layers"]),
            "resolution": stored.get("default_resolution", facts["resolution"]),
        }

    def _check_layers(self, layers: int, model: str | None) -> None:
        most = int(self._model_facts(self._model_name(model))["max_layers"])
        if not 1 <= layers <= most:
            raise InputError(f"The number of layers must lie between 1 and {most}, the background included.")

    def _run(self, model: str | None, steps: int | None, seed: int) -> dict[str, Any]:
        if steps is not None and not 1 <= steps <= 1000:
            raise InputError(f"The number of steps must lie between 1 and 1000, not {steps}.")
        if not 0 <= seed < 2**53:
            raise InputError(f"The seed must be a whole number from 0 on, not {seed}.")
        return {"model": self.settings.choices[self._model_name(model)], "steps": steps, "seed": seed}


def shown(text: str) -> str:
    """A visitor's text as messages quote it: one short line."""
    return re.sub(r"\s+", " ", text)[:60]


def stem(name: str) -> str:
    """A name for a document that is also a safe file name, in any script."""
    base = re.sub(
        r"\.(psd|psb|ora|zip|png|jpe?g|webp|tiff?|gif|bmp|avif)$", "", name.strip(), flags=re.IGNORECASE
    )
    kept = re.sub(r"[^\w \-.()]+", "_", base).strip(" ._")
    return kept[:60] or "Untitled"


def _box(box: list[int] | None) -> Box | None:
    if box is None:
        return None
    if len(box) != 4:
        raise InputError(f"A box is four whole numbers x0, y0, x1, y1, not {len(box)}.")
    return box[0], box[1], box[2], box[3]


def _label(operation: str) -> str:
    return operation.partition(":")[0].replace("-", " ").capitalize()
