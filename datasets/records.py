"""The training record: a picture, its layers, and what each of them is called.

One form for everything that can be learned from: procedural scenes, PSD and OpenRaster files, published data sets. A
record holds pixels and words; how many are kept in a file is the business of ``shards.py``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..layers.composite import flatten_array, quantise
from ..layers.document import MAX_NAME_LENGTH, Box, Layer, LayeredImage, Provenance

if TYPE_CHECKING:
    from .render import RenderedBatch
    from .scenes import Scene

MAX_CAPTION = 10_000
"""Characters of a caption."""
GREY = 128
"""The level that CLD and ART put behind a layer where a network wants three channels."""


def _checked(pixels: Any, what: str) -> np.ndarray:
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 4
    ):
        shape = getattr(pixels, "shape", None)
        raise InputError(
            f"{what} must be uint8 pixels of H x W x 4, not {getattr(pixels, 'dtype', type(pixels))} {shape}"
        )
    view = pixels.view()
    view.flags.writeable = False
    return view


def _check_caption(caption: Any, what: str) -> None:
    if not isinstance(caption, str) or len(caption) > MAX_CAPTION:
        raise InputError(f"the caption of {what} must be a text of at most {MAX_CAPTION} characters")


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordLayer:
    """``rgba``: (h, w, 4) uint8, straight; ``box``: where it lies on the canvas, of its own size; ``z``: its rank from the
    bottom. The caption may be empty."""

    rgba: np.ndarray
    box: Box
    caption: str = ""
    z: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rgba", _checked(self.rgba, f"layer {self.z}"))
        _check_caption(self.caption, f"layer {self.z}")
        x0, y0, x1, y1 = self.box
        if self.rgba.shape[:2] != (y1 - y0, x1 - x0):
            raise InputError(
                f"layer {self.z}: its box {self.box} does not fit its {self.rgba.shape[1]} x {self.rgba.shape[0]} pixels"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """``canvas``: (width, height). ``layers``: bottom to top. ``merged``: the picture they make, (H, W, 4) uint8, straight;
    made from the layers when not given. ``source``: JSON-able facts about where it came from."""

    caption: str
    canvas: tuple[int, int]
    layers: tuple[RecordLayer, ...]
    merged: np.ndarray = None  # type: ignore[assignment]
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width, height = self.canvas
        _check_caption(self.caption, "a record")
        for rank, layer in enumerate(self.layers):
            x0, y0, x1, y1 = layer.box
            if layer.z != rank:
                raise InputError(
                    f"the layers of a record count 0, 1, 2 ... from the bottom, but z is {layer.z} at {rank}"
                )
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                raise InputError(
                    f"layer {rank}: its box {layer.box} leaves the canvas of {width} x {height} pixels"
                )
        try:
            json.dumps(self.source, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the source of a record must be storable as JSON: {error}") from None
        merged = self.recomposed() if self.merged is None else _checked(self.merged, "the merged picture")
        if merged.shape[:2] != (height, width):
            raise InputError(
                f"the merged picture is {merged.shape[1]} x {merged.shape[0]} pixels, the canvas {width} x {height}"
            )
        object.__setattr__(self, "merged", merged)

    def recomposed(self) -> np.ndarray:
        """The layers as one picture, (H, W, 4) uint8, straight; colour is 0 where nothing lies."""
        return flatten_array(self.to_document(), 8)

    def error(self) -> int:
        """The largest difference of ``merged`` and the layers' picture in levels of 255, premultiplied."""
        difference = premultiplied(self.merged) - premultiplied(self.recomposed())
        return int(np.abs(difference).max(initial=0) + 0.5)

    def stack(self) -> np.ndarray:
        """All layers at their place, (N, H, W, 4) uint8, straight; copied, never blended, so alpha stays what it is."""
        width, height = self.canvas
        full = np.zeros((len(self.layers), height, width, 4), np.uint8)
        for canvas, layer in zip(full, self.layers, strict=True):
            x0, y0, x1, y1 = layer.box
            canvas[y0:y1, x0:x1] = layer.rgba
        return full

    def to_document(self) -> LayeredImage:
        """A document of the same layers, named by their captions, to be looked at or saved."""
        layers = tuple(
            Layer(
                pixels=layer.rgba,
                name=layer.caption.strip()[:MAX_NAME_LENGTH] or f"Layer {layer.z}",
                offset=layer.box[:2],
                provenance=Provenance(prompt=layer.caption or None, box=layer.box),
            )
            for layer in self.layers
        )
        metadata = {"prompt": self.caption, "source": self.source}
        return LayeredImage(width=self.canvas[0], height=self.canvas[1], layers=layers, metadata=metadata)


def premultiplied(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 straight as float32 levels 0..255 with colour times alpha: what two pictures are compared by."""
    result = pixels.astype(np.float32)
    result[..., :3] *= result[..., 3:] / 255
    return result


def on_grey(pixels: np.ndarray, level: int = GREY) -> np.ndarray:
    """(..., 4) uint8 straight over an even grey: (..., 3) uint8, rounded half up."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return (pixels[..., :3] * alpha + level * (1 - alpha) + 0.5).astype(np.uint8)


def visible_box(pixels: np.ndarray) -> Box | None:
    """The smallest box around the pixels of (H, W, 4) whose alpha is not 0; None when there are none."""
    rows, columns = np.flatnonzero(pixels[..., 3].any(1)), np.flatnonzero(pixels[..., 3].any(0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def scene_record(
    scene: Scene, rendered: RenderedBatch, index: int, source: dict[str, Any] | None = None
) -> Record:
    """The record of scene ``index`` of a rendered batch: objects cut to their alpha, faintest shadow included."""
    count = rendered.counts[index]
    stack = quantise(rendered.layers[index, :count].movedim(1, -1).cpu().numpy(), 8)
    height, width = stack.shape[1:3]
    layers: list[RecordLayer] = []
    for pixels, caption in zip(stack, scene.layer_captions, strict=True):
        box = visible_box(pixels)
        if box is None:  # an object that lies outside the canvas
            continue
        x0, y0, x1, y1 = box
        layers.append(RecordLayer(rgba=pixels[y0:y1, x0:x1].copy(), box=box, caption=caption, z=len(layers)))
    return Record(caption=scene.caption, canvas=(width, height), layers=tuple(layers), source=source or {})
