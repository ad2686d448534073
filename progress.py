"""The phases of a run: how long each took, what is reported while it lasts, and where a run may be stopped.

Knows nothing of models or pictures, and never prints: the command line and the studio each draw it their own way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from .errors import Cancelled

OnProgress: TypeAlias = Callable[[str, int, int, "float | None"], None]
"""Called as ``on_progress(phase, step, steps, remaining)``: ``step`` of ``steps`` are done, ``remaining`` seconds are
left of this phase, or None while nobody can know. Phases come in this order, as far as a task has them: "load", "encode",
"denoise", "decode", "whole", "upsample", "recompose"."""


class Phases:
    """A stopwatch per phase that also reports progress and honours ``cancel`` between phases."""

    def __init__(self, on_progress: OnProgress | None = None, cancel: threading.Event | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_progress = on_progress
        self._cancel = cancel
        self._running: tuple[str, float] | None = None

    def start(self, phase: str, *, steps: int = 1, at: float | None = None) -> None:
        """End the running phase and begin ``phase``, now or at the past moment ``at`` (of time.perf_counter).

        Raises Cancelled when the user has stopped the run.
        """
        now = time.perf_counter() if at is None else at
        self._close(now)
        self._running = (phase, now)
        self.check()
        self.report(phase, 0, steps, None)

    def check(self) -> None:
        """Raises Cancelled when the user has stopped the run."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("the run was stopped; nothing was written")

    @property
    def current(self) -> str | None:
        """The running phase."""
        return self._running[0] if self._running is not None else None

    def report(self, phase: str, step: int, steps: int, remaining: float | None) -> None:
        if self._on_progress is not None:
            self._on_progress(phase, step, steps, remaining)

    def stop(self) -> None:
        """End the running phase."""
        self._close(time.perf_counter())

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """A phase of one step."""
        self.start(phase)
        yield
        self.stop()
        self.report(phase, 1, 1, 0.0)

    def _close(self, now: float) -> None:
        if self._running is not None:
            phase, began = self._running
            self.seconds[phase] = self.seconds.get(phase, 0.0) + max(0.0, now - began)
            self._running = None
