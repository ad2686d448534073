"""The work of a run on whole pictures: calls the model, shows previews, and puts the result where the visitor wanted it.

Knows documents and ``api``; nothing of queues or of the browser. Torch loads with the first run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..layers.composite import flatten_array, to_depth
from ..layers.document import Group, Layer, LayeredImage, Node
from ..layers.io.picture import Picture
from .arrange import put_instead
from .documents import CHANGED, Record, State, Store
from .jobs import Job
from .previews import Previews
from .words import gave_way


def take_apart(
    record: Record, layers: int | None, shown: int, settings: dict[str, Any]
) -> Callable[[Job], str]:
    """Decompose the flattened document into layers (None: as many as it takes); what was there can be had back by undo.

    ``shown``: how many layers a preview has.
    """

    def work(job: Job) -> str:
        from ..api import decompose

        version, before = record.version, record.state
        picture = flat_picture(before.doc)
        doc = decompose(picture, layers or "auto", **settings, **told(job, shown))
        job.check()
        after = State(doc=doc, source=to_depth(picture.pixels, 8), label="Image to layers", reported=True)
        job.note = record.commit_result(after, version, before)
        return record.id

    return work


def split_again(
    record: Record, layer_id: str, layers: int | None, shown: int, settings: dict[str, Any]
) -> Callable[[Job], str]:
    """Decompose one layer; the parts come as a group in its place."""
    free_layer(record.state.doc, layer_id)

    def work(job: Job) -> str:
        from ..api import decompose

        layer = free_layer(record.state.doc, layer_id)
        parts = decompose(
            layer_picture(record.state.doc, layer), layers or "auto", **settings, **told(job, shown)
        )
        names = [
            part.name if part.provenance.prompt else f"{layer.name[:240]}, part {number}"
            for number, part in enumerate(parts.leaves(), start=1)
        ]
        group = parts_group(layer, parts, names)
        job.check()
        job.note = replace_layer(record, layer, group, f"Split {layer.name[:60]}")
        return record.id

    return work


def make(store: Store, owner: str, name: str, settings: dict[str, Any]) -> Callable[[Job], str]:
    """Generate a new document from text."""

    def work(job: Job) -> str:
        from ..api import generate

        doc = generate(**settings, **told(job, settings["layers"]))
        job.check()
        record = store.create(owner, State(doc=doc, label="Text to layers"), name, made=True)
        job.note = gave_way(record.displaced)
        return record.id

    return work


def told(job: Job, shown: int) -> dict[str, Any]:
    """What ties a call of ``api`` to its job: progress, previews of ``shown`` layers, cancel."""
    return {"on_progress": job.report, "on_step": Previews(job, shown), "cancel": job.cancel}


def flat_picture(doc: LayeredImage) -> Picture:
    """What a document shows, as a picture to take apart."""
    pixels = flatten_array(doc)
    return Picture(pixels=pixels, has_alpha=bool((pixels[..., 3] < pixels.max()).any()), dpi=doc.dpi)


def layer_picture(doc: LayeredImage, layer: Layer) -> Picture:
    """One layer alone as a picture. Raises InputError for an empty one."""
    pixels = to_depth(layer.pixels, doc.depth)
    if not pixels[..., 3].any():
        raise InputError(f"The layer {layer.name!r} is empty; there is nothing to take apart.")
    return Picture(pixels=pixels, has_alpha=True)


def parts_group(layer: Layer, parts: LayeredImage, names: Sequence[str]) -> Group:
    """The parts that a layer was taken into, empty ones left out, where it was, as a group of its name."""
    x, y = layer.offset
    moved = tuple(
        part.replace(offset=(part.offset[0] + x, part.offset[1] + y), name=name, id="")
        for part, name in zip(parts.leaves(), names, strict=True)
        if part.pixels[..., 3].any()
    )
    return Group(layers=moved, name=layer.name)


def replace_layer(record: Record, layer: Layer, made: Node, label: str) -> str | None:
    """Put what a run made of ``layer`` in its place; a sentence where the layer was changed meanwhile."""
    with record.lock:
        now = free_layer(record.state.doc, layer.id)
        record.change(label, lambda doc: put_instead(doc, layer.id, made))
    same = now.offset == layer.offset and np.array_equal(now.pixels, layer.pixels)
    return None if same else CHANGED.format("layer")


def free_layer(doc: LayeredImage, selector: str) -> Layer:
    """The layer of that name or id. Raises InputError for a group and for a locked layer."""
    node = doc.find(selector)
    if not isinstance(node, Layer):
        raise InputError(f"{node.name!r} is a group; choose one of its layers.")
    if node.locked:
        raise InputError(f"The layer {node.name!r} is locked; unlock it first.")
    return node
