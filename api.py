"""``decompose`` and ``generate``: one function each behind Python and the command line.

Checks what was asked, runs a pipeline, brings the layers to the picture's own size, makes the stack equal the picture,
and says what was done. Knows no file formats and draws no progress. What happens around every pipeline is ``run``'s; the
other tasks are in ``api_layers.py``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from .errors import InputError
from .fitting import Memory, Quantise
from .layers.composite import to_float
from .layers.document import Box, LayeredImage
from .layers.edit import drop_empty, trim
from .layers.io.picture import Picture, read_picture
from .layers.recompose import recompose
from .layers.resample import resize
from .layers.upsample import upsample_layers
from .layers.whole import keep_whole as keep_objects_whole
from .models.family import FLUX
from .models.lora import LoraLike
from .models.registry import DEFAULT_MODEL
from .progress import OnProgress, Phases
from .report import recomposition_facts
from .run import Run, check_layers, check_prompt, check_sides, check_text, whole

if TYPE_CHECKING:
    from .pipelines.progress import Progress

PictureLike = str | os.PathLike[str] | bytes | Image.Image | np.ndarray | Picture

AUTO_LAYERS = 8
"""Layers that ``layers="auto"`` runs with, where the model allows as many."""
WHOLE_SIDE = 640
"""Pixels along the longer side of the copy on which objects are kept whole."""
MAX_TRIES = 16
"""Most tries of ``best_of``: they run as one batch."""


def decompose(
    image: PictureLike,
    layers: int | Literal["auto"] = 4,
    *,
    model: str = DEFAULT_MODEL,
    prompt: str | None = None,
    layer_prompts: Sequence[str | None] = (),
    steps: int | None = None,
    seed: int = 0,
    best_of: int = 1,
    keep_whole: bool | None = None,
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
    """Take a picture apart into ``layers`` layers, the background included, bottom to top.

    ``image``: a path, bytes, a Pillow image, or an array H x W (x 3 or 4) of uint8, uint16 or float32 in [0, 1].
    ``layers``: at least 1, and at most what the model's folder says, else 20; "auto" runs with as many layers as the model
    is good for and drops those that stay empty, other than those that ``layer_prompts`` describe.
    ``steps``: denoising steps, 1 to 1000, by default the model's own. ``seed``: 0 to 2**63 - 1; the same seed gives the same
    pixels on the same machine.
    ``layer_prompts``: what the layers show, bottom to top from the background on, None or blank where nothing is said. The
    words reach the model as prompts of those layers, and the layers are named after them. Neither the embedded nor any
    published model was trained with such words in this task: expect names, not that objects land on the layers they name.
    ``best_of``: so many tries, at most 16, with the seeds from ``seed`` on, all at once; the one whose layers come closest
    to the picture by themselves is taken, and the report names its seed.
    ``keep_whole``: put objects together that the model spread over several layers (``layers/whole.py``); by default where
    the model's folder asks for it, as the embedded one's does.
    ``on_step`` sees every denoising step with a preview of the layers.
    ``loras``: .safetensors files, "FILE:SCALE" or (file, scale), laid over the transformer for this run.
    ``modulation_table``: a third of the transformer's weights stays in its files, with the same results.
    ``memory``: "auto", or 8, 12, 16, 24, 48 or 80 (GB): the model is held so that it fits, by the mildest means
    (docs/memory.md), or the call is refused with numbers; None loads everything. The plan is in the report.
    ``quantise``: "float8", "int8" or "nf4" (bitsandbytes): the linear layers of the transformer's blocks are kept
    in fewer bits, which changes results (docs/memory.md). ``transformer``: a GGUF file with the transformer's weights, in
    the place of the model's own. Either is planned for what is free where ``memory`` names nothing else.
    ``size`` "native" gives a document of the picture's own size whose flattened pixels equal the picture within 1/255;
    "model" one at the size the model works at, equal to the picture scaled to that size. Layers above the background are
    cut to their visible pixels.

    ``document.metadata["report"]`` holds what was done: seed, model, revision, seconds per phase, peak memory, layer
    boxes and the recomposition error before and after. Raises InputError for what cannot be done as asked, Cancelled
    when ``cancel`` is set.
    """
    run = Run(
        task="decompose",
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
    best_of = check_tries(best_of)
    picture = visible_picture(image)
    if prompt is not None:
        check_text("prompt", prompt)
    if layers != "auto":
        layers = check_layers(layers, run.stored)
    count = min(run.stored.get("max_layers", AUTO_LAYERS), AUTO_LAYERS) if layers == "auto" else layers
    described = check_layer_prompts(layer_prompts, count)
    height, width = picture.pixels.shape[:2]
    run.fit(count, (width, height), batch=best_of)
    output = run.made(
        image=picture.pixels,
        layers=count,
        prompt=prompt,
        layer_prompts=described,
        num_images_per_prompt=best_of,
    )
    chosen = _closest(output.documents, picture)
    document = output.documents[chosen]
    whole = bool(run.stored.get("keep_whole", False)) if keep_whole is None else keep_whole
    if whole:
        with run.phases.during("whole"):
            document = _with_whole_objects(document, picture, size)
    if layers == "auto":
        document = drop_empty(document, keep_asked=True)
    document, recomposed = matched(document, picture, size, run.phases)
    arguments = {
        "layers": layers,
        "prompt": prompt,
        "layer_prompts": described,
        "size": size,
        "keep_whole": whole or None,
    }
    return run.finished(document, arguments, recomposed, seed=run.seed + chosen, dropped=picture.dropped)


def generate(
    prompt: str,
    layers: int | None = None,
    *,
    layer_prompts: Sequence[str | None] = (),
    boxes: Sequence[Box | None] = (),
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
    """Make a layered picture from text: ``layers`` layers, the background included, bottom to top.

    ``layer_prompts`` and ``boxes`` (pixels, half-open, None for the whole canvas) describe the layers above the
    background, bottom to top; ``layers`` defaults to one more than there are of them, or 3. ``size``: (width, height)
    in pixels, at most 4096 each, by default the model's own. ``steps``, ``seed``, ``loras``, ``modulation_table`` and
    ``memory``, ``transformer`` and ``quantise`` as for :func:`decompose`.

    FLUX makes a layer for every box (ART), on a canvas whose sides are multiples of 16: its boxes have no words of their
    own, and it needs ART's region decoder or a VAE of 4 channels, in its folder or as ``transparency``, a file or folder.

    ``document.metadata["report"]`` holds what was done; its ``recomposition`` is None, since there is no picture that
    the layers must equal. Raises InputError for what cannot be done as asked, Cancelled when ``cancel`` is set.
    """
    from .pipelines.sizes import check_boxes, check_canvas, flux_canvas

    check_prompt(prompt, "picture")
    size = check_sides(size)
    described = max(len(layer_prompts), len(boxes))
    if layers is None:
        layers = described + 1 if described else 3
    run = Run(
        task="generate",
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
    on_flux = run.family is FLUX
    if on_flux:
        _check_regions(layers, layer_prompts, boxes)
    layers = check_layers(layers, run.stored, run.family.max_layers)
    if described >= layers:
        raise InputError(
            f"{described} layers are described above the background, but only {layers} are asked for in all: "
            f"ask for {described + 1}"
        )
    resolution = run.stored.get("default_resolution")
    canvas = size or ((resolution, resolution) if resolution else None)
    if on_flux:
        canvas = flux_canvas(*(size or (None, None)))
    if canvas is not None:
        check_canvas(*canvas)
        check_boxes([None, *boxes], layers, *canvas)
    width, height = canvas or (None, None)
    call: dict[str, Any] = {"prompt": prompt, "width": width, "height": height}
    if on_flux:
        call["boxes"] = [None, *boxes]
    else:
        call["layers"] = layers
        call["layer_prompts"] = [None, *layer_prompts] if layer_prompts else None
        call["boxes"] = [None, *boxes] if boxes else None
    run.fit(layers, canvas, boxes=call["boxes"] if on_flux else None)
    document = run.made(**call).documents[0]
    arguments = {
        "prompt": prompt,
        "layers": layers,
        "layer_prompts": list(layer_prompts) or None,
        "boxes": [None if box is None else [int(side) for side in box] for box in boxes] or None,
        "size": [document.width, document.height],
    }
    return run.finished(document, arguments)


def _check_regions(layers: int, layer_prompts: Sequence[str | None], boxes: Sequence[Box | None]) -> None:
    """Raises InputError for layers that FLUX's regions cannot be."""
    if any(layer_prompts):
        raise InputError(
            "the layers of FLUX have boxes, but no words of their own: say everything in the prompt, and give boxes alone "
            "(--region x0,y0,x1,y1)"
        )
    if not boxes or layers != len(boxes) + 1:
        raise InputError(
            f"FLUX makes one layer for every box above the background, so {len(boxes)} boxes are not {layers} layers: "
            "give a box for each (--region x0,y0,x1,y1) and leave the number of layers out"
        )


def picture_from(image: PictureLike) -> Picture:
    """``image`` as straight sRGB RGBA pixels, uint8 or uint16; raises InputError for what is no picture."""
    if isinstance(image, Picture):
        return image
    if not isinstance(image, np.ndarray):
        return read_picture(image)
    array = image
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise InputError(
            f"the array has shape {image.shape}: give height x width, with 3 or 4 channels if in colour"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError("the array's values must lie in [0, 1]: divide by 255 if they are 0..255")
        array = np.floor(array * 255 + 0.5).astype(np.uint8)
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"the array holds {array.dtype}: give uint8, uint16, or floats in [0, 1]")
    top = np.iinfo(array.dtype).max
    if array.shape[2] == 3:
        array = np.concatenate([array, np.full((*array.shape[:2], 1), top, array.dtype)], axis=2)
    return Picture(pixels=array, has_alpha=bool(array[..., 3].min() < top), mode="array")


def visible_picture(image: PictureLike) -> Picture:
    """:func:`picture_from` for a picture that is to be taken apart; raises InputError where nothing of it is visible."""
    picture = picture_from(image)
    if not picture.pixels[..., 3].any():
        name = picture.path or "the picture"
        raise InputError(
            f"{name} is fully transparent: there is nothing to take apart, give a picture with content"
        )
    return picture


def _closest(documents: Sequence[LayeredImage], picture: Picture) -> int:
    """Which of the stacks is nearest to the picture at the stacks' size, by squared error of premultiplied values."""
    if len(documents) == 1:
        return 0
    target = to_float(resize(picture.pixels, (documents[0].width, documents[0].height)))

    def error(document: LayeredImage) -> float:
        shown = to_float(np.asarray(document.flatten()))
        colour = shown[..., :3] * shown[..., 3:] - target[..., :3] * target[..., 3:]
        return float(np.square(colour).sum() + np.square(shown[..., 3] - target[..., 3]).sum())

    return int(np.argmin([error(document) for document in documents]))


def _with_whole_objects(document: LayeredImage, picture: Picture, size: str) -> LayeredImage:
    """Objects are put together on a larger copy where the picture has more to say than the model saw: edges get finer."""
    height, width = picture.pixels.shape[:2]
    scale = min(1.0, WHOLE_SIDE / max(height, width))
    wide, tall = max(1, round(scale * width)), max(1, round(scale * height))
    if size == "model" or wide <= document.width or tall <= document.height:
        wide, tall = document.width, document.height
    shown = picture.pixels if (tall, wide) == (height, width) else resize(picture.pixels, (wide, tall))
    if (wide, tall) != (document.width, document.height):
        document = upsample_layers(document, shown)
    return keep_objects_whole(document, shown)


def matched(
    document: LayeredImage, picture: Picture, size: str, phases: Phases
) -> tuple[LayeredImage, dict[str, Any]]:
    """The layers of ``picture`` at its own size, or at the model's, so that they flatten to it within 1/255; and what
    that took. Layers above the lowest are cut to their visible pixels."""
    target = picture.pixels
    document = document.replace(dpi=picture.dpi, depth=16 if target.dtype == np.uint16 else 8)
    if size == "native":
        with phases.during("upsample"):
            document = upsample_layers(document, target)
    elif target.shape[:2] != (document.height, document.width):
        target = resize(target, (document.width, document.height))
    with phases.during("recompose"):
        document, report = recompose(document, target)
        for index in range(1, len(document.layers)):
            document = trim(document, f"#{index}")
    return document, recomposition_facts(report)


def check_size(size: str) -> None:
    """Raises InputError for a size of results that does not exist."""
    if size not in ("native", "model"):
        raise InputError(f"the size must be 'native' or 'model', not {size!r}")


def check_tries(best_of: int) -> int:
    """The number as a plain int. Raises InputError for a number of tries that cannot be."""
    tries = whole(best_of)
    if tries is None or not 1 <= tries <= MAX_TRIES:
        raise InputError(f"best_of must lie between 1 and {MAX_TRIES} tries, not {best_of!r}")
    return tries


def check_layer_prompts(given: Sequence[str | None], layers: int) -> list[str | None] | None:
    """The prompts of layers without blanks, None where there are none. Raises InputError for too many and for what is no
    text."""
    if isinstance(given, str) or not all(text is None or isinstance(text, str) for text in given):
        raise InputError(
            "layer prompts are a list with a text, or None, for each layer from the background up"
        )
    if len(given) > layers:
        raise InputError(
            f"{len(given)} layers are described, but only {layers} are made: ask for {len(given)}"
        )
    for text in given:
        if text is not None:
            check_text("layer prompt", text)
    described = [text.strip() or None if text else None for text in given]
    return described if any(described) else None
