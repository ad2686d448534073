"""``complete``, ``extract`` and ``transparent``: layer by layer, where ``api.py`` makes whole stacks.

The same care as there: what was asked is checked before a model loads, and the result says what was done. Knows no file
formats and draws no progress.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .api import PictureLike, check_size, matched, picture_from, visible_picture
from .errors import InputError
from .fitting import Memory, Quantise, picture_size
from .layers.composite import to_float
from .layers.document import Box, Group, Layer, LayeredImage
from .layers.edit import trim
from .layers.edits.properties import drawn_like
from .models.family import FLUX
from .models.lora import LoraLike
from .models.registry import DEFAULT_MODEL
from .progress import OnProgress
from .run import Run, check_layers, check_prompt, check_sides, check_text, whole

if TYPE_CHECKING:
    from .pipelines.progress import Progress

MAX_GUIDANCE = 100


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
    loras: Iterable[LoraLike] | LoraLike = (),
    modulation_table: bool = False,
    memory: Memory | None = None,
    transformer: str | os.PathLike[str] | None = None,
    quantise: Quantise | None = None,
    on_progress: OnProgress | None = None,
    on_step: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> LayeredImage:
    """Make the layers that a stack is missing, given the others, which stay exactly as they are.

    ``layers``: a document, of which ``layer`` (a name, an id or "#0", the lowest; top-level nodes only) is made anew, or
    gets a new neighbour where ``add`` says "above" (and above what is clipped to it) or "below"; without ``layer`` the
    new one comes on top, or with ``add`` "below" beneath everything. Or one picture or None per layer, bottom to top, all
    of one size (floats count as 8 bits): None is made, so ``[None, fish]`` asks for a background to a fish and ``[sky,
    None]`` for something in the sky.

    ``prompt`` and ``box`` (canvas pixels, half-open) describe what is made: one, or a list with one entry per missing layer,
    bottom to top. ``scene``: the whole picture in words. The model sees the given layers at its own size; what it makes is
    brought to the canvas' size and, above the bottom, cut to its visible pixels. ``steps``, ``seed``, ``loras``,
    ``modulation_table``, ``memory``, ``transformer`` and ``quantise`` as for :func:`acetate.decompose`.

    ``document.metadata["report"]`` holds what was done; its ``recomposition`` is None. Raises InputError for what cannot
    be done as asked, Cancelled when ``cancel`` is set.
    """
    run = Run(
        task="complete",
        model=model,
        steps=steps,
        seed=seed,
        loras=loras,
        modulation_table=modulation_table,
        memory=memory,
        transformer=transformer,
        quantise=quantise,
        on_progress=on_progress,
        on_step=on_step,
        cancel=cancel,
    )
    if scene is not None:
        check_text("scene", scene)
    given: Any
    if isinstance(layers, str | bytes | os.PathLike):
        raise InputError(
            "give a document (LayeredImage.open), or a list with a picture, or None, for each layer: not a file"
        )
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
    check_layers(len(described), run.stored)
    boxes: list[Box | None] = [None] * len(described)
    prompts, places = _one_each(prompt, missing, "prompts", str), _one_each(box, missing, "boxes", int)
    for place, words, where in zip(missing, prompts, places, strict=True):
        described[place], boxes[place] = words, where
    from .pipelines.given import read_stack
    from .pipelines.sizes import check_boxes

    numbers = [place + 1 for place in missing] if isinstance(given, LayeredImage) else None
    read_stack(given, numbers)
    check_boxes(boxes, len(described), *canvas)

    run.fit(len(described), canvas)
    output = run.made(layers=given, missing=numbers, prompt=scene, layer_prompts=described, boxes=boxes)
    document = output.documents[0]
    if isinstance(layers, LayeredImage) and layer is not None and add is None:
        (place,), (words,) = missing, prompts
        remade = drawn_like(document.layers[place], layers.layers[place])
        if words is None:
            remade = remade.replace(name=layers.layers[place].name)
        document = document.with_layers((*document.layers[:place], remade, *document.layers[place + 1 :]))
    for place in missing:
        if place > 0:
            document = trim(document, f"#{place}")
    arguments = {
        "layer": layer,
        "add": add,
        "missing": [place + 1 for place in missing],
        "prompt": prompt if isinstance(prompt, str) or prompt is None else list(prompt),
        "box": [None if one is None else [int(side) for side in one] for one in places]
        if any(places)
        else None,
        "scene": scene,
    }
    dropped = layers.metadata.get("dropped", ()) if isinstance(layers, LayeredImage) else ()
    return run.finished(document, arguments, dropped=dropped)


def extract(
    image: PictureLike,
    mask: PictureLike | None = None,
    *,
    box: Box | None = None,
    model: str = DEFAULT_MODEL,
    steps: int | None = None,
    seed: int = 0,
    size: Literal["native", "model"] = "native",
    loras: Iterable[LoraLike] | LoraLike = (),
    modulation_table: bool = False,
    memory: Memory | None = None,
    transformer: str | os.PathLike[str] | None = None,
    quantise: Quantise | None = None,
    on_progress: OnProgress | None = None,
    on_step: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> LayeredImage:
    """Lift an object out of a picture: a document of the background without it, and the object with its shadow.

    ``image``, ``size``, ``steps``, ``seed``, ``loras``, ``modulation_table``, ``memory``, ``transformer`` and ``quantise``
    as for :func:`acetate.decompose`; the two layers add up to the picture in the same way. The object is where ``mask`` is
    white (of the picture's size; black or transparent elsewhere), or inside ``box`` (pixels, half-open); one of the two is
    needed.
    Neither has to be tight, and what the object casts need not be marked.

    ``document.metadata["report"]`` as for ``decompose``. Raises InputError for what cannot be done as asked, Cancelled when
    ``cancel`` is set.
    """
    run = Run(
        task="extract",
        model=model,
        steps=steps,
        seed=seed,
        loras=loras,
        modulation_table=modulation_table,
        memory=memory,
        transformer=transformer,
        quantise=quantise,
        on_progress=on_progress,
        on_step=on_step,
        cancel=cancel,
    )
    check_size(size)
    picture = visible_picture(image)
    plane = _object_plane(picture.pixels, mask, box)
    height, width = picture.pixels.shape[:2]
    run.fit(2, (width, height))
    output = run.made(image=picture.pixels, mask=plane)
    background, lifted = output.documents[0].leaves()
    document = output.documents[0].with_layers([background, lifted.replace(name="Object")])
    document, recomposed = matched(document, picture, size, run.phases)
    arguments = {"box": None if box is None else [int(side) for side in box], "size": size}
    return run.finished(document, arguments, recomposed, dropped=picture.dropped)


def transparent(
    prompt: str,
    image: PictureLike | None = None,
    *,
    strength: float | None = None,
    guidance: float | None = None,
    size: tuple[int, int] | None = None,
    model: str = DEFAULT_MODEL,
    transparency: str | os.PathLike[str] | None = None,
    steps: int | None = None,
    seed: int = 0,
    loras: Iterable[LoraLike] | LoraLike = (),
    modulation_table: bool = False,
    memory: Memory | None = None,
    transformer: str | os.PathLike[str] | None = None,
    quantise: Quantise | None = None,
    on_progress: OnProgress | None = None,
    on_step: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> LayeredImage:
    """Make one layer from text, transparent around what it shows: a document of that layer alone.

    ``image``: a picture to start from, with or without alpha; ``strength``: how much of it changes, in (0, 1], by default
    0.8. ``guidance``: how closely the words are followed; what FLUX.1 dev is told, from 0, or the scale of the negative
    branch on Qwen, from 1, none; at most 100.
    ``size``: (width, height) in pixels, at most 4096 each, on FLUX multiples of 16; by default the model's own, with the
    aspect of ``image``. ``steps``, ``seed``, ``loras``, ``modulation_table``, ``memory``, ``transformer`` and ``quantise``
    as for :func:`acetate.decompose`.

    FLUX needs LayerDiffuse's TransparentVAE or a VAE of 4 channels, in its folder or as ``transparency``, a file or folder.

    ``document.metadata["report"]`` holds what was done; its ``recomposition`` is None. Raises InputError for what cannot be
    done as asked, Cancelled when ``cancel`` is set.
    """
    from .pipelines.sizes import check_canvas, flux_canvas

    check_prompt(prompt, "layer")
    size = check_sides(size)
    run = Run(
        task="transparent",
        model=model,
        steps=steps,
        seed=seed,
        loras=loras,
        modulation_table=modulation_table,
        memory=memory,
        transformer=transformer,
        quantise=quantise,
        transparency=transparency,
        on_progress=on_progress,
        on_step=on_step,
        cancel=cancel,
    )
    if strength is not None and not 0 < strength <= 1:
        raise InputError(f"the strength must lie above 0 and at most 1, not {strength!r}")
    if strength is not None and image is None:
        raise InputError(
            "the strength says how much of a picture changes: give the picture, or leave the strength out"
        )
    if guidance is not None and not 0 <= guidance <= MAX_GUIDANCE:
        raise InputError(f"the guidance must lie between 0 and {MAX_GUIDANCE}, not {guidance!r}")
    if size is not None:
        check_canvas(*size)
    source = None if image is None else picture_from(image)
    picture = None if source is None else source.pixels
    on_flux = run.family is FLUX
    if on_flux:
        flux_canvas(*(size or (None, None)))
    elif guidance is not None and guidance < 1:
        raise InputError(
            f"on this model the guidance lies between 1 (none) and {MAX_GUIDANCE}, not {guidance!r}"
        )
    width, height = size or (None, None)
    call: dict[str, Any] = {"prompt": prompt, "width": width, "height": height, "strength": strength}
    call["guidance_scale" if on_flux else "true_cfg_scale"] = guidance
    if picture is not None:
        call["image"] = picture
    shown = None if picture is None else (picture.shape[1], picture.shape[0])
    canvas: tuple[int, int] | None
    if on_flux:
        canvas = flux_canvas(width, height, shown)
    else:
        canvas = size or (None if shown is None else picture_size(run.stored, shown))
    run.fit(1, canvas, picture=picture is not None)
    document = run.made(**call).documents[0]
    arguments = {
        "prompt": prompt,
        "size": [document.width, document.height],
        "from_picture": True if picture is not None else None,
        "strength": strength,
        "guidance": guidance,
    }
    return run.finished(document, arguments, dropped=() if source is None else source.dropped)


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
    if add == "above":
        place += 1
        while (
            place < len(document.layers) and document.layers[place].clipping
        ):  # they stay clipped to their base
            place += 1
    if add is not None:
        return document, [place]
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
    alone = isinstance(value, str) if single is str else all(whole(part) is not None for part in value)
    entries = [value] if alone else list(value)
    if single is str:
        for words in entries:
            if words is not None:
                check_text("prompt", words)
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
