"""A LoRA that the user lays over a model: a file and how strongly it counts.

Knows files and their headers; how it is laid over a transformer is ``pipelines.lora``'s.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..errors import InputError
from .inventory import stored_tensors

PUBLISHED = "pytorch_lora_weights.safetensors"
MAX_SCALE = 10.0


@dataclass(frozen=True, kw_only=True)
class Lora:
    """``path``: a .safetensors file. ``scale``: 1 as it was trained, 0 not at all. Raises InputError for other files and for
    scales beyond 10."""

    path: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.path.suffix != ".safetensors" and self.path.is_file():
            raise InputError(
                f"{self.path} is no .safetensors file; a LoRA in another format may run code and is never opened: "
                "convert it."
            )
        if not self.path.is_file():
            raise InputError(
                f"There is no LoRA {self.path}; give the path of a .safetensors file, or FILE:SCALE."
            )
        if not math.isfinite(self.scale) or abs(self.scale) > MAX_SCALE:
            raise InputError(
                f"The scale of a LoRA must lie between {-MAX_SCALE:g} and {MAX_SCALE:g}; {self.path} got {self.scale:g}."
            )
        keys = stored_tensors([self.path], "copy the LoRA again")
        if not any("lora" in key.lower() for key in keys):
            raise InputError(f"{self.path} is no LoRA: none of its {len(keys)} tensors is named like one.")


LoraLike: TypeAlias = str | os.PathLike[str] | tuple[str | os.PathLike[str], float] | Lora


def read_loras(given: Iterable[LoraLike] | LoraLike) -> tuple[Lora, ...]:
    """LoRAs however they were given: a path, "FILE:SCALE", (path, scale); one or many. A folder stands for its
    pytorch_lora_weights.safetensors. Raises InputError for what is none."""
    single = isinstance(given, str | os.PathLike | Lora) or (
        isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], int | float)
    )
    many = [given] if single else given
    return tuple(_read(one) for one in many)  # type: ignore[union-attr,arg-type]


def _read(given: LoraLike) -> Lora:
    if isinstance(given, Lora):
        return given
    if isinstance(given, tuple):
        return Lora(path=_file(given[0]), scale=float(given[1]))
    text = os.fspath(given)
    file, colon, scale = text.rpartition(":")
    if Path(text).expanduser().exists() or not colon:
        return Lora(path=_file(text))
    try:
        number = float(scale)
    except ValueError as error:
        raise InputError(
            f"A LoRA is written FILE or FILE:SCALE, such as style.safetensors:0.8, not {text!r}."
        ) from error
    return Lora(path=_file(file), scale=number)


def _file(path: str | os.PathLike[str]) -> Path:
    found = Path(path).expanduser()
    return found / PUBLISHED if found.is_dir() else found
