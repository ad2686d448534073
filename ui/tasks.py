"""The work of a run: calls the model, shows previews, and puts the result where the visitor wanted it.

Knows documents and ``api``; nothing of queues or of the browser. Torch loads with the first run.
"""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..layers.composite import flatten_array, to_depth
from ..layers.document import Box, Group, Layer, LayeredImage
from ..layers.edit import trim
from ..layers.io.picture import Picture
from ..layers.resample import resize
from .arrange import put_above, put_instead
from .documents import Record, State, Store
from .jobs import Job

if TYPE_CHECKING:
    from ..pipelines.progress import Progress

PREVIEW_SIDE = 256
PREVIEW_SHARE = 0.25
"""Part of a run's time that previews may take; the first step always has one."""


class Previews:
    """Turns the steps of a run into small pictures of its layers, as long as that costs little."""

    def __init__(self, job: Job, layers: int) -> None:
        self._job = job
        self._layers = layers
        self._spent = 0.0
        self._began = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        first = not self._job.preview
        if progress.preview is None or (not first and self._spent > PREVIEW_SHARE * (now - self._began)):
            return
        self._job.show([data_url(progress.preview(frame)[0]) for frame in range(1, self._layers + 1)])
        self._spent += time.perf_counter() - now


def data_url(picture: Image.Image, side: int = PREVIEW_SIDE) -> str:
    """A small PNG of a picture as a data URL."""
    small = picture.convert("RGBA")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def take_apart(record: Record, layers: int, settings: dict[str, Any]) -> Callable[[Job], str]:
    """Decompose the flattened document into layers; what was there can be had back by undo."""

    def work(job: Job) -> str:
        from ..api import decompose

        before = record.state
        pixels = flatten_array(before.doc)
        picture = Picture(
            pixels=pixels, has_alpha=bool((pixels[..., 3] < pixels.max()).any()), dpi=before.doc.dpi
        )
        doc = decompose(
            picture,
            layers,
            **settings,
            on_progress=job.report,
            on_step=Previews(job, layers),
            cancel=job.cancel,
        )
        record.commit(State(doc=doc, source=to_depth(pixels, 8), label="Take apart"))
        return record.id

    return work


def split_again(record: Record, layer_id: str, layers: int, settings: dict[str, Any]) -> Callable[[Job], str]:
    """Decompose one layer; the parts come as a group in its place."""
    _layer(record.state.doc, layer_id)

    def work(job: Job) -> str:
        from ..api import decompose

        layer = _layer(record.state.doc, layer_id)
        pixels = to_depth(layer.pixels, record.state.doc.depth)
        if not pixels[..., 3].any():
            raise InputError(f"The layer {layer.name!r} is empty; there is nothing to split.")
        picture = Picture(pixels=pixels, has_alpha=True)
        parts = decompose(
            picture,
            layers,
            **settings,
            on_progress=job.report,
            on_step=Previews(job, layers),
            cancel=job.cancel,
        )
        x, y = layer.offset
        moved = tuple(
            part.replace(
                offset=(part.offset[0] + x, part.offset[1] + y),
                name=f"{layer.name[:240]}, part {number}",
                id="",
            )
            for number, part in enumerate(parts.leaves(), 1)
            if part.pixels[..., 3].any()
        )
        group = Group(layers=moved, name=layer.name)
        record.change(f"Split {layer.name}", lambda doc: put_instead(doc, layer_id, group))
        return record.id

    return work


def make(store: Store, owner: str, name: str, settings: dict[str, Any]) -> Callable[[Job], str]:
    """Generate a new document from text."""

    def work(job: Job) -> str:
        from ..api import generate

        doc = generate(
            **settings, on_progress=job.report, on_step=Previews(job, settings["layers"]), cancel=job.cancel
        )
        return store.create(owner, State(doc=doc, label="Generate"), name).id

    return work


def add_layer(
    record: Record,
    prompt: str,
    box: Box | None,
    replaced: str | None,
    resolution: int,
    settings: dict[str, Any],
) -> Callable[[Job], str]:
    """Generate one layer from its prompt, inside ``box``, and put it on top, or at the place of another layer.

    The model draws the layer on a scene of its own; only the layer is taken over.
    """
    doc = record.state.doc
    if replaced is not None:
        old = _layer(doc, replaced)
        box = _inside(old.box, doc) if box is None else box
    scale = math.sqrt(resolution * resolution / (doc.width * doc.height))
    size = _working_side(doc.width * scale), _working_side(doc.height * scale)
    factors = size[0] / doc.width, size[1] / doc.height
    small = None if box is None else _scaled(box, factors, size)

    def work(job: Job) -> str:
        from ..api import generate

        made = generate(
            prompt,
            2,
            layer_prompts=[prompt],
            boxes=[small],
            size=size,
            **settings,
            on_progress=job.report,
            on_step=Previews(job, 2),
            cancel=job.cancel,
        )
        layer = _enlarged(trim(made).leaves()[-1], (1 / factors[0], 1 / factors[1]), record.state.doc.depth)
        if not layer.pixels[..., 3].any():
            raise InputError("The model left the layer empty: try another prompt, box or seed.")
        if replaced is None:
            named = layer.replace(name=prompt[:255], id="")
            record.change(f"Add {prompt[:60]}", lambda doc: put_above(doc, None, named))
        else:
            name = _layer(record.state.doc, replaced).name
            again = layer.replace(name=name, id="")
            record.change(f"Redo {name}", lambda doc: put_instead(doc, replaced, again))
        return record.id

    return work


def _layer(doc: LayeredImage, selector: str) -> Layer:
    node = doc.find(selector)
    if not isinstance(node, Layer):
        raise InputError(f"{node.name!r} is a group; choose one of its layers.")
    if node.locked:
        raise InputError(f"The layer {node.name!r} is locked; unlock it first.")
    return node


def _working_side(value: float) -> int:
    return min(4096, max(16, round(value / 16) * 16))


def _inside(box: Box, doc: LayeredImage) -> Box | None:
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(doc.width, box[2]), min(doc.height, box[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _scaled(box: Sequence[int], factors: tuple[float, float], size: tuple[int, int]) -> Box:
    x0, x1 = (round(value * factors[0]) for value in (box[0], box[2]))
    y0, y1 = (round(value * factors[1]) for value in (box[1], box[3]))
    x0, y0 = min(max(0, x0), size[0] - 1), min(max(0, y0), size[1] - 1)
    return x0, y0, min(max(x1, x0 + 1), size[0]), min(max(y1, y0 + 1), size[1])


def _enlarged(layer: Layer, factors: tuple[float, float], depth: int) -> Layer:
    size = max(1, round(layer.width * factors[0])), max(1, round(layer.height * factors[1]))
    offset = round(layer.offset[0] * factors[0]), round(layer.offset[1] * factors[1])
    pixels = to_depth(np.asarray(resize(layer.pixels, size)), depth)
    return layer.replace(pixels=pixels, offset=offset)
