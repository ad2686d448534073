"""Several processes, one model: each sees its own batches, and gradients are averaged before every step.

Plain averaging instead of a wrapped module, so that compiled blocks, several tasks a step and optimisers of our own need
no special case. Whatever decides how a step is made (how far the run is, whether the alignment head goes on) is the first
process's word: clocks and measurements differ. With one process nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from ..errors import InputError


@contextmanager
def open_accelerator(device: str) -> Iterator[Accelerator]:
    """accelerate on ``device``, "cpu" or "cuda"; at the end all processes leave their group together. Raises InputError
    where there is no such device: what suits a GPU would keep a CPU busy for days."""
    accelerator = Accelerator(cpu=device == "cpu")
    if accelerator.device.type != device:
        raise InputError(
            f"--device {device}: torch finds none here, only {accelerator.device.type}; say --device cpu"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield accelerator
    accelerator.wait_for_everyone()
    accelerator.end_training()  # gloo's threads, were they still there, would abort Python on its way out


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


@torch.no_grad()
def same_weights(accelerator: Accelerator, modules: Sequence[nn.Module]) -> None:
    """Give every process the first one's parameters and buffers."""
    if accelerator.num_processes == 1:
        return
    for module in modules:
        for value in module.state_dict().values():
            value.copy_(broadcast(value.clone()))


def agreed(accelerator: Accelerator, *values: float) -> tuple[float, ...]:
    """The first process's values, in every process."""
    if accelerator.num_processes == 1:
        return values
    told = broadcast(torch.tensor(values, dtype=torch.float64, device=accelerator.device))
    return tuple(told.tolist())
