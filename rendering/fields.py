"""The fields of a job by name, and how each is understood where it is only text: in CSV, ``--set`` and ``--vary``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ..errors import InputError

_WHOLE = re.compile(r"[+-]?\d{1,19}")
_SIZE = re.compile(r"(\d{1,9})\s*[xX]\s*(\d{1,9})")


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise InputError(f"{name} must be a whole number, not {text[:60]!r}")
    return int(text)


def _words(name: str, text: str) -> list[Any]:
    return (
        _json(name, text) if text.startswith("[") else [word for word in re.split(r"[\s,;]+", text) if word]
    )


def _lines(name: str, text: str) -> list[Any]:
    if text.startswith("["):
        return _json(name, text)
    return [word.strip() for word in re.split(r"[;\n]", text) if word.strip()]


def _layers(name: str, text: str) -> Any:
    if text.startswith("["):
        return _json(name, text)
    return text if text == "auto" else _whole(name, text)


def _size(name: str, text: str) -> Any:
    return _json(name, text) if text.startswith("[") else text


def _plain(name: str, text: str) -> str:
    return text


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InputError(f"{name} must be true or false, not {text[:60]!r}")
    return text.lower() == "true"


def _json(name: str, text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} begins like a JSON list, but is none ({str(error)[:80]})") from error
    assert isinstance(value, list)
    return value


FIELDS: dict[str, Callable[[str, str], Any]] = {
    "id": _plain,
    "task": _plain,
    "input": _plain,
    "prompt": _plain,
    "layers": _layers,
    "size": _size,
    "seed": _whole,
    "steps": _whole,
    "model": _plain,
    "best_of": _whole,
    "keep_whole": _truth,
    "memory": _plain,
    "quantise": _plain,
    "transformer": _plain,
    "transparency": _plain,
    "loras": _lines,
    "edits": _lines,
    "outputs": _words,
}


def from_text(name: str, text: str) -> Any:
    """The value that ``text`` gives the field ``name``. Raises InputError."""
    return FIELDS[name](name, text)


def from_row(fields: dict[str, str]) -> dict[str, Any]:
    """The fields of a row of texts; columns that are no fields become variables, None where they are empty. Raises
    InputError."""
    known = {name: from_text(name, text) for name, text in fields.items() if name in FIELDS and text}
    others = {name: text or None for name, text in fields.items() if name not in FIELDS and name != "vars"}
    return known | ({"vars": others} if others else {})


def parse_size(text: str) -> tuple[int, int]:
    """``"640x480"`` as (640, 480). Raises InputError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InputError(f"size {text[:60]!r} must be written WIDTHxHEIGHT in pixels, for example 256x192")
    return int(found[1]), int(found[2])
