"""Layers that exist, in whatever form a caller has them: to start from, or to be kept while others are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch

from ..errors import InputError
from ..layers.blend import BlendMode
from ..layers.composite import quantise, to_float
from ..layers.document import Layer, LayeredImage, Node
from .images import ImageLike, fit_to, read_images, to_tensor

LayersLike: TypeAlias = LayeredImage | Sequence[ImageLike]
IncompleteLayers: TypeAlias = LayeredImage | Sequence[ImageLike | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenStack:
    """A stack of which some layers exist. ``nodes``: one per layer, bottom to top, None where it is to be made.
    ``document``: the canvas that the others lie on, with everything else that the result takes over."""

    document: LayeredImage
    nodes: tuple[Node | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the canvas."""
        return self.document.width, self.document.height

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which layers are given, counted from 1."""
        return tuple(number for number, node in enumerate(self.nodes, start=1) if node is not None)

    def pixels(self, number: int) -> np.ndarray:
        """float32 H x W x 4 in [0, 1]: given layer ``number`` over the canvas, drawn with its opacity, masks and children;
        a plain layer of the canvas' size as it is, whatever its colours where it is transparent."""
        node = self.nodes[number - 1]
        assert node is not None
        if isinstance(node, Layer) and _fills(node, self.document):
            return to_float(node.pixels)
        return _drawn(self.document, node)

    def working_pictures(self, width: int, height: int) -> tuple[np.ndarray, ...]:
        """The given layers, bottom to top, as the model sees them: float32 ``height`` x ``width`` x 4."""
        return tuple(fit_to(self.pixels(number), width, height) for number in self.numbers)


def as_sets(given: IncompleteLayers | Sequence[IncompleteLayers]) -> list[IncompleteLayers]:
    """A single set of layers, or many, as a list of sets."""
    if isinstance(given, LayeredImage) or not given:
        return [cast("IncompleteLayers", given)]
    if not all(isinstance(one, LayeredImage | list | tuple) for one in given):
        return [cast("IncompleteLayers", given)]
    return list(cast("Sequence[IncompleteLayers]", given))


def read_stack(given: IncompleteLayers, missing: Sequence[int] | None) -> tuple[int, GivenStack | None]:
    """How many layers a set has, those to be made included, and those that are given; None where none are.

    A list says by None which are to be made. Each top-level node of a document is one layer; ``missing`` numbers, from 1,
    the layers that are made between and around them. Raises InputError for numbers that cannot be, for pictures of
    different sizes, and where nothing is missing.
    """
    if isinstance(given, LayeredImage):
        return _read_document(given, missing)
    if missing is not None:
        raise InputError("missing belongs to a document; in a list the layers to make are None.")
    if not given:
        raise InputError(
            "The list of layers is empty; give one entry per layer, None where it is to be made."
        )
    arrays = [None if one is None else read_images(one) for one in given]
    if any(one is not None and len(one) != 1 for one in arrays):
        raise InputError("Each given layer must be one picture; give one entry per layer.")
    nodes = tuple(None if one is None else Layer(pixels=_exact(one[0])) for one in arrays)
    known = [node for node in nodes if node is not None]
    if len(known) == len(nodes):
        raise InputError(
            "All layers are given, so there is nothing to make; put None where a layer is missing."
        )
    if not known:
        return len(nodes), None
    sizes = {(node.width, node.height) for node in known}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise InputError(f"The given layers have different sizes ({shown}); give pictures of one size.")
    named = [
        None if node is None else node.replace(name="Background" if place == 0 else f"Layer {place}", id="")
        for place, node in enumerate(nodes)
    ]
    deep = any(node.pixels.dtype != np.uint8 for node in known)
    document = LayeredImage(
        width=known[0].width,
        height=known[0].height,
        layers=tuple(node for node in named if node is not None),
        depth=16 if deep else 8,
    )
    return len(nodes), _placed(document, [node is None for node in named])


def _read_document(document: LayeredImage, missing: Sequence[int] | None) -> tuple[int, GivenStack | None]:
    if not missing:
        raise InputError("Say which layers of the result are missing: numbers from 1, the lowest layer.")
    count = len(document.layers) + len(missing)
    if len(set(missing)) < len(missing) or any(not 1 <= number <= count for number in missing):
        raise InputError(
            f"With {len(document.layers)} given layers and {len(missing)} missing ones the result has {count}; "
            f"the missing ones {list(missing)} must be different numbers from 1 to {count}."
        )
    return count, _placed(document, [number in missing for number in range(1, count + 1)])


def _placed(document: LayeredImage, missing: Sequence[bool]) -> GivenStack:
    nodes = iter(document.layers)
    return GivenStack(document=document, nodes=tuple(None if gap else next(nodes) for gap in missing))


def _fills(layer: Layer, document: LayeredImage) -> bool:
    plain = layer.opacity == 1.0 and layer.mask is None and layer.blend is BlendMode.NORMAL
    return plain and not layer.clipping and layer.box == document.box


def _exact(pixels: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] in the narrowest of 8 bits, 16 bits and float32 that holds their very values."""
    for depth in (8, 16):
        narrow = quantise(pixels, depth)
        if np.array_equal(to_float(narrow), pixels):
            return narrow
    return pixels


def _drawn(document: LayeredImage, node: Node) -> np.ndarray:
    """A node alone on the canvas, hidden or not, float32 H x W x 4."""
    return document.with_layers((node.replace(visible=True),)).composite()


def per_input(given: LayersLike | Sequence[LayersLike], inputs: int) -> list[LayersLike]:
    """One set of layers per input: a single set serves all. Raises InputError when counts do not match."""
    sets = cast("list[LayersLike]", as_sets(given))
    if len(sets) == 1 and sets[0] is given:
        sets = sets * inputs
    if len(sets) != inputs:
        raise InputError(
            f"{len(sets)} sets of init_layers were given for {inputs} inputs; give one or one for each."
        )
    return sets


def given_frames(
    given: LayersLike, layers: int, width: int, height: int, grid_width: int, grid_height: int
) -> torch.Tensor:
    """(layers + 1, 4, grid_height, grid_width) in [-1, 1]: the composite of the given layers, then each
    layer.

    Layers are resized to ``width`` x ``height``; the rest of the grid is empty. Each top-level node of a
    document is one layer, drawn with its opacity, masks and children. Raises InputError when their number
    is not ``layers``.
    """
    if isinstance(given, LayeredImage):
        arrays = [_drawn(given, node) for node in given.layers]
    else:
        arrays = [pixels for one in given for pixels in read_images(one)]
    if len(arrays) != layers:
        raise InputError(f"{len(arrays)} init_layers were given for {layers} layers; give one for each.")
    fitted = [fit_to(pixels, width, height) for pixels in arrays]
    stack = LayeredImage(width=width, height=height, layers=tuple(Layer(pixels=pixels) for pixels in fitted))
    frames = torch.full((layers + 1, 4, grid_height, grid_width), -1.0)
    for number, pixels in enumerate([stack.composite(), *fitted]):
        frames[number, :, :height, :width] = to_tensor(np.ascontiguousarray(pixels))
    return frames


def mask_planes(mask: ImageLike | Sequence[ImageLike], inputs: int) -> list[np.ndarray]:
    """One (H, W) float32 plane in [0, 1] per input: the mask's brightness, transparent parts black."""
    planes = [pixels[..., :3].mean(axis=-1) * pixels[..., 3] for pixels in read_images(mask)]
    if len(planes) == 1:
        return planes * inputs
    if len(planes) != inputs:
        raise InputError(f"{len(planes)} masks were given for {inputs} inputs; give one or one for each.")
    return planes
