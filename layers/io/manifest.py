"""The manifest of the PNG folder: our document as JSON and back, every field checked.

Knows the schema, not the files: pictures are written and fetched through two small callbacks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ..blend import BlendMode
from ..document import MAX_NAME_LENGTH, Box, Group, Layer, LayeredImage, Mask, Node, Provenance
from .limits import Budget

FORMAT = "acetate"
VERSION = 1
_COORDINATE = 2**31 - 1
Store = Callable[[np.ndarray], str]
"""Stores pixels (H x W x 4 or H x W) and returns the file name they got."""
Fetch = Callable[[str, int, int, bool], np.ndarray]
"""Returns the pixels of (file, width, height, whether it is a mask)."""


def dump_json(value: Any, what: str) -> bytes:
    """UTF-8 JSON with sorted keys and exact floats; InputError for NaN, infinity or what JSON cannot hold."""
    try:
        text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        try:
            return text.encode()
        except UnicodeEncodeError:  # half a surrogate pair in a prompt: escaped, it survives
            return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{what} cannot be stored ({error}): use text, finite numbers, lists and dictionaries"
        ) from None


def build_manifest(doc: LayeredImage, store: Store, icc_file: str | None) -> dict[str, Any]:
    """The manifest of ``doc``; ``store`` is called once per picture, bottom to top."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "width": doc.width,
        "height": doc.height,
        "depth": doc.depth,
        "dpi": doc.dpi,
        "icc": icc_file,
        "metadata": doc.metadata,
        "layers": [_node(node, store) for node in doc.layers],
    }


def _node(node: Node, store: Store) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": node.id,
        "name": node.name,
        "opacity": float(node.opacity),
        "blend": node.blend.value,
        "visible": bool(node.visible),
        "locked": bool(node.locked),
        "clipping": bool(node.clipping),
        "mask": None if node.mask is None else _mask(node.mask, store),
    }
    if isinstance(node, Group):
        return {
            **item,
            "type": "group",
            "open": bool(node.open),
            "layers": [_node(n, store) for n in node.layers],
        }
    return {
        **item,
        "type": "layer",
        "offset": list(node.offset),
        "size": [node.width, node.height],
        "file": store(node.pixels),
        "provenance": node.provenance.as_dict(),
    }


def _mask(mask: Mask, store: Store) -> dict[str, Any]:
    height, width = mask.pixels.shape
    return {
        "offset": list(mask.offset),
        "size": [width, height],
        "default": float(mask.default),
        "enabled": bool(mask.enabled),
        "file": store(mask.pixels),
    }


def load_json(data: bytes, what: str) -> Any:
    """Strict JSON: NaN and infinities refused, nesting bounded by the interpreter and reported as one
    sentence.
    """

    def refuse(text: str) -> float:
        raise InputError(f"{what} holds {text}, which is not a number: save the document again")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except RecursionError as error:
        raise InputError(f"{what} nests too deep: it is damaged or hostile") from error
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} is not valid JSON ({error}): save the document again") from error


class Fields:
    """Typed access to one JSON object of an untrusted manifest; every complaint names the field."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(
                f"{where} must be an object, not {type(value).__name__}: save the document again"
            )
        self._value = value
        self.where = where

    def _complain(self, key: str, wanted: str) -> InputError:
        shown = repr(self._value.get(key))
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return InputError(f"{self.where}: {key!r} must be {wanted}, not {shown}: save the document again")

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._value.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._complain(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = self._value.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._complain(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def text(self, key: str, longest: int) -> str:
        value = self._value.get(key)
        if not isinstance(value, str) or not 1 <= len(value) <= longest:
            raise self._complain(key, f"a text of 1 to {longest} characters")
        return value

    def flag(self, key: str) -> bool:
        value = self._value.get(key)
        if not isinstance(value, bool):
            raise self._complain(key, "true or false")
        return value

    def pair(self, key: str, low: int, high: int) -> tuple[int, int]:
        value = self._value.get(key)
        if not isinstance(value, list) or len(value) != 2 or not all(_whole(v, low, high) for v in value):
            raise self._complain(key, f"two whole numbers from {low} to {high}")
        return value[0], value[1]

    def items(self, key: str) -> list[Any]:
        value = self._value.get(key)
        if not isinstance(value, list):
            raise self._complain(key, "a list")
        return value

    def maybe(self, key: str) -> Any:
        return self._value.get(key)


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def parse_manifest(
    manifest: Any, what: str, fetch: Fetch, icc: Callable[[str], bytes], budget: Budget
) -> LayeredImage:
    """The document that ``manifest`` (parsed JSON) describes; InputError for anything outside the schema."""
    top = Fields(manifest, f"the manifest of {what}")
    if top.maybe("format") != FORMAT:
        raise InputError(f"{what} was not written by acetate: its manifest has another format")
    top.integer("version", VERSION, VERSION)
    side = budget.limits.side
    width, height = top.integer("width", 1, side), top.integer("height", 1, side)
    budget.limits.check_size(width, height, what)
    depth = top.integer("depth", 8, 16)
    if depth not in (8, 16):
        raise InputError(
            f"the manifest of {what}: 'depth' must be 8 or 16, not {depth}: save the document again"
        )
    metadata = top.maybe("metadata")
    if not isinstance(metadata, dict):
        raise InputError(f"the manifest of {what}: 'metadata' must be an object: save the document again")
    profile = None if top.maybe("icc") is None else icc(top.text("icc", 200))
    return LayeredImage(
        width=width,
        height=height,
        depth=16 if depth == 16 else 8,
        dpi=top.number("dpi", 1e-6, 1e9),
        icc=profile,
        metadata=metadata,
        layers=_nodes(top.items("layers"), what, 0, fetch, budget),
    )


def _nodes(items: list[Any], what: str, depth: int, fetch: Fetch, budget: Budget) -> tuple[Node, ...]:
    return tuple(_read_node(item, what, depth, fetch, budget) for item in items)


def _read_node(item: Any, what: str, depth: int, fetch: Fetch, budget: Budget) -> Node:
    budget.node(depth)
    fields = Fields(item, f"a layer in the manifest of {what}")
    name = fields.text("name", MAX_NAME_LENGTH)
    fields.where = f"layer {name!r} in the manifest of {what}"
    mask = fields.maybe("mask")
    common: dict[str, Any] = {
        "name": name,
        "id": fields.text("id", 8),
        "opacity": fields.number("opacity", 0, 1),
        "blend": BlendMode.parse(fields.text("blend", 40)),
        "visible": fields.flag("visible"),
        "locked": fields.flag("locked"),
        "clipping": fields.flag("clipping"),
        "mask": None if mask is None else _read_mask(mask, fields.where, fetch, budget),
    }
    kind = fields.text("type", 10)
    if kind == "group":
        inside = _nodes(fields.items("layers"), what, depth + 1, fetch, budget)
        return Group(layers=inside, open=fields.flag("open"), **common)
    if kind != "layer":
        raise InputError(
            f"{fields.where}: 'type' must be 'layer' or 'group', not {kind!r}: save the document again"
        )
    width, height = fields.pair("size", 1, budget.limits.side)
    budget.pixels(width, height, name)
    return Layer(
        pixels=fetch(fields.text("file", 200), width, height, False),
        offset=fields.pair("offset", -_COORDINATE, _COORDINATE),
        provenance=read_provenance(fields.maybe("provenance"), fields.where),
        **common,
    )


def _read_mask(item: Any, where: str, fetch: Fetch, budget: Budget) -> Mask:
    fields = Fields(item, f"the mask of {where}")
    width, height = fields.pair("size", 1, budget.limits.side)
    budget.pixels(width, height, fields.where)
    return Mask(
        pixels=fetch(fields.text("file", 200), width, height, True),
        offset=fields.pair("offset", -_COORDINATE, _COORDINATE),
        default=fields.number("default", 0, 1),
        enabled=fields.flag("enabled"),
    )


_TEXTS = ("prompt", "model", "revision", "role")
_SEED_BITS = 128


def read_provenance(item: Any, where: str) -> Provenance:
    """A Provenance from untrusted JSON; InputError for unknown or ill-typed fields."""
    fields = Fields(item if item is not None else {}, f"the provenance of {where}")
    known: dict[str, Any] = {}
    for key, value in (item or {}).items():
        seed = key == "seed" and _whole(value, -(2**_SEED_BITS), 2**_SEED_BITS)
        if seed or (key in _TEXTS and isinstance(value, str)):
            known[key] = value
        elif key == "box" and _is_box(value):
            known[key] = _box(value)
        else:
            raise InputError(
                f"{fields.where}: {str(key)[:40]!r} is unknown or of the wrong type: save the document again"
            )
    return Provenance(**known)


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
    )


def _box(value: list[Any]) -> Box:
    return value[0], value[1], value[2], value[3]
