"""``complete``, ``extract`` and ``transparent``: layer by layer, where ``api.py`` makes whole stacks.

The same care as there: what was asked is checked before a model loads, and the result says what was done. Knows no file
formats and draws no progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .api import (
    PictureLike,
    check_layers,
    check_run,
    check_size,
    finished,
    matched,
    picture_from,
    relay_progress,
    run_facts,
    visible_picture,
)
from .errors import InputError
from .fitting import Memory, plan_call
from .layers.composite import to_float
from .layers.document import Box, Group, Layer, LayeredImage
from .layers.edit import trim
from .models.registry import DEFAULT_MODEL
from .progress import OnProgress, Phases
from .session import open_pipeline, stored_settings

if TYPE_CHECKING:
    from .pipelines.progress import Progress


def complete(
    layers: LayeredImage | Sequence[PictureLike | None],
    layer: str | None = None,
    *,
    add: Literal["above", "below"] | None = None,
    prompt: str | Sequence[str | None] | None = None,
    box: Box | Sequence[Box | None] | None = None,
    scene: str | None = None,
    model: str = DEFAULT_MODEL,
    steps: int | None = None,
    seed: int = 0,
    memory: Memory | None = None,
    on_progress: OnProgress | None = None,
    on_step: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> LayeredImage:
    """Make the layers that a stack is missing, given the others, which stay exactly as they are.

    ``layers``: a document, of which ``layer`` (a name, an id or "#0", the lowest; top-level nodes only) is made anew, or
    gets a new neighbour where ``add`` says "above" or "below"; without ``layer`` the new one comes on top, or with ``add``
    "below" beneath everything. Or one picture or None per layer, bottom to top, all of one size: None is made, so
    ``[None, fish]`` asks for a background to a fish and ``[sky, None]`` for something in the sky.

    ``prompt`` and ``box`` (canvas pixels, half-open) describe what is made: one, or a list with one entry per missing layer,
    bottom to top. ``scene``: the whole picture in words. The model sees the given layers at its own size; what it makes is
    brought to the canvas' size and, above the bottom, cut to its visible pixels. ``memory`` as for
    :func:`acetate.decompose`.

    ``document.metadata["report"]`` holds what was done; its ``recomposition`` is None. Raises InputError for what cannot
    be done as asked, Cancelled when ``cancel`` is set.
    """
    check_run(steps, seed)
    given: Any
    if isinstance(layers, LayeredImage):
        given, missing = _with_gap(layers, layer, add)
        described = [_words_of(node) for node in given.layers]
        for place in missing:
            described.insert(place, None)
        canvas = (given.width, given.height)
    else:
        if layer is not None or add is not None:
            raise InputError(
                "layer and add choose among the layers of a document; in a list the missing layer is None"
            )
        pictures = [None if one is None else picture_from(one).pixels for one in layers]
        given, missing = pictures, [place for place, one in enumerate(pictures) if one is None]
        described = [None] * len(pictures)
        known = [one for one in pictures if one is not None]
        if not known:
            raise InputError("no layer is given: give at least one picture, or use generate")
        canvas = (known[0].shape[1], known[0].shape[0])
    entry, stored = stored_settings(model)
    check_layers(len(described), stored)
    boxes: list[Box | None] = [None] * len(described)
    prompts, places = _one_each(prompt, missing, "prompts", str), _one_each(box, missing, "boxes", int)
    for place, words, where in zip(missing, prompts, places, strict=True):
        described[place], boxes[place] = words, where
    from .pipelines.given import read_stack
    from .pipelines.sizes import check_boxes

    numbers = [place + 1 for place in missing] if isinstance(given, LayeredImage) else None
    read_stack(given, numbers)
    check_boxes(boxes, len(described), *canvas)

    plan = plan_call("complete", entry, stored, memory, len(described), canvas, steps=steps)
    phases = Phases(on_progress, cancel)
    with open_pipeline("complete", entry, phases, plan) as pipeline:
        output = pipeline(
            layers=given,
            missing=numbers,
            prompt=scene,
            layer_prompts=described,
            boxes=boxes,
            num_inference_steps=steps,
            seed=seed,
            output_type="document",
            on_progress=relay_progress(phases, on_step),
            cancel=cancel,
        )
    phases.stop()
    document = output.documents[0]
    for place in missing:
        if place > 0:
            document = trim(document, f"#{place}")
    arguments = {
        "layer": layer,
        "add": add,
        "missing": [place + 1 for place in missing],
        "prompt": prompt if isinstance(prompt, str) or prompt is None else list(prompt),
        "box": [list(one) for one in boxes if one is not None] or None,
        "scene": scene,
        "steps": steps,
    }
    return finished(document, run_facts("complete", pipeline, seed, arguments, plan), phases, None, plan)


def extract(
    image: PictureLike,
    mask: PictureLike | None = None,
    *,
    box: Box | None = None,
    model: str = DEFAULT_MODEL,
    steps: int | None = None,
    seed: int = 0,
    size: Literal["native", "model"] = "native",
    memory: Memory | None = None,
    on_progress: OnProgress | None = None,
    on_step: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> LayeredImage:
    """Lift an object out of a picture: a document of the background without it, and the object with its shadow.

    ``image`` and ``size`` as for :func:`acetate.decompose`; the two layers add up to the picture in the same way. The
    object is where ``mask`` is white (of the picture's size; black or transparent elsewhere), or inside ``box`` (pixels,
    half-open); one of the two is needed. Neither has to be tight, and what the object casts need not be marked.

    ``document.metadata["report"]`` as for ``decompose``. Raises InputError for what cannot be done as asked, Cancelled when
    ``cancel`` is set.
    """
    check_run(steps, seed)
    check_size(size)
    picture = visible_picture(image)
    plane = _object_plane(picture.pixels, mask, box)
    entry, stored = stored_settings(model)
    height, width = picture.pixels.shape[:2]
    plan = plan_call("extract", entry, stored, memory, 2, (width, height), steps=steps)
    phases = Phases(on_progress, cancel)
    with open_pipeline("extract", entry, phases, plan) as pipeline:
        output = pipeline(
            image=picture.pixels,
            mask=plane,
            num_inference_steps=steps,
            seed=seed,
            output_type="document",
            on_progress=relay_progress(phases, on_step),
            cancel=cancel,
        )
    background, lifted = output.documents[0].leaves()
    document = output.documents[0].with_layers([background, lifted.replace(name="Object")])
    document, recomposed = matched(document, picture, size, phases)
    arguments = {"box": None if box is None else list(box), "steps": steps, "size": size}
    return finished(document, run_facts("extract", pipeline, seed, arguments, plan), phases, recomposed, plan)


def transparent(
    prompt: str,
    *,
    size: tuple[int, int] | None = None,
    model: str = DEFAULT_MODEL,
    steps: int | None = None,
    seed: int = 0,
    memory: Memory | None = None,
    on_progress: OnProgress | None = None,
    on_step: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> LayeredImage:
    """Make one layer from text, transparent around what it shows: a document of that layer alone.

    ``size``: (width, height) in pixels, by default the model's own. ``document.metadata["report"]`` holds what was done; its
    ``recomposition`` is None. Raises InputError for what cannot be done as asked, Cancelled when ``cancel`` is set.
    """
    from .pipelines.sizes import check_canvas

    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("the prompt is empty: say in words what the layer shows")
    check_run(steps, seed)
    if size is not None:
        check_canvas(*size)
    entry, stored = stored_settings(model)
    width, height = size or (None, None)
    plan = plan_call("transparent", entry, stored, memory, 1, size, steps=steps)
    phases = Phases(on_progress, cancel)
    with open_pipeline("transparent", entry, phases, plan) as pipeline:
        output = pipeline(
            prompt=prompt,
            width=width,
            height=height,
            num_inference_steps=steps,
            seed=seed,
            output_type="document",
            on_progress=relay_progress(phases, on_step),
            cancel=cancel,
        )
    phases.stop()
    document = output.documents[0]
    arguments = {"prompt": prompt, "size": [document.width, document.height], "steps": steps}
    return finished(document, run_facts("transparent", pipeline, seed, arguments, plan), phases, None, plan)


def _with_gap(
    document: LayeredImage, layer: str | None, add: Literal["above", "below"] | None
) -> tuple[LayeredImage, list[int]]:
    """The document without what is made anew, and the place, from 0, of the layer to make."""
    if add not in (None, "above", "below"):
        raise InputError(f"add must be 'above' or 'below', not {add!r}")
    if layer is None:
        return document, [0 if add == "below" else len(document.layers)]
    path = document.find_path(layer)
    if len(path) > 1:
        raise InputError(f"{layer!r} lies in a group: only layers outside of groups can be completed")
    place = path[0]
    if add is not None:
        return document, [place + (add == "above")]
    if document.layers[place].locked:
        raise InputError(f"the layer {document.layers[place].name!r} is locked: unlock it first")
    if len(document.layers) == 1:
        raise InputError("the document has no other layer to go by: use generate, or add a layer to it")
    return document.with_layers(document.layers[:place] + document.layers[place + 1 :]), [place]


def _words_of(node: Layer | Group) -> str | None:
    """What a layer was made from, where that is known."""
    return node.provenance.prompt if isinstance(node, Layer) else None


def _one_each(value: Any, missing: Sequence[int], what: str, single: type) -> list[Any]:
    """``value`` as one entry per missing layer: a single one (of ``single``, or of as many) belongs to the only one."""
    if value is None:
        return [None] * len(missing)
    alone = isinstance(value, str) if single is str else all(isinstance(part, int) for part in value)
    entries = [value] if alone else list(value)
    if len(entries) != len(missing):
        raise InputError(
            f"{len(entries)} {what} were given for {len(missing)} missing layers: give one for each, or None"
        )
    return entries


def _object_plane(pixels: np.ndarray, mask: PictureLike | None, box: Box | None) -> np.ndarray:
    """(H, W) float32 in [0, 1], 1 where the object is."""
    height, width = pixels.shape[:2]
    if (mask is None) == (box is None):
        raise InputError("say where the object is: give either a mask or a box")
    plane = np.zeros((height, width), np.float32)
    if box is not None:
        from .pipelines.sizes import check_boxes

        check_boxes([None, box], 2, width, height)
        x0, y0, x1, y1 = (int(value) for value in box)
        plane[y0:y1, x0:x1] = 1
        return plane
    assert mask is not None
    shown = to_float(picture_from(mask).pixels)
    if shown.shape[:2] != (height, width):
        raise InputError(
            f"the mask has {shown.shape[1]} x {shown.shape[0]} pixels, the picture {width} x {height}: "
            "give a mask of the picture's size"
        )
    plane = shown[..., :3].mean(axis=-1) * shown[..., 3]
    if not plane.any():
        raise InputError("the mask is black everywhere: paint the object white")
    return plane
