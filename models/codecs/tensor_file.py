"""Single files of named tensors, as codecs are published: safetensors, or a pickle that may hold tensors only.

Knows files and shapes; not what the tensors are for.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...errors import InputError
from ..inventory import Shape, StoredTensor, check_tensors

State = dict[str, torch.Tensor]


def read_tensors(path: Path, remedy: str, inside: str | None = None) -> State:
    """Every tensor of a file by its name, on the CPU. ``inside``: the entry of a pickle that may hold them.

    Raises InputError for a missing, broken or truncated file and for one that holds anything but tensors; no code in a
    pickle is ever run.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}; give the path of a file of weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a file of weights ({reason}); {remedy}.") from error
    if inside is not None and isinstance(state, dict) and isinstance(state.get(inside), dict):
        state = state[inside]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} holds more than named tensors; {remedy}.")
    return state


def check_state(state: State, expected: Mapping[str, Shape], path: Path, remedy: str) -> None:
    """Strict comparison by name and shape; raises InputError that names the tensor."""
    found = {key: StoredTensor(file=path, shape=tuple(value.shape)) for key, value in state.items()}
    check_tensors(expected, found, path, remedy)


def fill(module: torch.nn.Module, state: State, device: torch.device | str, dtype: torch.dtype) -> None:
    """Gives a module (on the meta device) these tensors; it is frozen and in evaluation mode afterwards."""
    # Copies: tensors lie unaligned in a mapped file, and kernels on CPUs may sum in another order for that.
    cast = {key: value.to(device, dtype, copy=True) for key, value in state.items()}
    module.load_state_dict(cast, strict=True, assign=True)
    module.eval().requires_grad_(False)
