"""Shards: many records in one tar file, the same bytes for the same records, read as if an enemy had written them.

A record is a JSON file and PNG files with one stem, the JSON first: ``KEY.json``, ``KEY.merged.png``, ``KEY.00.png`` ...
(WebDataset's convention, so its loaders read them too). No compression beside PNG's, no pickles. This module knows
nothing of what is in the pictures.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import InputError
from ..layers.io.atomic import atomic_write
from ..layers.io.limits import Budget, Limits, reading
from ..layers.io.manifest import Fields, dump_json, load_json
from ..layers.io.png import encode_png
from ..layers.io.png_read import decode_png
from ..layers.io.sniff import open_source
from .records import MAX_CAPTION, Record, RecordLayer

FORMAT, VERSION = "acetate-record", 1
SHARD_LIMITS = Limits(pixels=2**26, total_pixels=2**29, layers=512, text_bytes=2**22)
"""What one record of a shard may ask for."""
_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NAME = re.compile(r"([A-Za-z0-9_-]{1,80})\.(json|merged\.png|\d{2,4}\.png)")


def record_files(key: str, record: Record) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a record's files, the JSON first. Raises InputError for a key that is no plain word."""
    if not _KEY.fullmatch(key):
        raise InputError(
            f"a record's key is made of letters, digits, '-' and '_', at most 80, not {key[:100]!r}"
        )
    layers = [
        {"file": f"{key}.{layer.z:02d}.png", "box": list(layer.box), "caption": layer.caption, "z": layer.z}
        for layer in record.layers
    ]
    facts: dict[str, Any] = {"format": FORMAT, "version": VERSION, "caption": record.caption,
                             "canvas": list(record.canvas), "layers": layers, "source": record.source}  # fmt: skip
    yield f"{key}.json", dump_json(facts, f"record {key}")
    yield f"{key}.merged.png", encode_png(record.merged)
    for layer in record.layers:
        yield f"{key}.{layer.z:02d}.png", encode_png(layer.rgba)


class ShardWriter:
    """Writes records to ``folder/PREFIX-000000.tar`` and on; a shard appears when it is complete.

    ``per_shard`` records or ``max_bytes`` end a shard, ``first`` is the number of the first. Use it as a context manager:
    leaving it in good order completes the last shard, an exception drops the unfinished one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: str = "records",
        per_shard: int = 256,
        max_bytes: int = 2**30,
        first: int = 0,
    ) -> None:
        if per_shard < 1 or max_bytes < 1 or first < 0:
            raise InputError("a shard holds at least one record and one byte, and shards count from 0")
        self.folder, self.prefix, self.per_shard, self.max_bytes, self.number = (
            folder,
            prefix,
            per_shard,
            max_bytes,
            first,
        )
        self._stack = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._count = self._bytes = 0

    @property
    def path(self) -> Path:
        """The shard that the next record goes to."""
        return self.folder / f"{self.prefix}-{self.number:06d}.tar"

    def add(self, key: str, record: Record) -> Path | None:
        """Write one record; returns the shard's path when this record completed it."""
        files = list(record_files(key, record))
        if self._tar is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self._stack.enter_context(atomic_write(self.path))
            tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by the stack
            self._tar = self._stack.enter_context(tar)
        for name, data in files:
            info = tarfile.TarInfo(name)  # time, owner and group are 0: the same records, the same bytes
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
            self._bytes += len(data)
        self._count += 1
        return self.finish() if self._count >= self.per_shard or self._bytes >= self.max_bytes else None

    def finish(self) -> Path | None:
        """Complete the open shard; returns its path, None when there is nothing in it."""
        if self._tar is None:
            return None
        self._stack.close()
        done, self._tar, self._count, self._bytes = self.path, None, 0, 0
        self.number += 1
        return done

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self._stack.__exit__(kind, error, trace)  # drops the unfinished shard


def read_shard(path: Path | str, *, limits: Limits = SHARD_LIMITS) -> Iterator[tuple[str, Record]]:
    """(key, record) of a shard, one at a time. InputError, naming the file, for what ShardWriter would not write."""
    what = Path(path).name
    with (
        open_source(path, limits) as (file, _, _),
        reading(what, "a shard of records"),
        tarfile.open(fileobj=file, mode="r|") as tar,
    ):
        seen: set[str] = set()
        files = _files(tar, what, limits)
        entry = next(files, None)
        while entry is not None:
            key, kind, data = entry
            if kind != "json":
                raise InputError(
                    f"{what}: {key}.{kind} comes without its JSON before it: write the shard again"
                )
            if key in seen:
                raise InputError(f"{what} holds the record {key} twice: write the shard again")
            seen.add(key)
            pictures: dict[str, bytes] = {}
            while (entry := next(files, None)) is not None and entry[1] != "json":
                if len(pictures) > limits.layers:
                    raise InputError(f"{what}: the record {key} has more than {limits.layers} layers")
                if entry[0] != key or entry[1] in pictures:
                    stray = f"{entry[0]}.{entry[1]}"
                    raise InputError(
                        f"{what}: the file {stray} is not of the record {key}: write the shard again"
                    )
                pictures[entry[1]] = entry[2]
            yield key, _record(key, data, pictures, what, limits)


def read_shards(folder: Path | str, *, limits: Limits = SHARD_LIMITS) -> Iterator[tuple[str, Record]]:
    """(key, record) of every shard of a folder, in the order of their names. InputError when it holds none."""
    shards = sorted(Path(folder).glob("*.tar"))
    if not shards:
        raise InputError(f"there are no shards (*.tar) in {folder}")
    for shard in shards:
        yield from read_shard(shard, limits=limits)


def _files(tar: tarfile.TarFile, what: str, limits: Limits) -> Iterator[tuple[str, str, bytes]]:
    """(key, kind, bytes) of each file; nothing is read before its name, type and size have been checked."""
    for member in tar:
        match = _NAME.fullmatch(member.name)
        if (
            match is None
            or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE)
            or member.sparse is not None
        ):
            raise InputError(
                f"{what} holds {member.name[:80]!r}, which is no file of a record: it is damaged or hostile"
            )
        most = limits.text_bytes if match[2] == "json" else 5 * limits.pixels
        if member.size > most:
            raise InputError(f"{what}: {member.name} is {member.size / 1e6:.0f} MB: it is damaged or hostile")
        stream = tar.extractfile(member)
        assert stream is not None
        data = stream.read()
        if len(data) != member.size:
            raise InputError(f"{what} ends within {member.name}: copy it again")
        yield match[1], match[2], data


def _record(key: str, data: bytes, pictures: dict[str, bytes], what: str, limits: Limits) -> Record:
    where = f"record {key} of {what}"
    facts = Fields(load_json(data, where), where)
    if facts.maybe("format") != FORMAT:
        raise InputError(f"{where} was not written by acetate: its JSON has another format")
    facts.integer("version", VERSION, VERSION)
    width, height = facts.pair("canvas", 1, limits.side)
    budget = Budget(where, limits)
    source = facts.maybe("source")
    if not isinstance(source, dict):
        raise InputError(f"{where}: 'source' must be an object: write the shard again")

    def picture(kind: str, width: int, height: int) -> np.ndarray:
        budget.pixels(width, height, kind)
        if kind not in pictures:
            raise InputError(f"{where} lacks its file {kind}: write the shard again")
        pixels = decode_png(pictures.pop(kind), f"{kind} of {where}", size=(width, height), limits=limits)
        if pixels.dtype != np.uint8:
            raise InputError(f"{kind} of {where} has 16 bits, not 8: write the shard again")
        return pixels

    merged = picture("merged.png", width, height)
    layers = []
    for rank, item in enumerate(facts.items("layers")):
        budget.node(0)
        fields = Fields(item, f"layer {rank} of {where}")
        box = fields.items("box")
        if len(box) != 4 or not all(isinstance(v, int) and not isinstance(v, bool) for v in box):
            raise InputError(f"{fields.where}: 'box' must be four whole numbers: write the shard again")
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InputError(f"{fields.where}: its box leaves the canvas: write the shard again")
        kind = f"{rank:02d}.png"
        if fields.maybe("file") != f"{key}.{kind}":
            raise InputError(f"{fields.where}: its file must be {key}.{kind}: write the shard again")
        rgba = picture(kind, x1 - x0, y1 - y0)
        z = fields.integer("z", rank, rank)
        layers.append(RecordLayer(rgba=rgba, box=(x0, y0, x1, y1), caption=_caption(fields), z=z))
    if pictures:
        raise InputError(f"{where} has files that its JSON does not name: write the shard again")
    return Record(
        caption=_caption(facts), canvas=(width, height), layers=tuple(layers), merged=merged, source=source
    )


def _caption(fields: Fields) -> str:
    return "" if fields.maybe("caption") == "" else fields.text("caption", MAX_CAPTION)
