"""What the page is told of a document: its tree as JSON, and pixels by the hash of their content.

Knows documents and digests; nothing of HTTP. Pixels go out as straight 8-bit RGBA bytes: a browser that decodes a PNG
keeps premultiplied colours, and blend modes that divide would show the difference.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from typing import Any

import numpy as np

from ..layers.composite import to_depth
from ..layers.document import Group, LayeredImage, Mask, Node
from ..report import peak_memory_mib
from .documents import Record, State, root_array

_lock = threading.Lock()
_known: dict[int, tuple[weakref.ref[np.ndarray], dict[tuple[Any, ...], str]]] = {}


def digest(array: np.ndarray) -> str:
    """A hash of shape, type and content; remembered as long as the memory of ``array`` lives."""
    owner = root_array(array)
    place = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
    key = id(owner)
    with _lock:
        entry = _known.get(key)
        if entry is not None and entry[0]() is owner and place in entry[1]:
            return entry[1][place]
    hashed = hashlib.blake2b(repr((array.shape, array.dtype.str)).encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(array).data)
    found = hashed.hexdigest()
    with _lock:
        entry = _known.get(key)
        if entry is None or entry[0]() is not owner:
            entry = (weakref.ref(owner, lambda _, key=key: _known.pop(key, None)), {})  # type: ignore[misc]
            _known[key] = entry
        entry[1][place] = found
    return found


def pixels_of(states: list[State], wanted: str) -> bytes | None:
    """The bytes (straight RGBA, or one byte per pixel of a mask) of that digest in any of the states."""
    for state in states:
        arrays = [layer.pixels for layer in state.doc.leaves()]
        arrays += [node.mask.pixels for _, node in state.doc.walk() if node.mask is not None]
        if state.source is not None:
            arrays.append(state.source)
        for array in arrays:
            if digest(array) == wanted:
                return np.ascontiguousarray(to_depth(array, 8)).tobytes()
    return None


def view(record: Record) -> dict[str, Any]:
    """The document as the page draws it, JSON-able."""
    with record.lock:
        state = record.state
        doc = state.doc
        return {
            "id": record.id,
            "version": record.version,
            "name": record.name,
            "width": doc.width,
            "height": doc.height,
            "depth": doc.depth,
            "made": record.made,
            "layers": [_node(node) for node in doc.layers],
            "undo": record.undo_label,
            "redo": record.redo_label,
            "source": None if state.source is None else _pixels(state.source, (0, 0)),
            "facts": {**_facts(doc), "fresh": state.reported},
            "memory": {
                "document_mib": round(record.memory() / 2**20, 1),
                "peak_mib": peak_memory_mib()["host"],
            },
        }


def _facts(doc: LayeredImage) -> dict[str, Any]:
    known: dict[str, Any] = {
        key: doc.metadata[key] for key in ("task", "seed", "model", "revision") if key in doc.metadata
    }
    report = doc.metadata.get("report")
    if isinstance(report, dict):
        known["recomposition"] = report.get("recomposition")
        known["seconds"] = (report.get("seconds") or {}).get("total")
    dropped = doc.metadata.get("dropped")
    if dropped:
        known["dropped"] = dropped
    return known


def _pixels(array: np.ndarray, offset: tuple[int, int]) -> dict[str, Any]:
    return {
        "digest": digest(array),
        "x": offset[0],
        "y": offset[1],
        "width": int(array.shape[1]),
        "height": int(array.shape[0]),
    }


def _mask(mask: Mask | None) -> dict[str, Any] | None:
    if mask is None:
        return None
    return {**_pixels(mask.pixels, mask.offset), "default": mask.default, "enabled": mask.enabled}


def _node(node: Node) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": node.id,
        "name": node.name,
        "opacity": node.opacity,
        "blend": node.blend.value,
        "visible": node.visible,
        "locked": node.locked,
        "clipping": node.clipping,
        "mask": _mask(node.mask),
    }
    if isinstance(node, Group):
        return {**known, "kind": "group", "layers": [_node(child) for child in node.layers]}
    return {
        **known,
        "kind": "layer",
        "pixels": _pixels(node.pixels, node.offset),
        "prompt": node.provenance.prompt,
        "seed": node.provenance.seed,
    }
