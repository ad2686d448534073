"""Progress on stderr: a bar on a terminal, plain lines elsewhere. Knows phases and steps, not what they do."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, TextIO

LABELS = {
    "load": "loading the model",
    "encode": "reading the input",
    "denoise": "finding the layers",
    "decode": "painting the layers",
    "whole": "keeping objects whole",
    "upsample": "bringing layers to full size",
    "recompose": "matching the picture exactly",
    "write": "writing",
}
SECONDS_BETWEEN_LINES = 5.0


class Progress(Protocol):
    """Use as a context manager; call with (phase, step, steps, remaining seconds or None)."""

    def __enter__(self) -> Progress: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, phase: str, step: int, steps: int, remaining: float | None) -> None: ...


def make_progress(quiet: bool, stream: TextIO | None = None) -> Progress:
    """The kind of progress that suits ``stream`` (stderr by default)."""
    stream = stream or sys.stderr
    if quiet:
        return Silence()
    return Bar() if stream.isatty() else Lines(stream)


def clock_text(seconds: float) -> str:
    """A remaining time for people: "8 s left", "2:05 min left"."""
    whole = max(0, round(seconds))
    return f"{whole} s left" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min left"


class Silence:
    """No progress at all."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, phase: str, step: int, steps: int, remaining: float | None) -> None:
        return None


class Lines(Silence):
    """One line when a phase begins, and one every few seconds while it lasts."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._phase = ""
        self._last = 0.0

    def __call__(self, phase: str, step: int, steps: int, remaining: float | None) -> None:
        now = time.monotonic()
        begins = phase != self._phase
        if begins or (step < steps and now - self._last >= SECONDS_BETWEEN_LINES):
            parts = [LABELS.get(phase, phase)]
            if steps > 1:
                parts.append(f"step {step} of {steps}")
            if remaining is not None and step < steps:
                parts.append(clock_text(remaining))
            print(", ".join(parts), file=self._stream, flush=True)
            self._phase, self._last = phase, now


class Bar(Silence):
    """A bar with phase, step and remaining time, drawn by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description:<30}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, detail="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, phase: str, step: int, steps: int, remaining: float | None) -> None:
        detail = f"step {step} of {steps}" if steps > 1 else ""
        if remaining is not None and step < steps:
            detail = f"{detail}, {clock_text(remaining)}" if detail else clock_text(remaining)
        self._bar.update(
            self._task,
            description=LABELS.get(phase, phase),
            completed=step,
            total=steps if steps > 1 else None,
            detail=detail,
        )
