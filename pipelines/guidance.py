"""Classifier-free guidance on velocities: when it is on and how two predictions become one.

Pure tensor arithmetic; knows nothing of prompts, networks or schedules.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import InputError

IDLE_NEGATIVE = "The negative prompt has no effect: guidance is off (true_cfg_scale 1)."
"""What pipelines warn of."""


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How strongly the prompt is followed.

    ``scale``: 1 is the plain model and skips the unconditional branch entirely. ``renormalise``: give every
    token the length it has in the conditional prediction (Qwen-Image's ``cfg_normalize``). ``interval``:
    guidance acts only while low <= sigma <= high. ``batched``: run both branches in one call of the network;
    the result is the same.
    """

    scale: float = 1.0
    renormalise: bool = True
    interval: tuple[float, float] = (0.0, 1.0)
    batched: bool = False

    def __post_init__(self) -> None:
        if not 1.0 <= self.scale <= 100.0:
            raise InputError(f"Guidance must lie between 1 (off) and 100; got {self.scale}.")
        low, high = self.interval
        if not 0.0 <= low <= high <= 1.0:
            raise InputError(
                f"The guidance interval must satisfy 0 <= low <= high <= 1 in sigma; got {self.interval}."
            )

    @property
    def enabled(self) -> bool:
        return self.scale > 1.0

    def active(self, sigma: float) -> bool:
        """Whether the unconditional branch is needed at this noise level."""
        return self.enabled and self.interval[0] <= sigma <= self.interval[1]

    def combine(self, cond: torch.Tensor, uncond: torch.Tensor) -> torch.Tensor:
        """uncond + scale (cond - uncond), renormalised per token when asked. Shapes (B, S, C), any float
        dtype.
        """
        combined = uncond + self.scale * (cond - uncond)
        return renormalise(combined, cond) if self.renormalise else combined


def renormalise(combined: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    """combined * ||cond|| / ||combined|| over the last axis; a zero token stays zero."""
    cond_norm = torch.linalg.vector_norm(cond, dim=-1, keepdim=True)
    combined_norm = torch.linalg.vector_norm(combined, dim=-1, keepdim=True)
    smallest = torch.finfo(combined.dtype).tiny
    return combined * (cond_norm / combined_norm.clamp_min(smallest))
