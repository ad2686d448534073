"""What a run tells those who watch it: one ``StepState`` per step, with the time left and a lazy x0.

Knows nothing of pixels: a preview is made from :meth:`StepState.x0` by the pipeline, and only when somebody
asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from ..controls.base import StepContext
from ..models.layout import Layout

__all__ = ["Accelerator", "Clock", "StepContext", "StepState"]


@runtime_checkable
class Accelerator(Protocol):
    """Decides what of a run is computed. Called around every prediction of every branch."""

    def prepare(self, layout: Layout, num_steps: int) -> None:
        """Called once before the first step; drops everything kept from an earlier run."""
        ...

    def velocity(
        self, context: StepContext, tokens: torch.Tensor, compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """The velocity (B, num_noisy_tokens, C) of this branch: ``compute()``, or something cheaper."""
        ...

    def finish(self) -> None:
        """Called once when the run ends in any way."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class StepState:
    """A finished step.

    ``tokens``: float32 (B, num_noisy_tokens, C) at ``context.sigma_next``. ``elapsed`` and ``remaining``:
    seconds since the run began and estimated until it ends.
    """

    context: StepContext
    layout: Layout
    tokens: torch.Tensor
    elapsed: float
    remaining: float
    start: torch.Tensor = field(repr=False)
    velocity: torch.Tensor = field(repr=False)

    @property
    def fraction(self) -> float:
        """Share of the steps done, in (0, 1]."""
        return (self.context.step + 1) / self.context.num_steps

    def x0(self) -> torch.Tensor:
        """The clean tokens as the network sees them now: x - sigma v, float32, shape of ``tokens``. Computed
        here.
        """
        return self.start - self.context.sigma * self.velocity


class Clock:
    """Estimates the time a run still needs from the steps it has finished.

    The first step is left out as soon as there is another: it pays for lazy initialisation and says little.
    """

    def __init__(self, num_steps: int, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._num_steps = num_steps
        self._marks = [now()]

    def tick(self) -> tuple[float, float]:
        """Call after each step; returns (elapsed, remaining) seconds."""
        self._marks.append(self._now())
        done = len(self._marks) - 1
        first = 1 if done > 1 else 0
        per_step = (self._marks[-1] - self._marks[first]) / (done - first)
        return self._marks[-1] - self._marks[0], per_step * max(0, self._num_steps - done)
