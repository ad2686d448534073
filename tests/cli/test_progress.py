"""How progress looks on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from acetate.cli import progress
from acetate.cli.progress import Bar, Lines, Silence, clock_text, make_progress


def test_times_are_for_people() -> None:
    assert clock_text(7.6) == "8 s left"
    assert clock_text(125) == "2:05 min left"
    assert clock_text(-1) == "0 s left"


def test_a_line_per_phase_and_one_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = io.StringIO()
    lines = Lines(stream)
    lines("load", 0, 1, None)
    lines("denoise", 0, 30, None)
    lines("denoise", 1, 30, 58.0)
    now += progress.SECONDS_BETWEEN_LINES
    lines("denoise", 4, 30, 52.0)
    assert stream.getvalue().splitlines() == [
        "loading the model",
        "finding the layers, step 0 of 30",
        "finding the layers, step 4 of 30, 52 s left",
    ]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = make_progress(False, Terminal())
    assert isinstance(shown, Bar)
    with shown:
        shown("denoise", 3, 30, 20.0)
        task = shown._bar.tasks[0]
        assert (task.completed, task.total) == (3, 30)
        assert task.fields["detail"] == "step 3 of 30, 20 s left"
    assert isinstance(make_progress(True, Terminal()), Silence)
    assert isinstance(make_progress(False, io.StringIO()), Lines)
