"""A linear layer whose weight is kept in few bits and is whole only while the layer computes.

Its weight is no parameter, so what moves, counts or trains parameters leaves it alone; what is kept are buffers, which
offloading moves like any other. Knows one layer and how to put it in the place of nn.Linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .storage import Storage


class HeldLinear(nn.Module):
    """``linear`` with its weight held by ``storage``. Empty until :meth:`hold`; the bias stays an ordinary parameter."""

    bias: nn.Parameter | None

    def __init__(self, linear: nn.Linear, storage: Storage) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.storage = storage
        self.register_parameter("bias", linear.bias)
        for name in storage.tensors:
            self.register_buffer(name, None, persistent=False)

    def hold(self, weight: torch.Tensor, home: torch.device | None = None, *, pinned: bool = False) -> None:
        """Keeps a weight (out, in), or a GGUF file's rows, rounded where it is and kept at ``home`` from now on. ``pinned``:
        on the CPU, an accelerator can fetch it from there directly."""
        for name, value in self.storage.pack(weight).items():
            kept = value.to(home or value.device, copy=True)
            setattr(self, name, kept.pin_memory() if pinned and kept.device.type == "cpu" else kept)

    def empty(self) -> None:
        """Lets go of what it holds."""
        for name in self.storage.tensors:
            setattr(self, name, None)

    def weight_as(self, dtype: torch.dtype) -> torch.Tensor:
        """The weight (out, in), as it computes with it."""
        kept = {name: getattr(self, name) for name in self.storage.tensors}
        return self.storage.weight(kept, (self.out_features, self.in_features), dtype)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(tokens, self.weight_as(tokens.dtype), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {type(self.storage).__name__}"


def hold(network: nn.Module, storages: Mapping[str, Storage]) -> None:
    """Puts an empty :class:`HeldLinear` in the place of every layer of ``storages``, by their names below ``network``."""
    for path, storage in storages.items():
        network.set_submodule(path, HeldLinear(network.get_submodule(path), storage))


def held_linears(network: nn.Module) -> dict[str, HeldLinear]:
    """Every such layer by its name, which its weight's key begins with."""
    return {path: one for path, one in network.named_modules() if isinstance(one, HeldLinear)}


def linears_of_blocks(transformer: Any) -> list[str]:
    """The linear layers of a transformer's blocks, without modulation: what is kept in few bits. Norms, embeddings and
    modulation are small or, as a table, gone, and every token depends on them."""
    from ..modulation.sites import modulation_sites

    apart = {site.linear for site in modulation_sites(transformer).sites}
    return [
        path
        for path, one in transformer.named_modules()
        if isinstance(one, nn.Linear) and "transformer_blocks." in path and path not in apart
    ]
