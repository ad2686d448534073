"""The thread that copies finished results away while others are rendered.

Results lie on disk, so what waits here are names: a store that is slow, or away for an hour, never holds up a model. What
could not be copied is tried once more when everything else is done.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from ..errors import OutputError
from .copies import Copies


class Copier:
    """Failures are collected, and none of them stops the others. Once ``stop`` is set nothing is waited for: what was not
    copied then is copied by the next render."""

    def __init__(self, copies: Copies, stop: threading.Event) -> None:
        self._copies = copies
        self._stop = stop
        self._waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._through = False
        self.copied = 0
        self.failures: dict[str, str] = {}
        """id: reason, of results that could not be copied; the next render tries again."""
        self._thread = threading.Thread(target=self._work, name="copier", daemon=True)
        self._thread.start()

    def add(self, folder: Path) -> None:
        """Have a result copied."""
        self._waiting.put(folder)

    def finish(self) -> bool:
        """Wait for everything that was added; whether all of it had its turn."""
        self.close()
        self._thread.join(0.1)
        while self._thread.is_alive() and not self._stop.is_set():
            self._thread.join(0.1)
        return self._through

    def close(self) -> None:
        """Let the thread end when it is done, without waiting for it."""
        self._waiting.put(None)

    def _work(self) -> None:
        failed = []
        while (folder := self._waiting.get()) is not None:
            if self._stop.is_set():
                return
            if not self._copy(folder):
                failed.append(folder)
        for folder in failed:
            if self._stop.is_set():
                return
            self._copy(folder)
        self._through = True

    def _copy(self, folder: Path) -> bool:
        try:
            self.copied += self._copies.put(folder)
        except OutputError as error:
            self.failures[folder.name] = str(error)
            return False
        self.failures.pop(folder.name, None)
        return True
