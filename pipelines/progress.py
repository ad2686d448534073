"""What a pipeline reports while it works: the phase, how far it is, the time left, a preview on demand.

Knows no terminals and no browsers; whoever shows it decides how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

Phase = Literal["encode", "sample", "decode"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One report. ``done`` of ``total`` steps (phase "sample") or results ("encode", "decode") are finished.

    ``remaining``: estimated seconds until sampling ends, None where unknown. ``results``: which results
    (numbers in the order of the inputs) this is about. ``preview``: call it for the pictures as the model
    sees them now, one RGBA per entry of ``results``; takes the frame (0 the composite, 1 the background,
    ...; by default the lowest number there is), costs one decode each; None outside of sampling.
    """

    phase: Phase
    done: int
    total: int
    elapsed: float = 0.0
    remaining: float | None = None
    results: tuple[int, ...] = ()
    preview: Callable[..., list[Image.Image]] | None = None

    @property
    def fraction(self) -> float:
        """Share of the phase that is done, in [0, 1]."""
        return self.done / self.total if self.total else 1.0
