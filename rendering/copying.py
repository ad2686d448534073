"""The thread that copies finished results away while others are rendered.

The queue before it is short: a store that cannot keep up makes the engine wait, and not the memory grow.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from ..errors import OutputError
from .copies import Copies


class Copier:
    """Started with its first result. Failures are collected, and none of them stops the others."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._waiting: queue.Queue[Path | None] = queue.Queue(maxsize=8)
        self._stopped = threading.Event()
        self.copied = 0
        self.failures: list[tuple[str, str]] = []
        """(id, reason) of results that could not be copied; the next render tries again."""
        self._thread = threading.Thread(target=self._work, name="copier", daemon=True)
        self._thread.start()

    def add(self, folder: Path) -> None:
        self._waiting.put(folder)

    def finish(self) -> None:
        """Wait for everything that was added."""
        self._waiting.put(None)
        self._thread.join()

    def abandon(self) -> None:
        """Copy no more; the next render goes on. Returns at once."""
        self._stopped.set()

    def _work(self) -> None:
        while (folder := self._waiting.get()) is not None:
            if self._stopped.is_set():
                continue
            try:
                self.copied += self._copies.put(folder)
            except OutputError as error:
                self.failures.append((folder.name, str(error)))
