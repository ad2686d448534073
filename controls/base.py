"""The contract between the sampler and a control: where a run stands, and when a control may act.

Knows nothing of schedules, networks or pipelines. A control never counts calls: caches, guidance and
cancelled steps make such counts wrong, so everything it needs arrives in a ``StepContext``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from ..models.layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class StepContext:
    """Where a run stands. ``step`` counts from 0; ``sigma`` is the noise level now, ``sigma_next`` after the
    step.

    ``branch`` names the prediction being made ("cond", "uncond", ...); "" outside of a prediction.
    """

    step: int
    sigma: float
    sigma_next: float
    num_steps: int
    branch: str = ""


@runtime_checkable
class Control(Protocol):
    """Acts on a run from outside of the network. Tokens are float32 (B, num_noisy_tokens, C)."""

    def prepare(self, layout: Layout, tokens: torch.Tensor, conditions: Mapping[str, Any]) -> None:
        """Called once before the first step with the initial noisy tokens and the text features of each
        branch.
        """
        ...

    def before_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens to start the step from (at ``context.sigma``)."""
        ...

    def plan(self, context: StepContext) -> Any | None:
        """What attention should do for this prediction, or None for what the network does by itself."""
        ...

    def after_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens to end the step with (at ``context.sigma_next``)."""
        ...
