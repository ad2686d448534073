"""Several processes, one model: each sees its own batches, and gradients are averaged before every step.

Plain averaging instead of a wrapped module, so that compiled blocks, several tasks a step and optimisers of our own need
no special case. With one process it does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor


@torch.no_grad()
def average_gradients(accelerator: Accelerator, parameters: Iterable[Tensor]) -> None:
    """Replace every parameter's gradient by its mean over the processes; a missing one counts as zero."""
    if accelerator.num_processes == 1:
        return
    parameters = list(parameters)
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    mean = accelerator.reduce(flat, reduction="mean")
    for p, part in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)
