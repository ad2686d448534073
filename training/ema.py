"""Exponential moving average of weights with a warm-up, kept in fp32."""

from __future__ import annotations

import torch
from torch import nn


class EMA:
    """``shadow <- d shadow + (1 - d) weight`` with d = min(decay, (1 + k) / (10 + k)) at step k."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present weights."""
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        state = module.state_dict()
        floats = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.shadow[k] for k in floats], [state[k] for k in floats], 1 - d)

    def state_dict(self) -> dict[str, object]:
        return {"shadow": self.shadow, "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state; the decay stays the one this was made with."""
        self.shadow, self.steps = state["shadow"], state["steps"]
