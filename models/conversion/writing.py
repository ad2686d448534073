"""Writes a plan as safetensors: a header of names, then the rows of every tensor as they come from the source.

One file, or a folder in diffusers' layout with shards and index; either appears whole under its name or not at all. Knows
the file format; not what is in it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ...errors import InputError
from ...layers.io.atomic import atomic_write, output_error, sync_folder
from ..inventory import Shape
from .plan import Rows, Target
from .source import Source, tensor_bytes

STEM = "diffusion_pytorch_model"
OnTensor = Callable[[int, int], None]
"""Called with (bytes written, bytes in all)."""


def byte_size(target: Target) -> int:
    """How many bytes a tensor takes, from its dtype's name ("BF16": 16 bits) and shape."""
    if target.dtype == "BOOL":
        bits = 8
    else:
        digits = target.dtype.split("_")[0].lstrip("BFIUC")
        bits = int(digits)
    count = bits
    for length in target.shape:
        count *= length
    return count // 8


def write_file(
    targets: Sequence[Target],
    source: Source,
    path: Path,
    metadata: Mapping[str, str],
    *,
    replace: bool = False,
    on_bytes: OnTensor | None = None,
) -> None:
    """Writes ``path`` atomically. Raises InputError where it exists already and ``replace`` is not set; OutputError."""
    refuse_existing(path, replace)
    refuse_self(path, source)
    with atomic_write(path) as file:
        _fill(file, targets, source, metadata, on_bytes, 0, sum(map(byte_size, targets)))


def write_folder(
    targets: Sequence[Target],
    source: Source,
    folder: Path,
    metadata: Mapping[str, str],
    config: Mapping[str, Any] | None,
    *,
    shard_bytes: int,
    on_bytes: OnTensor | None = None,
) -> None:
    """Writes a folder as diffusers does: config.json where there is one, and one file or shards of at most
    ``shard_bytes`` with their index. Raises InputError where ``folder`` exists; OutputError."""
    shards: list[list[Target]] = [[]]
    held = 0
    for target in targets:
        size = byte_size(target)
        if shards[-1] and held + size > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(target)
        held += size
    total, done = sum(map(byte_size, targets)), 0
    names = [f"{STEM}.safetensors"]
    if len(shards) > 1:
        names = [f"{STEM}-{k + 1:05d}-of-{len(shards):05d}.safetensors" for k in range(len(shards))]
    with staged_folder(folder) as temporary:
        for name, part in zip(names, shards, strict=True):
            with atomic_write(temporary / name) as file:
                done = _fill(file, part, source, metadata, on_bytes, done, total)
        if len(shards) > 1:
            places = {target.key: name for name, part in zip(names, shards, strict=True) for target in part}
            index = {"metadata": {"total_size": total}, "weight_map": places}
            _write_json(temporary / f"{STEM}.safetensors.index.json", index)
        if config is not None:
            _write_json(temporary / "config.json", config)


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to write into, which gets its name when the block ends without an exception, and is gone
    otherwise. Raises InputError where there is something under the name; OutputError."""
    refuse_existing(folder, False)
    temporary = folder.with_name(f".acetate-{os.getpid()}-{folder.name}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: Path, replace: bool) -> None:
    """Raises InputError where there is something under the name already."""
    if path.exists() and not (replace and path.is_file()):
        what = "folder" if path.is_dir() else "file"
        say = " or say --replace" if what == "file" else ""
        raise InputError(f"There is a {what} {path} already; give another name for the result{say}.")


def refuse_self(path: Path, source: Source) -> None:
    """Raises InputError where the result would take the place of what it is made from."""
    if path.exists() and source.where.exists() and path.samefile(source.where):
        raise InputError(f"{path} is what is being converted; give another name for the result.")


def _fill(
    file: BinaryIO,
    targets: Sequence[Target],
    source: Source,
    metadata: Mapping[str, str],
    on_bytes: OnTensor | None,
    done: int,
    total: int,
) -> int:
    # Wide numbers first, as the safetensors library writes them: so every tensor lies at a multiple of its own width.
    ordered = sorted(targets, key=lambda target: (-_width(target), target.key))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for target in ordered:
        end = offset + byte_size(target)
        shape: Shape = target.shape
        header[target.key] = {"dtype": target.dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for target in ordered:
        written = 0
        for part in target.parts:
            for piece in _pieces(part, source):
                written += file.write(piece)
        if written != byte_size(target):
            raise AssertionError(f"{target.key}: {written} bytes written, {byte_size(target)} announced")
        done += written
        if on_bytes is not None:
            on_bytes(done, total)
    return done


def _pieces(part: Rows | torch.Tensor, source: Source) -> Any:
    if isinstance(part, Rows):
        return source.rows(part.key, part.start, part.stop)
    return (memoryview(tensor_bytes(part)),)


def _width(target: Target) -> int:
    return byte_size(Target("", target.dtype, (8,), ()))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(dict(value), indent=2, ensure_ascii=False) + "\n").encode())
