"""Template variables and sweeps: ``--vary seed=1..8`` makes eight jobs of one, ``{colour}`` in a text becomes its value.

Works on fields as read, before they are checked; a variable is a name, never an expression.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .fields import FIELDS, from_text

MAX_VALUES = 100_000
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(\d{1,18}))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
TEMPLATES = ("id", "input", "prompt", "layers", "edits")
"""Fields whose texts may hold ``{name}``."""
PATHS = ("input", "model", "transformer", "transparency", "loras")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One ``--vary``: a field or a variable, and the values it takes, at least one."""

    name: str
    values: tuple[Any, ...]


def parse_vary(text: str) -> Sweep:
    r"""``"seed=1..8"``, ``"steps=10..50..10"`` or ``"colour=red,dark\, blue"`` as a sweep. Raises InputError."""
    name, values = _split("--vary", text)
    found = _RANGE.fullmatch(values)
    if found is None:
        words = [word.replace("\\,", ",").strip() for word in re.split(r"(?<!\\),", values) if word.strip()]
        try:
            return Sweep(name=name, values=_checked(text, [_typed(name, word) for word in words]))
        except InputError as error:
            if not values.startswith("["):
                raise
            raise InputError(f"{error}: in --vary a comma inside a value is written \\,") from error
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if step < 1 or last < first:
        raise InputError(f"--vary {text}: a range is written from the smaller number to the larger, 1..8")
    if (last - first) // step >= MAX_VALUES:
        raise InputError(f"--vary {text}: that is more than {MAX_VALUES} values")
    numbers = range(first, last + 1, step)
    return Sweep(name=name, values=_checked(text, [_typed(name, str(number)) for number in numbers]))


def parse_set(text: str) -> tuple[str, Any]:
    """``"outputs=psd,zip"`` as a field or a variable and its value. Raises InputError."""
    name, value = _split("--set", text)
    return name, _typed(name, value)


def _split(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not _NAME.fullmatch(name) or not value.strip():
        raise InputError(f"{option} {text[:80]!r} must be written NAME=VALUE, for example {option} seed=7")
    if name in ("id", "vars"):
        raise InputError(f"{option} {name}: every job has its own; write it in the list")
    return name, value.strip()


def _typed(name: str, word: str) -> Any:
    return from_text(name, word) if name in FIELDS else word


def _checked(text: str, values: list[Any]) -> tuple[Any, ...]:
    if not values or len(values) > MAX_VALUES:
        raise InputError(f"--vary {text[:80]} gives no values, or more than {MAX_VALUES}")
    return tuple(values)


def expand(
    fields: Mapping[str, Any], defaults: Mapping[str, Any], sweeps: Sequence[Sweep]
) -> Iterator[dict[str, Any]]:
    """The jobs that one row stands for: ``defaults`` fill what it leaves open, every combination of ``sweeps`` makes one
    job, and variables are put into its texts. ``vars`` is used up.

    A swept job whose id does not tell the values gets them appended, ``a1-seed3``. Raises InputError for a ``{name}`` that
    nothing gives a value and for variables that the row gives and no text uses. A variable of the row that is None has no
    value: an empty cell of a table.
    """
    given = fields.get("vars", {})
    named = dict(given) if isinstance(given, Mapping) else {}
    if not isinstance(given, Mapping) or not all(
        value is None
        or (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(value, str | int | float))
        for name, value in named.items()
    ):
        raise InputError("vars must be an object of names and their values, texts or numbers")
    own = {name: value for name, value in named.items() if value is not None}
    shared = {name: value for name, value in defaults.items() if name not in FIELDS}
    base = {name: value for name, value in defaults.items() if name in FIELDS}
    base.update((name, value) for name, value in fields.items() if name != "vars")
    for combination in itertools.product(*(sweep.values for sweep in sweeps)):
        swept = {sweep.name: value for sweep, value in zip(sweeps, combination, strict=True)}
        job = base | {name: value for name, value in swept.items() if name in FIELDS}
        variables = shared | own | swept
        yield _filled(job, variables, swept, set(own)) if variables or named else job


def check_used(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Raises InputError for the first of ``names`` (of ``--set`` and ``--vary``) that no text of ``rows`` holds."""
    missing = list(dict.fromkeys(names))
    held: set[str] = set()
    for fields in rows:
        if not missing:
            return
        held.update(*(_held(fields[name]) for name in TEMPLATES if name in fields))
        missing = [name for name in missing if name not in held]
    if missing:
        name = missing[0]
        raise InputError(
            f"{name!r} is no field, and no text of the list holds {{{name}}}{_hint(name, {*FIELDS, *held})}"
        )


def _held(value: Any) -> set[str]:
    if isinstance(value, list | dict):
        return set().union(*map(_held, value.values() if isinstance(value, dict) else value))
    return {found[1] for found in _BRACES.finditer(value) if found[1]} if isinstance(value, str) else set()


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ": check its spelling"


def _filled(
    job: dict[str, Any], variables: Mapping[str, Any], swept: Mapping[str, Any], own: set[str]
) -> dict[str, Any]:
    used: set[str] = set()
    told: set[str] = set()
    result = dict(job)
    for name in TEMPLATES:
        if name in job:
            result[name] = _fill(job[name], variables, told if name == "id" else used)
    unused = sorted(name for name in own | swept.keys() if name not in used | told and name not in FIELDS)
    if unused:
        name = unused[0]
        raise InputError(
            f"{name!r} is neither a field nor used as {{{name}}} in a text of this job{_hint(name, FIELDS)}"
        )
    parts = [f"{name}{_word(name, value)}" for name, value in swept.items() if name not in told]
    if isinstance(result.get("id"), str) and parts:
        result["id"] = "-".join([result["id"], *parts])
    return result


def _word(name: str, value: Any) -> str:
    """A field's value as a part of an id; of paths their last part, which tells them apart."""
    if name in PATHS:
        parts = value if isinstance(value, list) else [value]
        value = " ".join(str(part).rpartition("/")[2] for part in parts)
    text = str(value)
    word = re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_")
    if text.isascii() and 0 < len(word) <= 40:
        return word
    return f"{word[:32]}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}".lstrip(
        "-"
    )


def _fill(value: Any, variables: Mapping[str, Any], used: set[str]) -> Any:
    if isinstance(value, str):
        return _BRACES.sub(lambda found: _replacement(found, variables, used), value)
    if isinstance(value, list):
        return [_fill(part, variables, used) for part in value]
    if isinstance(value, dict):
        return {name: _fill(part, variables, used) for name, part in value.items()}
    return value


def _replacement(found: re.Match[str], variables: Mapping[str, Any], used: set[str]) -> str:
    if found[0] in ("{{", "}}"):
        return found[0][0]
    if found[1] not in variables:
        known = f", only {', '.join(sorted(variables))}"[:200] if variables else ""
        raise InputError(
            f"the text holds {found[0][:60]}, but {found[1][:60]!r} has no value in this job{known}; a brace itself is "
            "written {{"
        )
    used.add(found[1])
    return str(variables[found[1]])
