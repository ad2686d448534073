"""A GGUF file of a transformer as a source of tensors: names, types and shapes from its header, rows as bytes.

The same kind of source as safetensors files are, so the conversion tables bring its names into diffusers' layout. The
``gguf`` package reads the header; a file is untrusted, and what it cannot read is refused with the file's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..conversion.source import CHUNK, Stored
from .storage import needed

REMEDY = "fetch or copy the file again"
MAGIC = b"GGUF"
_PLAIN = {"F64": "F64", "F32": "F32", "F16": "F16", "BF16": "BF16", "I64": "I64", "I32": "I32"}


class GGUFFile:
    """Raises InputError for a file that is no GGUF file, that ends early, or with types that cannot be computed with."""

    config: Mapping[str, Any] | None = None

    def __init__(self, where: Path) -> None:
        self.where = where
        self.metadata: dict[str, str] = {}
        if not where.is_file():
            raise InputError(f"There is no file {where}; give a transformer as a .gguf file.")
        with where.open("rb") as handle:
            if handle.read(4) != MAGIC:
                raise InputError(
                    f"{where} is no GGUF file: it does not begin with {MAGIC.decode()}; {REMEDY}."
                )
        gguf = needed("gguf", f"reading {where.name}")
        try:
            reader = gguf.GGUFReader(where)
        except (
            ValueError,
            IndexError,
            KeyError,
            OverflowError,
            OSError,
            MemoryError,
            RecursionError,
        ) as error:
            raise InputError(f"{where} is no complete GGUF file ({error}); {REMEDY}.") from error
        self.tensors: dict[str, Stored] = {}
        self._rows: dict[str, np.ndarray] = {}
        for tensor in reader.tensors:
            self._take(tensor)

    def row_bytes(self, key: str) -> int:
        """Bytes of one row of a tensor."""
        return int(self._rows[key].shape[1])

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of rows ``start`` to ``stop``, a few MiB at a time."""
        data = self._rows[key][start:stop]
        step = max(1, CHUNK // max(1, data.shape[1]))
        for first in range(0, len(data), step):
            yield data[first : first + step].tobytes()

    def _take(self, tensor: Any) -> None:
        kind = str(tensor.tensor_type.name)
        if kind not in _PLAIN and kind not in computable():
            raise InputError(
                f"{self.where} holds {tensor.name} as {kind}, which cannot be computed with here; take a file of one of "
                f"{', '.join(computable())}."
            )
        shape = tuple(int(side) for side in reversed(tensor.shape))
        data = np.asarray(tensor.data).reshape(-1).view(np.uint8)
        rows = shape[0] if shape else 1
        if rows < 1 or data.size % rows or not math.prod(shape):
            raise InputError(f"{self.where} holds {tensor.name} with a shape of {shape}; {REMEDY}.")
        self.tensors[tensor.name] = Stored(_PLAIN.get(kind, kind), shape)
        self._rows[tensor.name] = data.reshape(rows, -1)


def computable() -> tuple[str, ...]:
    """The quantised types that diffusers can compute with, by their names in llama.cpp."""
    from importlib import import_module

    needed("gguf", "a GGUF file")
    theirs: Any = import_module("diffusers.quantizers.gguf.utils")
    return tuple(kind.name for kind in theirs.dequantize_functions if kind.name not in _PLAIN)
