"""The thread that copies finished results away while others are rendered.

The queue before it is short: a store that cannot keep up makes the engine wait, and not the memory grow.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path

from ..errors import OutputError
from .copies import Copies


class Copier:
    """Failures are collected, and none of them stops the others. Once ``stop`` is set nothing is waited for: what was not
    copied then is copied by the next render."""

    def __init__(self, copies: Copies, stop: threading.Event) -> None:
        self._copies = copies
        self._stop = stop
        self._waiting: queue.Queue[Path | None] = queue.Queue(maxsize=8)
        self.copied = 0
        self.failures: list[tuple[str, str]] = []
        """(id, reason) of results that could not be copied; the next render tries again."""
        self._thread = threading.Thread(target=self._work, name="copier", daemon=True)
        self._thread.start()

    def add(self, folder: Path | None) -> None:
        """Have a result copied, or with None nothing more after those added before; waits while the queue is full."""
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._waiting.put(folder, timeout=0.1)
                return

    def finish(self) -> None:
        """Wait for everything that was added."""
        self.add(None)
        while self._thread.is_alive() and not self._stop.is_set():
            self._thread.join(0.1)

    def _work(self) -> None:
        while (folder := self._waiting.get()) is not None:
            if self._stop.is_set():
                return
            try:
                self.copied += self._copies.put(folder)
            except OutputError as error:
                self.failures.append((folder.name, str(error)))
