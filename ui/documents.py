"""The documents of visitors: who owns them, their history, their place on disk and their end.

A document is reached by an unguessable id and only by the visitor who made it. The newest documents are held in memory
with undo and redo; the others wait on disk as acetate's lossless zip. Knows nothing of Gradio or of HTTP.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..layers.document import LayeredImage
from ..layers.io import open_document, save_document
from .settings import StudioSettings

CHANGED = "You changed the {} while the run was under way: Undo brings your changes back."
_ID = re.compile(r"[A-Za-z0-9_-]{24}")


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """One moment of a document: the layers, and the picture they were taken from (H x W x 4 uint8), if there is one."""

    doc: LayeredImage
    source: np.ndarray | None = None
    reported: bool = False
    """As a run left it: what its report says of the layers still holds."""
    label: str = ""
    """What led here, in words for the undo button."""

    def pixels_bytes(self, seen: set[int]) -> int:
        """Bytes of pixels that no state counted into ``seen`` holds."""
        arrays = [layer.pixels for layer in self.doc.leaves()]
        arrays += [node.mask.pixels for _, node in self.doc.walk() if node.mask is not None]
        if self.source is not None:
            arrays.append(self.source)
        total = 0
        for array in arrays:
            owner = root_array(array)
            if id(owner) not in seen:
                seen.add(id(owner))
                total += owner.nbytes
        return total


def root_array(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@dataclass(eq=False)
class Record:
    """A visitor's document. Every method holds the record's lock; the states themselves never change."""

    id: str
    owner: str
    folder: Path
    history: int
    history_bytes: int
    name: str = "Untitled"
    made: bool = False
    """Made here by a model: no file has it."""
    displaced: tuple[str, ...] = ()
    """Names of the owner's documents that gave way to this one."""
    version: int = 0
    touched: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock)
    _now: State | None = None
    _undo: deque[State] = field(default_factory=deque)
    _redo: list[State] = field(default_factory=list)
    _saved: int = -1
    _removed: bool = False
    _disk: threading.Lock = field(default_factory=threading.Lock)

    @property
    def state(self) -> State:
        """The present state, read from disk where it waits there."""
        with self.lock:
            if self._now is None:
                source = self._source_path
                self._now = State(
                    doc=open_document(self._path),
                    source=np.load(source, allow_pickle=False) if source.exists() else None,
                )
            return self._now

    @property
    def hot(self) -> bool:
        return self._now is not None

    @property
    def undo_label(self) -> str | None:
        return self._now.label if self._now is not None and self._undo else None

    @property
    def redo_label(self) -> str | None:
        return self._redo[-1].label if self._redo else None

    def commit(self, state: State) -> None:
        """Make ``state`` the present one; the old one can be had back, what was undone cannot."""
        with self.lock:
            if self.version:
                self._undo.append(self.state)
            self._redo.clear()
            self._now = state
            self.version += 1
            self._trim()

    def commit_result(self, state: State, version: int, start: State) -> str | None:
        """Commit what a run made of ``start``, the state of ``version``; a sentence where it was changed meanwhile."""
        with self.lock:
            # A state that waited on disk is another object of the same version; an edit undone is the same object again.
            changed = self.version != version and self.state is not start
            self.commit(state)
        return CHANGED.format("document") if changed else None

    def change(self, label: str, edit: Callable[[LayeredImage], LayeredImage]) -> None:
        """Commit ``edit`` of the present document."""
        with self.lock:
            before = self.state
            self.commit(State(doc=edit(before.doc), source=before.source, label=label))

    def undo(self) -> None:
        """Raises InputError when there is nothing left to undo."""
        with self.lock:
            if not self._undo:
                raise InputError("There is nothing to undo.")
            self._redo.append(self.state)
            self._now = self._undo.pop()
            self.version += 1

    def redo(self) -> None:
        """Raises InputError when nothing was undone."""
        with self.lock:
            if not self._redo:
                raise InputError("There is nothing to redo.")
            self._undo.append(self.state)
            self._now = self._redo.pop()
            self.version += 1

    def states(self) -> list[State]:
        """The present state and all that can be had back."""
        with self.lock:
            return [self.state, *reversed(self._undo), *self._redo]

    def memory(self) -> int:
        """Bytes of pixels held in memory, history included."""
        with self.lock:
            seen: set[int] = set()
            kept = [self._now, *self._undo, *self._redo]
            return sum(state.pixels_bytes(seen) for state in kept if state is not None)

    def save(self) -> None:
        """Bring the file on disk up to date; edits need not wait for it."""
        with self._disk:
            with self.lock:
                state, version = self._now, self.version
            if state is None or version == self._saved or self._removed:
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            save_document(state.doc, self._path)
            if state.source is not None:
                with self._source_path.open("wb") as file:
                    np.save(file, state.source, allow_pickle=False)
            else:
                self._source_path.unlink(missing_ok=True)
            self._saved = version

    def cool(self) -> None:
        """Leave memory: the present state goes to disk, the history ends."""
        self.save()
        with self.lock:
            if self._saved == self.version:  # else it was changed meanwhile, and is in use
                self._now = None
                self._undo.clear()
                self._redo.clear()

    def remove(self) -> None:
        """Delete the files; nothing is written from now on."""
        with self._disk:
            self._removed = True
            self._path.unlink(missing_ok=True)
            self._source_path.unlink(missing_ok=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.id}.zip"

    @property
    def _source_path(self) -> Path:
        return self.folder / f"{self.id}.npy"

    def _trim(self) -> None:
        while len(self._undo) > self.history or (self._undo and self.memory() > self.history_bytes):
            self._undo.popleft()


class Store:
    """All documents of all visitors."""

    def __init__(
        self,
        settings: StudioSettings,
        clock: Callable[[], float] = time.time,
        in_use: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """``in_use``: ids of the documents that must not give way to new ones, since runs work on them or wait to."""
        self._settings = settings
        self._clock = clock
        self._in_use = in_use
        self._owned = settings.store is None
        self.root = Path(settings.store or tempfile.mkdtemp(prefix="acetate-studio-")).resolve()
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}

    def create(self, owner: str, state: State, name: str, *, made: bool = False) -> Record:
        """A new document of ``owner``. The oldest of this visitor gives way when there are too many, the oldest of all when
        there are too many of all. Raises InputError where every one of those is in use."""
        settings, kept = self._settings, self._in_use()
        with self._lock:
            free = [record for record in self._records.values() if record.id not in kept]
            free.sort(key=lambda record: record.touched)
            mine = [record for record in free if record.owner == owner]
            gone = mine[: max(0, len(self.owned_by(owner)) + 1 - settings.max_per_visitor)]
            if len(self._records) - len(gone) >= settings.max_documents:
                if not free:
                    raise InputError(
                        "The studio is full, and runs need all it holds: try again in a few minutes."
                    )
                gone.append(free[0])
            for record in gone:
                self._drop(record)
            record = Record(
                id=secrets.token_urlsafe(18),
                owner=owner,
                folder=self.root / hashlib.sha256(owner.encode()).hexdigest()[:32],
                history=settings.history,
                history_bytes=settings.history_mib * 2**20,
                name=name,
                made=made,
                displaced=tuple(old.name for old in gone if old.owner == owner),
            )
            record.commit(state)
            record.touched = self._clock()
            self._records[record.id] = record
        self._cool_down()
        return record

    def get(self, owner: str, document: object) -> Record:
        """The document of that id, if it is this visitor's; the answer is the same whether it exists or not."""
        known = isinstance(document, str) and _ID.fullmatch(document) is not None
        record = self._records.get(str(document)) if known else None
        if record is None or not secrets.compare_digest(record.owner.encode(), owner.encode()):
            raise InputError("There is no such document; it may have reached its time: open it again.")
        cold = not record.hot
        record.touched = self._clock()
        if cold:
            _ = record.state
            self._cool_down()
        return record

    def owned_by(self, owner: str) -> list[Record]:
        """The documents of a visitor, the latest used first."""
        with self._lock:
            mine = [record for record in self._records.values() if record.owner == owner]
        return sorted(mine, key=lambda record: -record.touched)

    def close_document(self, owner: str, document: object) -> None:
        """Remove one document for good."""
        record = self.get(owner, document)
        with self._lock:
            self._drop(record)

    def save_all(self) -> None:
        """Bring every changed document to disk."""
        with self._lock:
            records = list(self._records.values())
        for record in records:
            record.save()

    def sweep(self, busy: Collection[str] = ()) -> int:
        """Remove the documents whose time has come; how many. ``busy``: visitors whose runs wait or run."""
        now = self._clock()
        limit = now - 3600 * self._settings.hours
        with self._lock:
            for record in self._records.values():
                if record.owner in busy:
                    record.touched = now
            old = [record for record in self._records.values() if record.touched < limit]
            for record in old:
                self._drop(record)
        return len(old)

    def close(self) -> None:
        """The end of the studio: every document goes, and with it the folder if it was made here."""
        with self._lock:
            for record in list(self._records.values()):
                self._drop(record)
        if self._owned:
            shutil.rmtree(self.root, ignore_errors=True)

    def _drop(self, record: Record) -> None:
        self._records.pop(record.id, None)
        record.remove()

    def _cool_down(self) -> None:
        with self._lock:
            hot = sorted((r for r in self._records.values() if r.hot), key=lambda record: -record.touched)
        for record in hot[self._settings.max_hot :]:
            record.cool()
