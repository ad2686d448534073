"""A folder of layered files as shards of records: the part that a studio leaves running over night.

Files are known by the hash of their bytes, so a run that was stopped goes on where its last complete shard ended, copies
count once, and the same folder gives the same bytes. A file that cannot be read or is not wanted is written down with the
reason and the rest goes on. This module knows nothing of layers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layers.io import open_document
from ..layers.io.atomic import atomic_write
from ..layers.io.limits import Limits, reading
from ..layers.io.manifest import Fields, dump_json, load_json
from .curate import Rules
from .psd import Captioner, Unwanted, record_document
from .records import Record
from .shards import ShardWriter

SUFFIXES = (".psd", ".psb", ".ora")
INDEX, SETTINGS = "index.jsonl", "dataset.json"
FILE_LIMITS = Limits(pixels=2**26, total_pixels=2**30, layers=2048)
"""What one file of a folder may ask for; smaller than what a person may open."""


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What became of one file: ``status`` is "used", "unwanted" (sound, but refused by the rules), "bad" (cannot be read)
    or "known" (its bytes were dealt with before). ``why`` tells the reason in words, ``facts`` is the line of the index."""

    file: str
    status: str
    why: str
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How many files of this run ended how."""

    used: int = 0
    unwanted: int = 0
    bad: int = 0
    known: int = 0


def layered_files(folder: Path) -> list[Path]:
    """PSD, PSB and OpenRaster files in ``folder`` and below it, in the order of their paths."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one with PSD, PSB or ORA files")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def build_dataset(
    source: Path,
    out: Path,
    *,
    rules: Rules | None = None,
    caption: Captioner | None = None,
    caption_layers: bool = False,
    per_shard: int = 64,
    limits: Limits = FILE_LIMITS,
    on_file: Callable[[FileReport], None] | None = None,
) -> Summary:
    """Turn the layered files below ``source`` into shards, ``index.jsonl`` and ``dataset.json`` in ``out``.

    Run again with the same settings it goes on; InputError if ``out`` was built with others, or holds something else.
    ``on_file`` hears of every file when its fate is known. Stopped by an exception or a signal, at most the unfinished
    shard is lost.
    """
    rules = rules or Rules()
    files = layered_files(source)
    if not files:
        raise InputError(f"there are no PSD, PSB or ORA files in {source}")
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "rules": dataclasses.asdict(rules),
        "captioned": caption is not None,
        "caption_layers": caption_layers,
    }
    _keep_settings(out, settings)
    rows = _read_index(out)
    known = {row["sha256"] for row in rows}
    counts: Counter[str] = Counter()
    with ShardWriter(out, per_shard=per_shard, first=_next_shard(out, rows)) as writer:
        for path in files:
            row, record = _one(
                path, path.relative_to(source).as_posix(), known, rules, caption, caption_layers, limits
            )
            counts[row["status"]] += 1
            if row["status"] != "known":
                rows.append(row)
                known.add(row["sha256"])
            if record is not None:
                row["shard"] = writer.path.name
                if writer.add(row["key"], record) is not None:
                    _write_index(out, rows)
            if on_file is not None:
                on_file(FileReport(file=row["file"], status=row["status"], why=row.get("why", ""), facts=row))
    _write_index(out, rows)
    return Summary(**counts)


def _one(
    path: Path,
    name: str,
    known: set[str],
    rules: Rules,
    caption: Captioner | None,
    caption_layers: bool,
    limits: Limits,
) -> tuple[dict[str, Any], Record | None]:
    """The index line of one file and, if it is used, its record."""
    row: dict[str, Any] = {"file": name, "sha256": "", "status": "bad"}
    try:
        with path.open("rb") as file:
            row["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return {**row, "sha256": f"unread:{name}", "why": f"cannot be read: {error.strerror or error}"}, None
    if row["sha256"] in known:
        return {**row, "status": "known"}, None
    key = row["sha256"][:24]
    try:
        # One strange file must not end a night's work: whatever it breaks is put down to it, by name.
        with reading(name, "a document that can be made plain"):
            doc = open_document(path, limits=limits)
            facts = {"file": name, "sha256": row["sha256"], "layers": len(doc.leaves())}
            outcome = record_document(
                doc, rules=rules, caption=caption, caption_layers=caption_layers, source=facts
            )
    except InputError as error:
        return {
            **row,
            "status": "unwanted" if isinstance(error, Unwanted) else "bad",
            "why": str(error),
        }, None
    record = outcome.record
    return {**row, "status": "used", "key": key, "layers": len(record.layers), "leaves": outcome.leaves,
            "dropped": list(outcome.dropped)}, record  # fmt: skip


def _keep_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new folder; compare those of an old one."""
    settings = {"format": "acetate-dataset", "version": 1, **settings}
    path = out / SETTINGS
    if path.exists():
        if load_json(path.read_bytes(), str(path)) != settings:
            raise InputError(
                f"{out} was built with other settings, see {path.name}: use those, or another folder"
            )
        return
    if any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no {SETTINGS}: give a new folder")
    with atomic_write(path) as file:
        file.write(dump_json(settings, path.name))


def _read_index(out: Path) -> list[dict[str, Any]]:
    path = out / INDEX
    if not path.exists():
        return []
    rows = [load_json(line, str(path)) for line in path.read_bytes().splitlines()]
    for row in rows:
        fields = Fields(row, f"a line of {path}")
        fields.text("sha256", 2000)
        if fields.text("status", 20) == "used" and not re.fullmatch(
            r"records-\d{6}\.tar", fields.text("shard", 40)
        ):
            raise InputError(
                f"{path} names a shard {row['shard'][:40]!r}: remove the folder and build it again"
            )
    return rows


def _next_shard(out: Path, rows: list[dict[str, Any]]) -> int:
    """The number after the last complete shard; all that the index names must be there."""
    names = {row["shard"] for row in rows if row["status"] == "used"}
    missing = sorted(name for name in names if not (out / name).is_file())
    if missing:
        raise InputError(
            f"{out} lacks {missing[0]}, which its index names: put it back, or remove the folder and build it again"
        )
    return max((int(name[8:14]) for name in names), default=-1) + 1


def _write_index(out: Path, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row, sort_keys=True, ensure_ascii=True) + "\n" for row in rows]
    with atomic_write(out / INDEX) as file:
        file.write("".join(lines).encode())
