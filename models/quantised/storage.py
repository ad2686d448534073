"""The ways to keep the weight of a linear layer in few bits, one class each.

    nf4     4 bits a number: blocks of 64 share a scale, whose scales are in 8 bits (QLoRA, arXiv 2305.14314, section 3)
    int8    8 bits a number: a row shares a scale
    GGUF    what a file of llama.cpp's format holds, 2 to 8 bits; kept as it is, never made here

Rounding and its inverse are those of bitsandbytes and diffusers. Knows tensors; not layers, files or plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

import torch

from ...errors import InputError

Tensors = dict[str, torch.Tensor]


class Storage(Protocol):
    """One way. ``tensors``: the names of what is kept for a weight."""

    @property
    def tensors(self) -> tuple[str, ...]: ...

    def pack(self, weight: torch.Tensor) -> Tensors:
        """What is kept of a weight (rows, columns), on its device."""
        ...

    def weight(self, kept: Tensors, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        """The weight again, as nearly as it was kept."""
        ...


class NF4:
    """bitsandbytes' NF4 with scales that are quantised too; columns need be no multiple of anything."""

    tensors: tuple[str, ...] = ("codes", "scales", "scales_of_scales", "mean_scale")
    _BLOCK, _SCALES = 64, 256

    def pack(self, weight: torch.Tensor) -> Tensors:
        functional: Any = needed("bitsandbytes.functional", "nf4")
        codes, state = functional.quantize_4bit(
            weight.reshape(self._rows(tuple(weight.shape))),
            blocksize=self._BLOCK,
            quant_type="nf4",
            compress_statistics=True,
        )
        return {
            "codes": codes,
            "scales": state.absmax,
            "scales_of_scales": state.state2.absmax,
            "mean_scale": state.offset,
        }

    def weight(self, kept: Tensors, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        functional: Any = needed("bitsandbytes.functional", "nf4")
        device = kept["codes"].device
        outer = functional.QuantState(
            absmax=kept["scales_of_scales"],
            code=functional.create_dynamic_map().to(device),
            blocksize=self._SCALES,
            dtype=torch.float32,
        )
        state = functional.QuantState(
            absmax=kept["scales"],
            shape=torch.Size(self._rows(shape)),
            code=functional.get_4bit_type("nf4", device=device),
            blocksize=self._BLOCK,
            quant_type="nf4",
            dtype=dtype,
            offset=kept["mean_scale"],
            state2=outer,
        )
        found: torch.Tensor = functional.dequantize_4bit(kept["codes"], state)
        return found.reshape(shape)

    def _rows(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """bitsandbytes 0.50 reads blocks that span rows wrongly on CPUs with AVX-512: such a weight is one row to it."""
        rows, columns = shape
        return (rows, columns) if columns % self._BLOCK == 0 else (1, rows * columns)


class Int8:
    """bitsandbytes' int8 rows, symmetric, a scale per row (LLM.int8(), arXiv 2208.07339, without its outliers)."""

    tensors: tuple[str, ...] = ("codes", "scales")

    def pack(self, weight: torch.Tensor) -> Tensors:
        functional: Any = needed("bitsandbytes.functional", "int8")
        # Its kernel reads float16 alone; eight bits are far coarser.
        codes, scales, _ = functional.int8_vectorwise_quant(weight.to(torch.float16).contiguous())
        return {"codes": codes, "scales": scales}

    def weight(self, kept: Tensors, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        functional: Any = needed("bitsandbytes.functional", "int8")
        found: torch.Tensor = functional.int8_vectorwise_dequant(kept["codes"], kept["scales"])
        return found.to(dtype)


@dataclass(frozen=True)
class GGUFBlocks:
    """Rows of a GGUF file in one of its types ("Q4_K"), uint8 (rows, bytes of a row), kept as they are."""

    kind: str
    tensors: ClassVar[tuple[str, ...]] = ("blocks",)

    def pack(self, weight: torch.Tensor) -> Tensors:
        if weight.dtype != torch.uint8:
            raise TypeError(
                f"GGUF weights are kept as the file has them, in uint8 rows, not as {weight.dtype}"
            )
        return {"blocks": weight}

    def weight(self, kept: Tensors, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        gguf: Any = needed("gguf", "a GGUF file")
        theirs: Any = import_module("diffusers.quantizers.gguf.utils")
        kind = gguf.GGMLQuantizationType[self.kind]
        size, stored = gguf.GGML_QUANT_SIZES[kind]
        blocks = kept["blocks"].reshape(-1, stored)
        found: torch.Tensor = theirs.dequantize_functions[kind](blocks, size, stored)
        return found.reshape(shape).to(dtype)


_MADE: dict[str, type[NF4 | Int8]] = {"int8": Int8, "nf4": NF4}
_PACKAGES = dict.fromkeys(_MADE, "bitsandbytes")
STORED = ("float8", *_MADE)
"""What ``--quantise`` takes. float8 is diffusers' layerwise casting, which needs none of this room."""


def storage_named(name: str) -> Storage:
    """ "nf4" or "int8". Raises InputError where its library is not installed."""
    needed(_PACKAGES[name], name)
    return _MADE[name]()


def installed(name: str) -> bool:
    """Whether what is kept as ``name`` can be made here: its library is installed."""
    return name not in _PACKAGES or find_spec(_PACKAGES[name]) is not None


def check_installed(name: str) -> None:
    """Raises InputError, with the command that installs it, where the library for ``name`` is missing."""
    if name in _PACKAGES:
        needed(_PACKAGES[name], name)


def needed(module: str, what: str) -> Any:
    """A module of an optional library. Raises InputError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"{what} needs {package}, which is not installed here ({error}): pip install 'acetate[quant]'"
        ) from error
