"""Everything a visitor can do, as plain typed functions: the page and ``gradio_client`` call these and nothing else.

Each takes who asks and JSON-able values, and answers with JSON-able values. No value is ever used as a path: documents,
models, examples and formats are looked up by name. Knows nothing of Gradio.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layers.blend import BlendMode
from ..layers.document import LayeredImage
from ..layers.edit import parse_operation
from ..layers.io import FORMATS, open_document, save_document
from .arrange import place
from .documents import Record, State
from .guard import check_after, check_before
from .previews import small_picture
from .runs import Runs
from .settings import StudioSettings
from .view import view
from .words import gave_way, shown, stem

EXPORTS = tuple(name for name in FORMATS if name != "folder")
EXPORT_SECONDS = 300
"""How long an exported file waits to be fetched."""
TRANSIT_SECONDS = 300
"""How long an upload that nobody opened stays, and the server's own copies of exported files."""
EXAMPLE_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
EXAMPLES = ("poster.png", "stickers.png", "photo.jpg", "party.zip")


class Studio(Runs):
    """What all visitors share. ``visitor`` is who asks: a secret only that visitor's requests carry."""

    def __init__(self, settings: StudioSettings) -> None:
        super().__init__(settings)
        self._exports = self.store.root / "exports"
        self.transit = self.store.root / "gradio"
        """Where the server keeps uploads until they are opened, and its copies of exported files."""

    # -- documents

    def session(self, visitor: str) -> dict[str, Any]:
        """What this studio offers and what the visitor has: models, formats, limits, documents, the run under way."""
        job = self.worker.current(visitor)
        return {
            "models": [self.model_facts(name) for name in self.settings.choices],
            "formats": [
                {"name": name, "title": FORMATS[name].title, "holds": FORMATS[name].holds} for name in EXPORTS
            ],
            "blend_modes": [mode.value for mode in BlendMode],
            "examples": list(self._examples()),
            "limits": {
                "upload_mib": self.settings.max_upload_mib,
                "megapixels": self.settings.max_megapixels,
                "hours": self.settings.hours,
            },
            "documents": self._documents(visitor),
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
        return self._created(visitor, self._opened(doc, name), stem(name))

    def open_example(self, visitor: str, example: str) -> dict[str, Any]:
        """Open one of the example pictures by its name."""
        path = self._examples().get(example)
        if path is None:
            raise InputError(f"There is no example {shown(example)!r}.")
        return self._created(visitor, self._opened(open_document(path), example), example)

    def example_picture(self, example: str) -> bytes:
        """What an example looks like, as a small JPEG. Raises InputError for a name that is none."""
        path = self._examples().get(example)
        if path is None:
            raise InputError(f"There is no example {shown(example)!r}.")
        return small_picture(path)

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
        self, visitor: str, document: str, layers: list[str], parent: str | None = None, index: int = 0
    ) -> dict[str, Any]:
        """Move layers and groups, in the order they have, into a group (or the document) below the node that has that
        index there now."""
        label = "Reorder" if len(layers) == 1 else f"Reorder {len(layers)} layers"
        return self._change(visitor, document, label, lambda doc: place(doc, layers, parent, index))

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
        """Remove a document for good, and end the run that works on it."""
        self.store.close_document(visitor, document)
        job = self.worker.current(visitor)
        if job is not None and job.document == document:
            self.worker.cancel(visitor)
        return {"closed": document, "documents": self._documents(visitor)}

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

    # -- housekeeping

    def tidy(self) -> None:
        """Remove what has reached its time, then save what changed: on a full disk the first makes room for the second."""
        self.store.sweep(self.worker.busy())
        sweep_files(self._exports, time.time() - EXPORT_SECONDS)
        sweep_files(self.transit, time.time() - TRANSIT_SECONDS)
        self.store.save_all()

    def shut(self) -> None:
        """The end: stop runs, remove documents."""
        self.worker.close()
        shutil.rmtree(self._exports, ignore_errors=True)
        self.store.close()

    # -- inside

    def _documents(self, visitor: str) -> list[dict[str, str]]:
        return [{"id": record.id, "name": record.name} for record in self.store.owned_by(visitor)]

    def _created(self, visitor: str, state: State, name: str) -> dict[str, Any]:
        """A new document, with the visitor's list of them and a sentence where an old one gave way."""
        record = self.store.create(visitor, state, name)
        return {
            **view(record),
            "documents": self._documents(visitor),
            "note": gave_way(record.displaced),
        }

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
        paths = [EXAMPLE_FOLDER / name for name in EXAMPLES]  # a wheel holds no documentation
        return {path.stem: path for path in paths if path.is_file()}


def sweep_files(folder: Path, before: float) -> None:
    """Remove files and empty folders below ``folder`` that were last written before that moment (of time.time)."""
    for inside, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            path = Path(inside, name)
            try:
                if path.stat().st_mtime < before:
                    path.rmdir() if name in folders else path.unlink()
            except OSError:  # not empty, in use or already gone: the next time
                continue


def _label(operation: str) -> str:
    return operation.partition(":")[0].replace("-", " ").capitalize()
