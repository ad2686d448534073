"""The command line in this process: fast, and with stdout and stderr at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acetate.cli import main


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr that is an error."""
        lines = [line for line in self.err.splitlines() if line.startswith("acetate: ")]
        assert len(lines) == 1, self.err
        return lines[0]


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("ACETATE_DEBUG", raising=False)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(status=status, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A red square on blue, 40 x 30."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:] = (30, 60, 200)
    pixels[8:22, 10:30] = (220, 50, 40)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path
