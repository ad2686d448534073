"""Progress of a render on stderr: a bar on a terminal, a line now and then elsewhere. Listens to the engine's events."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

from .progress import SECONDS_BETWEEN_LINES, clock_text


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A job that was not done, in one line."""

    text: str


class Watcher:
    """Counts what the engine tells; draws nothing. Use as a context manager and as the ``watch`` of a render."""

    def __init__(self) -> None:
        self.complaints: list[Complaint] = []
        self.todo = self.made = self.failed = 0
        self._began = time.monotonic()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        if event == "started":
            self.todo, self._began = facts["todo"], time.monotonic()
        elif event == "job_done":
            self.made += 1
        elif event == "job_failed":
            self.failed += 1
        if event == "copy_failed":
            self.complaints.append(Complaint(text=facts["reason"]))
        elif event in ("job_failed", "job_rejected"):
            name = f" ({facts['id']})" if "id" in facts else ""
            self.complaints.append(Complaint(text=f"row {facts['row']}{name}: {facts['reason']}"))
        self.draw(event, facts)

    def draw(self, event: str, facts: dict[str, Any]) -> None:
        return None

    def detail(self) -> str:
        """ "12 of 200, 3 failed, 1:20 min left" """
        ended = self.made + self.failed
        words = [f"{ended} of {self.todo}"]
        if self.failed:
            words.append(f"{self.failed} failed")
        if 0 < ended < self.todo:
            spent = time.monotonic() - self._began
            words.append(clock_text(spent / ended * (self.todo - ended)))
        return ", ".join(words)


class LineWatcher(Watcher):
    """A plain line at the start, then at most one every five seconds, and whatever went wrong at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._last = float("-inf")

    def draw(self, event: str, facts: dict[str, Any]) -> None:
        now = time.monotonic()
        if event == "started":
            print(
                f"{facts['todo']} to do, {facts['already_done']} done already, {facts['rejected']} rejected",
                file=self._stream,
                flush=True,
            )
            self._last = now
        elif event in ("job_retried", "worker_lost", "journal_rebuilt"):
            print(_sentence(event, facts), file=self._stream, flush=True)
        elif event in ("job_done", "job_failed") and now - self._last >= SECONDS_BETWEEN_LINES:
            print(self.detail(), file=self._stream, flush=True)
            self._last = now


class BarWatcher(Watcher):
    """A bar over all jobs, drawn by rich; what went wrong scrolls above it."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("planning", total=None, detail="")

    def __enter__(self) -> BarWatcher:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def draw(self, event: str, facts: dict[str, Any]) -> None:
        if event in ("job_retried", "worker_lost", "journal_rebuilt"):
            self._bar.console.print(_sentence(event, facts), markup=False)
        if event in ("started", "job_done", "job_failed"):
            self._bar.update(
                self._task,
                description="rendering",
                completed=self.made + self.failed,
                total=self.todo,
                detail=self.detail(),
            )
        elif event == "summary":
            self._bar.update(self._task, description="summing up")


def _sentence(event: str, facts: dict[str, Any]) -> str:
    if event == "job_retried":
        return f"{facts['id']} will be tried again in {facts['wait']:g} s: {facts['reason']}"
    if event == "worker_lost":
        return f"a worker is gone: {facts['reason']}"
    return f"the journal could not be read and was made again from {facts['results']} results"


def make_watcher(quiet: bool, stream: TextIO | None = None) -> Watcher:
    """The kind of progress that suits ``stream`` (stderr by default)."""
    stream = stream or sys.stderr
    if quiet:
        return Watcher()
    return BarWatcher() if stream.isatty() else LineWatcher(stream)
