"""A transformer as a GGUF file, its matrices rounded by the gguf package: for measuring, and for tests.

K types (Q4_K and the like) are made by llama.cpp's own tools; what they made is read here all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from .storage import needed

MADE = ("F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")


def write_gguf(
    file: Path, tensors: Mapping[str, torch.Tensor], kind: str, architecture: str = "qwen_image"
) -> Path:
    """Writes ``tensors`` under their own names: matrices whose rows are whole blocks in ``kind``, the rest in float32.
    Raises InputError for a type that the package cannot make."""
    if kind not in MADE:
        raise InputError(f"a GGUF file can be made here in {', '.join(MADE)}, not in {kind!r}")
    gguf: Any = needed("gguf", "writing a GGUF file")
    wanted = gguf.GGMLQuantizationType[kind]
    block = gguf.GGML_QUANT_SIZES[wanted][0]
    writer = gguf.GGUFWriter(file, architecture)
    for key, value in tensors.items():
        numbers = value.float().numpy()
        if numbers.ndim == 2 and numbers.shape[1] % block == 0:
            writer.add_tensor(key, gguf.quantize(numbers, wanted), raw_dtype=wanted)
        else:
            writer.add_tensor(key, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
