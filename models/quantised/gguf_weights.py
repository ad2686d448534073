"""The weights of a transformer from a GGUF file: what a network of a class and a config takes from it, and what that weighs.

A file holds the transformer alone; the model's folder gives its config.json and every other part. Knows networks and
keys in diffusers' layout; the file's own names are brought into it by the conversion tables.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..conversion.convert import convert_checkpoint, describe_checkpoint
from ..conversion.plan import Rows
from ..conversion.source import DTYPES
from ..family import FLUX, Family
from ..inventory import StoredTensor, check_tensors
from ..parts import component_class
from .gguf_file import REMEDY, GGUFFile
from .storage import GGUFBlocks, Storage, Tensors


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Numbers and bytes of what a file keeps in few bits, for one weight."""

    numbers: int
    nbytes: int


class GGUFWeights:
    """A source of a transformer's weights. ``held``: how the linear layers are kept whose weights are in few bits.

    Raises InputError for a file of another family, for tensors that are missing, too many or of another shape than
    ``config`` asks for, and for what :class:`GGUFFile` refuses.
    """

    def __init__(self, path: Path, family: Family, config: Mapping[str, Any]) -> None:
        self._file = GGUFFile(path)
        found = describe_checkpoint(self._file)
        wanted = "flux" if family is FLUX else "qwen"
        if found.family != wanted:
            raise InputError(
                f"{path} is {found.words}, but the model needs the transformer of a {family.transformer}: give the file of "
                "that model, or the model of that file."
            )
        self._targets = {one.key: one for one in convert_checkpoint(self._file, "diffusers").targets}
        with torch.device("meta"):
            network = component_class(family.transformer).from_config(dict(config))
        expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        stored = {key: StoredTensor(file=path, shape=one.shape) for key, one in self._targets.items()}
        check_tensors(expected, stored, path, REMEDY)
        linears = {path for path, one in network.named_modules() if isinstance(one, nn.Linear)}
        self.held: dict[str, Storage] = {
            key.removesuffix(".weight"): GGUFBlocks(one.dtype)
            for key, one in self._targets.items()
            if key.endswith(".weight") and key.removesuffix(".weight") in linears and self._in_blocks(key)
        }

    def kept(self) -> dict[str, Kept]:
        """What every weight in few bits takes, by its key."""
        return {
            f"{path}.weight": Kept(
                numbers=math.prod(self._targets[f"{path}.weight"].shape),
                nbytes=self._nbytes(f"{path}.weight"),
            )
            for path in self.held
        }

    def tensors(self, keys: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor of ``keys``: those of ``held`` as uint8 rows, the others as numbers."""
        for key in keys:
            if key in self._targets:
                is_held = key.endswith(".weight") and key.removesuffix(".weight") in self.held
                yield key, self._bytes(key) if is_held else self._numbers(key)

    def weights(self) -> GGUFWeights:
        return self

    def take(self, path: str, module: nn.Module) -> None:
        """The file keeps the parameters of ``module``."""
        module.to("meta")

    def read(self, path: str, module: nn.Module, device: torch.device, dtype: torch.dtype) -> Tensors:
        """Its parameters as numbers, on ``device`` in ``dtype``."""
        names = module.state_dict()
        return {name: self._numbers(f"{path}.{name}").to(device, dtype, copy=True) for name in names}

    def _in_blocks(self, key: str) -> bool:
        return self._targets[key].dtype not in DTYPES

    def _parts(self, key: str) -> Iterator[Rows]:
        for part in self._targets[key].parts:
            assert isinstance(part, Rows)  # only LoRAs have tensors that are computed
            yield part

    def _nbytes(self, key: str) -> int:
        return sum((part.stop - part.start) * self._file.row_bytes(part.key) for part in self._parts(key))

    def _bytes(self, key: str) -> torch.Tensor:
        target = self._targets[key]
        pieces = (self._file.rows(part.key, part.start, part.stop) for part in self._parts(key))
        data = bytearray().join(piece for some in pieces for piece in some)
        return torch.frombuffer(data, dtype=torch.uint8).reshape(target.shape[0] if target.shape else 1, -1)

    def _numbers(self, key: str) -> torch.Tensor:
        target, data = self._targets[key], self._bytes(key)
        if not self._in_blocks(key):
            return data.reshape(-1).view(DTYPES[target.dtype]).reshape(target.shape)
        rows, columns = target.shape[0], math.prod(target.shape[1:])
        shape = (rows, columns) if len(target.shape) > 1 else (1, rows)
        return GGUFBlocks(target.dtype).weight({"blocks": data}, shape, torch.float32).reshape(target.shape)
