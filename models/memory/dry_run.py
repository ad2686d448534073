"""How much memory a network's intermediate results take, found by running it on shapes alone (torch's meta device).

Every tensor that an operation creates is counted while it lives: what an allocator would be asked for, without
arithmetic and without memory. What is not seen are the workspaces inside an operation, and attention is taken to be
one that never holds its score matrix (flash, memory-efficient, or the CPU's own), as all of torch's backends here are.
Knows tensors; nothing of budgets or plans.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most bytes that tensors made during ``call`` hold at one time, its result included. ``call`` runs on the meta
    device without gradients; tensors that exist before do not count."""
    count = _LiveTensors()
    with torch.no_grad(), torch.device("meta"), _FusedAttention(), count:
        call()
    return count.peak


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of a plan's word for it."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def shell(model_class: Any, config: Mapping[str, Any], dtype: str) -> Any:
    """A diffusers network of shapes alone, in ``dtype`` and in evaluation mode."""
    with torch.device("meta"):
        model = model_class.from_config(dict(config))
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(
                    parameter.to(dtype_of(dtype)), requires_grad=False
                )
    return model.eval()


def adapted(model: Any) -> None:
    """Adapters beside every linear layer of ``model``: they hold nothing themselves, but their results do."""
    from peft import LoraConfig

    with torch.device("meta"):
        model.add_adapter(LoraConfig(r=1, target_modules="all-linear"), adapter_name="planned")


class _LiveTensors(TorchDispatchMode):
    """Counts storages from the operation that makes them until nothing refers to them any more."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self._now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_key(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and (key := _key(one)) not in given and key not in self._sizes:
                storage = one.untyped_storage()
                self._sizes[key] = storage.nbytes()
                self._now += storage.nbytes()
                weakref.finalize(storage, self._gone, key)
        self.peak = max(self.peak, self._now)
        return result

    def _gone(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


class _FusedAttention(TorchFunctionMode):
    """On shapes torch would take the attention apart into a score matrix that no real backend holds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query = kwargs["query"] if "query" in kwargs else args[0]
            value = kwargs["value"] if "value" in kwargs else args[2]
            if query.shape == value.shape:
                return torch.empty_like(query)
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        if func is F.multi_head_attention_forward:
            # What it calls inside is not shown to this mode again.
            real = F.scaled_dot_product_attention
            F.scaled_dot_product_attention = _output_alone
            try:
                return func(*args, **kwargs)
            finally:
                F.scaled_dot_product_attention = real
        return func(*args, **kwargs)


def _output_alone(query: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return torch.empty_like(query)


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
