"""Where weights are while they are put away, and how they are read again: the host's memory, or the model's own files.

Knows modules by name and their tensors; not what they are for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from torch import nn

from ...errors import InputError
from ..inventory import check_tensors, stored_tensors, weight_files

STEM = "diffusion_pytorch_model"
Tensors = dict[str, torch.Tensor]


class Weights(Protocol):
    """Keeps the parameters of modules that left the network."""

    def take(self, path: str, module: nn.Module) -> None:
        """From now on ``module``, called ``path`` below the transformer, holds no memory where the network computes."""
        ...

    def read(self, path: str, module: nn.Module, device: torch.device, dtype: torch.dtype) -> Tensors:
        """Its parameters by their names inside the module, on ``device`` in ``dtype``."""
        ...


class HostWeights:
    """Keeps them in the host's memory: nothing is read from disk, and nothing is saved when the network runs there."""

    def take(self, path: str, module: nn.Module) -> None:
        if any(parameter.is_meta for parameter in module.parameters()):
            raise InputError(
                f"{path} is not in memory; turn the modulation table on before offloading, or name the model's folder."
            )
        module.to("cpu")

    def read(self, path: str, module: nn.Module, device: torch.device, dtype: torch.dtype) -> Tensors:
        return {name: value.to(device, dtype) for name, value in module.state_dict().items()}


class FolderWeights:
    """Leaves them in the safetensors files of the transformer's folder and reads them again when they are needed.

    Raises InputError when the folder lacks a tensor or holds others than the module in memory. ``remedy`` ends the
    sentences about broken files.
    """

    def __init__(self, folder: Path, remedy: str = "copy the whole model folder again") -> None:
        self._folder = folder
        self._remedy = remedy
        self._found = stored_tensors(weight_files(folder, STEM, remedy), remedy)

    def take(self, path: str, module: nn.Module) -> None:
        expected = {f"{path}.{name}": tuple(value.shape) for name, value in module.state_dict().items()}
        own = {key: value for key, value in self._found.items() if key.startswith(f"{path}.")}
        check_tensors(expected, own, self._folder, self._remedy)
        held = {name: value for name, value in module.state_dict().items() if not value.is_meta}
        for name, stored in self._read(path, held).items():
            if not torch.equal(stored.to(held[name].device, held[name].dtype), held[name]):
                raise InputError(
                    f"{self._folder} holds other values of {path}.{name} than the model in memory; name the folder that "
                    "the model was loaded from, and turn the modulation table on before anything changes its weights."
                )
        module.to("meta")

    def read(self, path: str, module: nn.Module, device: torch.device, dtype: torch.dtype) -> Tensors:
        # A copy also where nothing is cast: tensors mapped from a file are not aligned, which moves the last bit of sums.
        tensors = self._read(path, module.state_dict())
        return {name: value.to(device, dtype, copy=True) for name, value in tensors.items()}

    def _read(self, path: str, names: Tensors) -> Tensors:
        tensors: Tensors = {}
        for name in names:
            key = f"{path}.{name}"
            with safe_open(self._found[key].file, framework="pt") as handle:
                tensors[name] = handle.get_tensor(key)
        return tensors
