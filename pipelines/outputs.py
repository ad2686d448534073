"""From decoded frames to what the caller asked for: documents, pictures, arrays, tensors or latents.

Knows pixels and names of layers; no networks, prompts' encodings or schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image

from ..errors import InputError
from ..layers.composite import quantise
from ..layers.document import Layer, LayeredImage, Node, Provenance
from .given import GivenStack
from .images import to_pixels
from .sizes import Box

OUTPUT_TYPES = ("document", "pil", "np", "pt", "latent")
MAX_NAME = 255


@dataclass
class LayersOutput(BaseOutput):
    """What a pipeline returns, one entry per result in the order of the inputs.

    ``documents``: layered documents at the model's working size (output types "document" and "pil").
    ``images``: the layers of each result, bottom to top: a list of RGBA pictures, or one array (L, H, W, 4)
    in [0, 1] for "np", one tensor (L, 4, H, W) in [0, 1] for "pt", one tensor (L, C, h, w) of normalised
    latents for "latent". ``composites``: the whole picture as the model redrew it (not a composite of the
    layers), in the same form; empty for tasks that redraw none.
    """

    images: list[Any] = field(default_factory=list)
    documents: list[LayeredImage] = field(default_factory=list)
    composites: list[Any] = field(default_factory=list)


def check_output_type(output_type: str) -> None:
    """Raises InputError for an output type that does not exist."""
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}; got {output_type!r}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One entry of a :class:`LayersOutput`."""

    images: Any
    composite: Any = None
    document: LayeredImage | None = None


def clear_outside(frames: torch.Tensor, box: Box | None) -> torch.Tensor:
    """(B, 4, H, W) in [-1, 1], fully transparent black outside the pixel box, exactly; None clears
    nothing."""
    if box is None:
        return frames
    x0, y0, x1, y1 = box
    cleared = torch.full_like(frames, -1.0)
    cleared[..., y0:y1, x0:x1] = frames[..., y0:y1, x0:x1]
    return cleared


def as_picture(frame: torch.Tensor) -> Image.Image:
    """(4, H, W) in [-1, 1] -> an 8-bit RGBA picture."""
    return Image.fromarray(quantise(to_pixels(frame), 8))


def as_output(frame: torch.Tensor, output_type: str) -> Any:
    """A frame (4, H, W) in [-1, 1] in the caller's form."""
    if output_type == "pt":
        return frame.float().div(2.0).add(0.5).clamp(0.0, 1.0)
    return to_pixels(frame) if output_type == "np" else as_picture(frame)


def given_output(pixels: np.ndarray, output_type: str) -> Any:
    """A given layer, float32 H x W x 4 in [0, 1], in the caller's form: the same values, unless that form has 8 bits."""
    if output_type == "pt":
        return torch.from_numpy(pixels.copy()).movedim(-1, 0)
    return pixels if output_type == "np" else Image.fromarray(quantise(pixels, 8))


def joined(layers: Sequence[Any], output_type: str) -> Any:
    """The layers of one result, bottom to top, as one array, one tensor or a list of pictures."""
    if output_type in ("pt", "latent"):
        return torch.stack(list(layers))
    return np.stack(layers) if output_type == "np" else list(layers)


def layer_name(number: int, prompt: str | None) -> str:
    """The layer's prompt where it has one, else Background for 0 and Layer 1, Layer 2, ... above it."""
    if prompt and prompt.strip():
        return " ".join(prompt.split())[:MAX_NAME]
    return "Background" if number == 0 else f"Layer {number}"


def make_document(
    pictures: Sequence[Image.Image],
    *,
    layer_prompts: Sequence[str | None],
    boxes: Sequence[Box | None] | None,
    seed: int | None,
    model: str | None,
    revision: str | None,
    metadata: dict[str, Any],
    given: GivenStack | None = None,
    lowest: int = 0,
) -> LayeredImage:
    """A document of full-canvas pictures, bottom to top; a layer with a box is stored cropped to it, in
    place. ``given``: layers that are taken over as they are, and the document they come from. ``lowest``:
    what the bottom layer is called by number, 0 the background, 1 an object."""
    layers: list[Node] = []
    for number, picture in enumerate(pictures):
        node = None if given is None else given.nodes[number]
        if node is not None:
            layers.append(node)
            continue
        prompt = layer_prompts[number] if number < len(layer_prompts) else None
        box = boxes[number] if boxes is not None else None
        pixels = np.asarray(picture)
        offset = (0, 0)
        if box is not None:
            x0, y0, x1, y1 = box
            pixels, offset = np.ascontiguousarray(pixels[y0:y1, x0:x1]), (x0, y0)
        provenance = Provenance(
            prompt=prompt,
            box=box,
            seed=seed,
            model=model,
            revision=revision,
            role="background" if number + lowest == 0 else "layer",
        )
        name = layer_name(number + lowest, prompt)
        layers.append(Layer(pixels=pixels, name=name, offset=offset, provenance=provenance))
    if given is not None:
        return given.document.replace(layers=tuple(layers), metadata=metadata)
    width, height = pictures[0].size
    return LayeredImage(width=width, height=height, layers=tuple(layers), metadata=metadata)
