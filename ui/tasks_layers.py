"""The work of a run on single layers: one made to fit the others, an object lifted off its background.

Knows documents and ``api``; nothing of queues or of the browser. Torch loads with the first run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from ..layers.composite import intersect, to_depth
from ..layers.document import Box, Layer, LayeredImage
from .arrange import put_above, put_below
from .context import gap_at, reduced
from .documents import Record, State
from .jobs import Job
from .tasks import flat_picture, free_layer, layer_picture, parts_group, replace_layer, told

LIFTED = ("Background", "Object")
TASKS = {"above": "Add a layer", "below": "Add a layer", "instead": "Redo the layer", "behind": "Fill behind"}


def fit_layer(
    record: Record, layer_id: str | None, where: str, box: Box | None, most: int, settings: dict[str, Any]
) -> Callable[[Job], str]:
    """Make one layer that fits the visible others, which the model sees; they stay as they are.

    ``where``: see ``context.gap_at``. ``most``: layers that the model makes, the new one included.
    """
    doc = record.state.doc
    gap_at(doc, layer_id, where)
    if where == "instead" and layer_id is not None:
        free_layer(doc, layer_id)
    prompt = settings["prompt"]

    def work(job: Job) -> str:
        from ..api_layers import complete

        doc = record.state.doc
        given, place = reduced(doc, gap_at(doc, layer_id, where), most - 1)
        found = complete(
            given,
            f"#{place - 1}" if place else None,
            add="above" if place else "below",
            box=(box or _old_box(doc, layer_id, where)) if place else box,
            **settings,
            **told(job, len(given.layers) + 1),
        )
        known = {node.id for node in given.layers}
        made = next(node for node in found.layers if node.id not in known)
        assert isinstance(made, Layer)
        if not made.pixels[..., 3].any():
            raise InputError("The model left the layer empty: try other words, another box or another seed.")
        fresh = made.replace(pixels=to_depth(made.pixels, doc.depth), id="")
        old = free_layer(doc, layer_id) if where == "instead" and layer_id is not None else None
        job.check()
        if old is None:
            _put(record, fresh, layer_id, where, prompt)
        else:
            job.note = replace_layer(record, old, fresh.replace(name=old.name), f"Redo {old.name[:60]}")
        return record.id

    return work


def lift(record: Record, layer_id: str | None, box: Box, settings: dict[str, Any]) -> Callable[[Job], str]:
    """Take the object in ``box`` off its background, shadow included: of one layer, which becomes a group, or of what the
    whole document shows."""
    doc = record.state.doc
    if layer_id is not None:
        _within(box, free_layer(doc, layer_id).box)
    else:
        _within(box, doc.box)

    def work(job: Job) -> str:
        from ..api_layers import extract

        version, before = record.version, record.state
        if layer_id is None:
            picture = flat_picture(before.doc)
            parts = extract(picture, box=_within(box, before.doc.box), **settings, **told(job, 2))
            job.check()
            after = State(
                doc=parts, source=to_depth(picture.pixels, 8), label="Lift an object", reported=True
            )
            job.note = record.commit_result(after, version, before)
            return record.id
        layer = free_layer(before.doc, layer_id)
        parts = extract(
            layer_picture(before.doc, layer), box=_within(box, layer.box), **settings, **told(job, 2)
        )
        group = parts_group(layer, parts, LIFTED)
        job.check()
        job.note = replace_layer(record, layer, group, f"Lift from {layer.name[:60]}")
        return record.id

    return work


def _put(record: Record, made: Layer, layer_id: str | None, where: str, prompt: str | None) -> None:
    name = (prompt or ("Background" if where == "behind" else "New layer"))[:255]
    named = made.replace(name=name)
    put = put_above if where == "above" else put_below
    label = "Fill behind" if where == "behind" else f"Add {name[:60]}"
    record.change(label, lambda doc: put(doc, layer_id, named))


def _old_box(doc: LayeredImage, layer_id: str | None, where: str) -> Box | None:
    """A layer that is made anew stays where the old one was."""
    if where != "instead" or layer_id is None:
        return None
    return intersect(free_layer(doc, layer_id).box, doc.box)


def _within(box: Box, whole: Box) -> Box:
    """The part of ``box`` inside ``whole``, counted from its corner; InputError where there is none."""
    found = intersect(box, whole)
    if found is None:
        raise InputError("The box lies outside of the picture it is drawn for: draw it around the object.")
    x, y = whole[:2]
    return found[0] - x, found[1] - y, found[2] - x, found[3] - y
