"""Layers to start from, in whatever form a caller has them, as frames at the working size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import torch

from ..errors import InputError
from ..layers.document import Layer, LayeredImage
from .images import ImageLike, fit_to, read_images, to_tensor

LayersLike: TypeAlias = LayeredImage | Sequence[ImageLike]


def per_input(given: LayersLike | Sequence[LayersLike], inputs: int) -> list[LayersLike]:
    """One set of layers per input: a single set serves all. Raises InputError when counts do not match."""
    many = not isinstance(given, LayeredImage) and all(
        isinstance(one, LayeredImage | list | tuple) for one in given
    )
    sets = cast("list[LayersLike]", list(cast("Sequence[LayersLike]", given)) if many else [given] * inputs)
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
        arrays = [given.with_layers((node.replace(visible=True),)).composite() for node in given.layers]
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
