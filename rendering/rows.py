"""Reads a list of jobs, JSONL, CSV or a folder of pictures, into rows: fields by name, or why a row cannot be read.

The list is untrusted: a row that is no JSON, no UTF-8 or too long is a row with a reason, and the rest is read. Knows
nothing of what the fields mean.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError

MAX_FILE_BYTES = 2**30
MAX_ROW_BYTES = 2**20
PICTURES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".webp",
        ".tif",
        ".tiff",
        ".gif",
        ".bmp",
        ".jp2",
        ".avif",
        ".ppm",
        ".qoi",
        ".psd",
        ".psb",
        ".ora",
    ]
)
_FOREIGN_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry of a list. ``text``: whether values are words still to be understood (CSV), "" in an empty cell, or typed
    already (JSON)."""

    number: int
    """Line of the file, from 1; in a folder the place of the picture in it."""
    fields: dict[str, Any] = field(default_factory=dict)
    text: bool = False
    reason: str | None = None
    """Why the row cannot be read; ``fields`` is empty then."""


def read_rows(path: Path, skip: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a .csv file, of a folder (one row per picture, by name), or of any other file as JSON lines.

    Raises InputError when there is no such list, it is larger than 1 GiB, or a folder holds no picture.
    """
    if path.is_dir():
        return iter(_folder_rows(path, skip))
    data = _file_bytes(path)
    return _csv_rows(data) if path.suffix.lower() == ".csv" else _json_rows(data)


def _file_bytes(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path} does not exist: give a .jsonl or .csv file, or a folder of pictures")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file: save the list to disk first")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: split the list")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error
    if data.startswith(_FOREIGN_MARKS):
        raise InputError(f"{path} is not in UTF-8: save the list as UTF-8")
    if not data.strip():
        raise InputError(f"{path} is empty: write one job per line")
    return data.removeprefix(codecs.BOM_UTF8)


def _folder_rows(path: Path, skip: Collection[str]) -> list[Row]:
    names = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.suffix.lower() in PICTURES
        and not entry.name.startswith(".")
        and entry.is_file()
        and entry.name not in skip
    )
    if not names:
        raise InputError(f"the folder {path} holds no picture: give one that does, or a .jsonl or .csv file")
    return [Row(number=number, fields={"input": name}) for number, name in enumerate(names, start=1)]


def _json_rows(data: bytes) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield _json_row(number, line)


def _json_row(number: int, line: bytes) -> Row:
    if len(line) > MAX_ROW_BYTES:
        return Row(
            number=number, reason=f"the line has {len(line)} bytes, more than the {MAX_ROW_BYTES} of a job"
        )
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        return Row(number=number, reason="the line is not in UTF-8: save the list as UTF-8")
    except json.JSONDecodeError as error:
        return Row(number=number, reason=f"the line is not JSON ({error.msg}, column {error.colno})")
    except (ValueError, RecursionError) as error:
        return Row(number=number, reason=f"the line is not a job in JSON ({str(error)[:120]})")
    if not isinstance(value, dict):
        return Row(
            number=number, reason=f"the line holds a {type(value).__name__}, not a JSON object of fields"
        )
    return Row(number=number, fields=value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:40]!r} stands there twice")
    return found


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _csv_rows(data: bytes) -> Iterator[Row]:
    # Bytes that are no UTF-8 survive as half characters, so that only the row that has them is refused.
    text = data.decode("utf-8", "surrogateescape")
    first = text.partition("\n")[0]
    comma = ";" if ";" in first and "," not in first else ","  # as Excel writes it where commas are decimal
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=comma)
    names = _csv_names(reader)
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(number=number, reason=f"the row is not CSV ({error}): check its quotes")
            continue
        if any(value.strip() for value in values):
            yield _csv_row(number, names, values)


def _csv_names(reader: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise InputError(
            f"the first line of the list does not name its columns ({error}): id,input,…"
        ) from error
    if not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"the columns of the list must have names, each once; the first line says {', '.join(names)[:200]}"
        )
    return names


def _csv_row(number: int, names: list[str], values: list[str]) -> Row:
    if len(values) > len(names):
        return Row(number=number, reason=f"the row has {len(values)} values for {len(names)} columns")
    if sum(map(len, values)) > MAX_ROW_BYTES:
        return Row(number=number, reason=f"the row is longer than the {MAX_ROW_BYTES} bytes of a job")
    if any("\udc80" <= character <= "\udcff" for value in values for character in value):
        return Row(number=number, reason="the row is not in UTF-8: save the list as UTF-8")
    given = dict.fromkeys(names, "") | {
        name: value.strip() for name, value in zip(names, values, strict=False)
    }
    return Row(number=number, fields=given, text=True)
