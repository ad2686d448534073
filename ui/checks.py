"""Checks what comes over the wire against the types of an action: JSON may be anything. Knows types, not actions."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable
from typing import Any

from ..errors import InputError

MAX_TEXT = 4000
MAX_ITEMS = 200
_BROKEN = re.compile("[\\0\ud800-\udfff]")
"""No text has these: halves of characters come from broken clients, and no file or tokenizer takes them."""
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object"}


def checked(function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``function`` with their types made sure; raises InputError naming the first wrong one."""
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    found = {}
    for name, value in given.items():
        if name not in parameters:
            raise InputError(f"There is no argument {name[:40]!r} here.")
        found[name] = _value(value, hints[name], name)
    return found


def _value(value: Any, kind: Any, name: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return _value(value, next(option for option in options if option is not type(None)), name)
    if origin is list:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise InputError(f"{name} must be a list of at most {MAX_ITEMS} entries.")
        (inner,) = typing.get_args(kind)
        return [_value(item, inner, f"an entry of {name}") for item in value]
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) and abs(value) < 1e12:
            return float(value)
    elif kind is int and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) and value == int(value) and abs(value) < 2**63:
            return int(value)
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        if kind is str and (len(value) > MAX_TEXT or _BROKEN.search(value)):
            raise InputError(f"{name} must be a text of at most {MAX_TEXT} characters.")
        return value
    raise InputError(f"{name} must be {_WORDS.get(kind, kind.__name__)}, not {str(value)[:40]!r}.")
