"""Where tensors come from: safetensors files read by byte ranges, or tensors of a pickle that may hold nothing else.

A source tells dtype and shape of every tensor from the headers alone and hands out rows as bytes, a few MiB at a time, so
that 40 GB never have to fit into memory. Knows files; not what the tensors mean.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from ...errors import InputError
from ..folder import read_json
from ..inventory import Shape, stored_tensors, weight_files

CHUNK = 16 * 2**20
REMEDY = "fetch or copy it again"
PICKLES = (".pt", ".pth", ".bin", ".ckpt")
FOLDER_STEMS = ("diffusion_pytorch_model", "pytorch_lora_weights", "adapter_model")

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {value: key for key, value in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a header says of a tensor; ``dtype`` by its safetensors name ("BF16")."""

    dtype: str
    shape: Shape


class Source(Protocol):
    """Named tensors that can be read by rows (the first axis; a tensor without axes is one row)."""

    @property
    def where(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The config.json or adapter_config.json beside the weights."""
        ...

    @property
    def tensors(self) -> Mapping[str, Stored]: ...

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """The bytes of rows ``start`` to ``stop``, in pieces."""
        ...


class SafetensorsSource:
    """One or several safetensors files as one set of tensors. Raises InputError for truncated, lying or foreign files."""

    def __init__(self, where: Path, files: Iterable[Path], config: Mapping[str, Any] | None = None) -> None:
        files = list(files)
        stored_tensors(files, REMEDY)  # validates every header, by the library's own rules
        self.where, self.config = where, config
        self.metadata: dict[str, str] = {}
        self._tensors: dict[str, Stored] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._open: tuple[Path, BinaryIO] | None = None
        for file in files:
            with file.open("rb") as handle:
                size = int.from_bytes(handle.read(8), "little")
                header = json.loads(handle.read(size))
            self.metadata.update(header.pop("__metadata__", None) or {})
            for key, entry in header.items():
                begin, end = entry["data_offsets"]
                self._tensors[key] = Stored(entry["dtype"], tuple(entry["shape"]))
                self._places[key] = (file, 8 + size + begin, end - begin)

    @property
    def tensors(self) -> Mapping[str, Stored]:
        return self._tensors

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        file, offset, size = self._places[key]
        shape = self._tensors[key].shape
        step = size // (shape[0] if shape else 1) if size else 0
        handle = self._handle(file)
        handle.seek(offset + start * step)
        left = (stop - start) * step
        while left:
            data = handle.read(min(left, CHUNK))
            if not data:
                raise InputError(f"{file} ended while {key} was read: it changed meanwhile; {REMEDY}.")
            left -= len(data)
            yield data

    def _handle(self, file: Path) -> BinaryIO:
        if self._open is None or self._open[0] != file:
            if self._open is not None:
                self._open[1].close()
            self._open = (file, file.open("rb"))
        return self._open[1]


class TensorSource:
    """Tensors that are in memory, or mapped into it, as a source."""

    def __init__(
        self,
        state: Mapping[str, torch.Tensor],
        where: Path = Path("memory"),
        metadata: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.where, self.metadata, self.config = where, metadata or {}, config
        self._state = state
        self.tensors: dict[str, Stored] = {}
        for key, value in state.items():
            if value.dtype not in NAMES:
                raise InputError(
                    f"{where} holds {key} as {value.dtype}, which safetensors cannot keep; save it again."
                )
            self.tensors[key] = Stored(NAMES[value.dtype], tuple(value.shape))

    def rows(self, key: str, start: int, stop: int) -> Iterator[memoryview]:
        value = self._state[key].detach()
        part = value[start:stop] if value.ndim else value
        yield memoryview(tensor_bytes(part))


def tensor_bytes(value: torch.Tensor) -> Any:
    """A tensor's bytes as a one-dimensional uint8 array."""
    return value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def read_tensor(source: Source, key: str) -> torch.Tensor:
    """One tensor, for what has to look at values (LoRAs). Raises InputError for a dtype that torch does not know."""
    stored = source.tensors[key]
    if stored.dtype not in DTYPES:
        raise InputError(
            f"{source.where} holds {key} as {stored.dtype}, which cannot be read here; save it again."
        )
    rows = stored.shape[0] if stored.shape else 1
    data = bytearray()
    for piece in source.rows(key, 0, rows):
        data += piece
    if not math.prod(stored.shape):
        return torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
    return torch.frombuffer(data, dtype=DTYPES[stored.dtype]).reshape(stored.shape)


def open_checkpoint(path: Path) -> Source:
    """The source of a file of weights or of a folder that diffusers or peft wrote (shards and index included).

    Pickles are opened only so far as they hold tensors; no code in them is ever run. Raises InputError that says what
    is wrong with the file and what to give instead.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise InputError(
            f"There is no file or folder {path}; give a file of weights, or a model's transformer/ or vae/ folder."
        )
    config = _config_beside(path)
    if path.suffix == ".safetensors":
        return SafetensorsSource(path, [path], config)
    if path.suffix in PICKLES:
        return TensorSource(_unpickled(path), path, config=config)
    raise InputError(
        f"{path.name} is neither a .safetensors file nor one of {', '.join(PICKLES)}; give a file of weights."
    )


def _open_folder(path: Path) -> Source:
    if (path / "model_index.json").is_file():
        parts = ", ".join(f"{path / part}" for part in ("transformer", "vae") if (path / part).is_dir())
        raise InputError(
            f"{path} is a whole model; convert its parts one by one{': ' + parts if parts else ''}."
        )
    for stem in FOLDER_STEMS:
        if any((path / f"{stem}.safetensors{end}").is_file() for end in ("", ".index.json")):
            files = weight_files(path, stem, REMEDY)
            return SafetensorsSource(path, files, _config_beside(files[0]))
    weight_files(
        path, FOLDER_STEMS[0], REMEDY
    )  # raises: names a pickle where there is one, else what is missing
    raise AssertionError("weight_files accepts a folder without weights")


def _config_beside(file: Path) -> dict[str, Any] | None:
    for name in ("config.json", "adapter_config.json"):
        if (file.parent / name).is_file():
            return read_json(file.parent / name, REMEDY)
    return None


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """Named tensors; dictionaries inside dictionaries become names with dots, as PPCL's files need."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (
        pickle.UnpicklingError,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        AttributeError,
        KeyError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is no file of plain tensors, and nothing else is opened ({reason}); {REMEDY}."
        ) from error
    found: dict[str, torch.Tensor] = {}
    _flatten(state, "", found, path)
    return found


def _flatten(value: Any, name: str, found: dict[str, torch.Tensor], path: Path) -> None:
    if isinstance(value, torch.Tensor):
        found[name] = value
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else key, found, path)
    else:
        raise InputError(f"{path} holds more than named tensors ({name or 'its top'} is a {type(value).__name__}); "
                         "save its weights alone, as safetensors.")  # fmt: skip
