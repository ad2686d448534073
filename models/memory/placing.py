"""Putting weights into modules, taking them out again, and letting blocks wait elsewhere between two calls.

Values are what the files hold, cast as diffusers' own loading casts them. Knows modules, files and devices; not plans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import nn

from ...errors import InputError
from ..inventory import weight_files
from ..modulation import FolderWeights, Weights
from ..modulation.weights import STEM
from ..quantised import HeldLinear, Storage
from ..quantised.linear import held_linears

_OFFLOADING = (
    "lazy_prefetch_group_offloading",
    "layer_execution_tracker",
    "group_offloading",
)  # diffusers' names


BLOCK_LISTS = ("transformer_blocks", "single_transformer_blocks")
ADAPTER = ".lora_"


def assign(module: nn.Module, key: str, value: torch.Tensor) -> None:
    """Puts a tensor in the place of the parameter ``key`` below ``module``."""
    owner, _, name = key.rpartition(".")
    module.get_submodule(owner)._parameters[name] = nn.Parameter(value, requires_grad=False)


def empty(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Frees every parameter of ``module``; names, shapes and dtypes stay (``dtype``: another one). Adapters, which no file
    of the model holds, stay."""
    for path, owner in module.named_modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None and not is_adapter(path):
                bare = torch.empty_like(parameter, device="meta", dtype=dtype or parameter.dtype)
                owner._parameters[name] = nn.Parameter(bare, requires_grad=False)
        if isinstance(owner, HeldLinear):
            owner.empty()


def is_adapter(key: str) -> bool:
    """Whether a tensor belongs to a LoRA that lies over the model."""
    return ADAPTER in key


def stored_key(key: str) -> str:
    """What the model's own files call a tensor over which an adapter may lie."""
    return key.replace(".base_layer.", ".")


@contextmanager
def stand_ins(module: nn.Module, device: torch.device) -> Iterator[None]:
    """While open, empty parameters of ``module`` are tensors on ``device`` that take one number of memory each: peft lays
    adapters to where the layers under them are."""
    bare = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner._parameters.items()
        if parameter is not None and parameter.is_meta
    ]
    for owner, name, parameter in bare:
        one = torch.zeros((), device=device, dtype=parameter.dtype).expand(parameter.shape)
        owner._parameters[name] = nn.Parameter(one, requires_grad=False)
    try:
        yield
    finally:
        for owner, name, parameter in bare:
            owner._parameters[name] = parameter


def blocks_of(transformer: Any) -> list[tuple[str, nn.Module]]:
    """A transformer's blocks by their names, in the order in which they run."""
    return [
        (f"{name}.{number}", block)
        for name in BLOCK_LISTS
        for number, block in enumerate(getattr(transformer, name, ()))
    ]


class Source(Protocol):
    """Where a transformer's weights come from. ``held``: linear layers whose weights are in few bits there already, by
    their names, and how; ``tensors`` gives those as they are stored."""

    @property
    def held(self) -> Mapping[str, Storage]: ...

    def tensors(self, keys: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor of ``keys`` by its key, in any order and dtype."""
        ...

    def weights(self) -> Weights:
        """The same, module by module, for what is read again and again."""
        ...


class FolderSource:
    """The safetensors files of a transformer's folder."""

    held: Mapping[str, Storage] = MappingProxyType({})

    def __init__(self, folder: Path, remedy: str) -> None:
        self._folder = folder
        self._remedy = remedy

    def tensors(self, keys: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for file in weight_files(self._folder, STEM, self._remedy):
            with safe_open(file, framework="pt") as handle:
                for key in handle.keys():  # noqa: SIM118 - not a dict
                    if key in keys:
                        yield key, handle.get_tensor(key)

    def weights(self) -> Weights:
        return FolderWeights(self._folder, self._remedy)


def fill(
    module: nn.Module, source: Source, devices: dict[str, torch.device], computing: torch.device
) -> None:
    """Gets the parameters, and the weights of held layers, named in ``devices``, each to its device and to the dtype that
    the empty one has. ``computing``: where they are computed with; held weights are rounded there, and what waits on the
    CPU for an accelerator lies in memory that it can fetch from directly. Raises InputError for parameters that the source
    does not have."""
    pinned, held = computing.type == "cuda", held_linears(module)
    dtypes = {key: parameter.dtype for key, parameter in module.named_parameters()}
    wanted: dict[str, str] = {}
    for key, home in devices.items():
        parameter = module.get_parameter(key) if key in dtypes else None
        if parameter is not None and is_adapter(key) and not parameter.is_meta:
            parameter.data = parameter.data.to(home)
        else:
            wanted[stored_key(key)] = key
    missing = set(wanted)
    for stored, tensor in source.tensors(wanted.keys()):
        key = wanted[stored]
        missing.discard(stored)
        linear = held.get(key.removesuffix(".weight"))
        if linear is not None and key.endswith(".weight"):
            linear.hold(tensor.to(computing), devices[key], pinned=pinned)
            continue
        # A copy also where nothing is cast: what is mapped from a file is not aligned and stays the file's.
        value = tensor.to(devices[key], dtypes[key], copy=True)
        assign(module, key, value.pin_memory() if pinned and value.device.type == "cpu" else value)
    if missing:
        raise InputError(
            f"The transformer has {min(missing)}, which its files have not: lay adapters (LoRA) over a model that a memory "
            "plan loads phase by phase with loras=, leave memory out, or merge the adapter into the model's files."
        )


def spread(count: int, chosen: int) -> frozenset[int]:
    """``chosen`` of ``count`` numbers, as evenly as they go, so that what is fetched between them has time to arrive."""
    return frozenset((2 * number + 1) * count // (2 * chosen) for number in range(chosen))


def wait_on_host(transformer: Any, blocks: Collection[str], device: torch.device) -> None:
    """``blocks`` of the transformer, by their names, lie in the machine's memory between calls and are fetched one ahead of
    their turn by diffusers' group offloading; so is what belongs to no block. The other blocks stay on the device."""
    every = {name: getattr(transformer, name) for name in BLOCK_LISTS if hasattr(transformer, name)}
    for name, row in every.items():
        waiting = (block for number, block in enumerate(row) if f"{name}.{number}" in blocks)
        setattr(transformer, name, nn.ModuleList(waiting))
    try:
        # It walks over the blocks it sees and never asks again, so those that stay are simply not shown to it.
        transformer.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
        )
    finally:
        for name, row in every.items():
            setattr(transformer, name, row)


def layers_wait_on_host(module: nn.Module, device: torch.device) -> None:
    """Every layer of ``module`` lies in the machine's memory between calls."""
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )


def stop_waiting(module: nn.Module) -> None:
    """Undoes :func:`wait_on_host` and :func:`layers_wait_on_host`; the parameters are where they were last."""
    from diffusers.hooks import HookRegistry

    for part in module.modules():
        if hasattr(part, "_diffusers_hook"):
            registry = HookRegistry.check_if_exists_or_initialize(part)
            for name in _OFFLOADING:
                registry.remove_hook(name, recurse=False)


def computing_device(module: Any) -> torch.device:
    """Where a module computes, which is not where its parameters are while they wait. What is no module says it itself."""
    for part in module.modules() if isinstance(module, nn.Module) else ():
        registry = getattr(part, "_diffusers_hook", None)
        hook = None if registry is None else registry.get_hook("group_offloading")
        if hook is not None:
            return torch.device(hook.config.onload_device)
    return module.device


class FileStream:
    """Blocks that are read from where the model lies for every call and freed after it, also when it fails."""

    def __init__(
        self, transformer: Any, blocks: Collection[str], weights: Weights, device: torch.device
    ) -> None:
        self._weights = weights
        self._device = device
        self._handles = []
        for path, block in blocks_of(transformer):
            if path not in blocks:
                continue
            empty(block)
            self._handles.append(block.register_forward_pre_hook(self._reading(path)))
            self._handles.append(block.register_forward_hook(_freed, always_call=True))

    def remove(self) -> None:
        """The blocks are ordinary, empty modules again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _reading(self, path: str) -> Any:
        def read(block: nn.Module, args: object) -> None:
            own = {key: value for key, value in block.state_dict().items() if not is_adapter(f".{key}")}
            dtype = next(iter(own.values())).dtype
            names = {stored_key(f".{key}")[1:]: key for key in own}
            stored: Any = _Named({name: own[key] for name, key in names.items()})
            for name, value in self._weights.read(path, stored, self._device, dtype).items():
                assign(block, names[name], value)

        return read


class _Named:
    """A block as its files know it, without the adapters over it."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self._state = state

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._state


def _freed(block: nn.Module, args: object, output: object) -> None:
    empty(block)
