"""Starting from layers that exist: how strongly to change them, and where.

``strength`` s enters the flow late: x = (1 - sigma) x0 + sigma eps at the first sigma of the last share s
of the steps. A mask holds everything outside of it to the given layers on that same path. Knows tokens and
masks; no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..controls.base import StepContext
from ..errors import InputError
from ..models.layout import Layout


class KeepOutside:
    """A control that keeps the tokens outside a mask on the straight path between the given tokens and the
    noise.

    ``given``, ``noise``: float32 (B, num_noisy_tokens, C). ``change``: (B or 1, num_noisy_tokens, 1) in [0,
    1], 1 = free.
    """

    def __init__(self, given: torch.Tensor, noise: torch.Tensor, change: torch.Tensor) -> None:
        self.given = given
        self.noise = noise
        self.change = change

    def prepare(self, layout: Layout, tokens: torch.Tensor, conditions: Mapping[str, Any]) -> None:
        """Nothing to prepare: the tokens were given."""

    def before_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        return tokens

    def plan(self, context: StepContext) -> None:
        return None

    def after_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        held = mix(self.given, self.noise, context.sigma_next)
        return torch.lerp(held, tokens, self.change)


def mix(given: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """(1 - sigma) given + sigma noise."""
    return (1.0 - sigma) * given + sigma * noise


def token_mask(mask: np.ndarray, height: int, width: int) -> torch.Tensor:
    """(height * width,) float32 over the token grid from an image mask (H, W) in [0, 1]: 1 where any pixel
    is to change.

    The mask may have any size; it is stretched over the grid.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise InputError(f"A mask must be one picture of height x width; got shape {tuple(mask.shape)}.")
    plane = torch.from_numpy((mask > 0.5).astype(np.float32))[None, None]
    return torch.nn.functional.adaptive_max_pool2d(plane, (height, width)).reshape(-1)
