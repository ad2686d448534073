"""Edits of colours: recolour, defringe, pad. Alpha is never changed."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ...errors import InputError
from .. import edges
from ..blend import BlendMode, blend
from ..composite import to_float
from ..document import Group, LayeredImage, Node
from ..resample import like
from .properties import changed

Colour = tuple[int, int, int]


def parse_colour(colour: str | Colour) -> Colour:
    """A colour as three numbers 0..255, from "#rrggbb", "#rgb" or such a triple; InputError otherwise."""
    if isinstance(colour, str):
        digits = colour.strip().lstrip("#")
        if re.fullmatch(r"[0-9a-fA-F]{3}", digits):
            digits = "".join(2 * digit for digit in digits)
        if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
            raise InputError(f"A colour is written #rrggbb, for example #ff8800, not {colour!r}.")
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if len(colour) != 3 or any(not 0 <= value <= 255 for value in colour):
        raise InputError(f"A colour is three numbers from 0 to 255 (red, green, blue), not {colour!r}.")
    return int(colour[0]), int(colour[1]), int(colour[2])


def _each_layer(node: Node, change: Callable[[np.ndarray], np.ndarray]) -> Node:
    if isinstance(node, Group):
        return node.replace(layers=tuple(_each_layer(child, change) for child in node.layers))
    return node.replace(pixels=change(node.pixels))


def recolour(doc: LayeredImage, selector: str, colour: str | Colour, amount: float = 1.0) -> LayeredImage:
    """Give a node's pixels the hue and saturation of a colour; their luminosity (the shading) stays.

    ``amount`` in [0, 1]: how far to go.
    """
    if not 0 <= amount <= 1:
        raise InputError(f"The amount of recolouring must lie in [0, 1], not {amount}.")
    wanted = np.asarray(parse_colour(colour), np.float32) / 255

    def change(pixels: np.ndarray) -> np.ndarray:
        before = to_float(pixels[..., :3])
        after = blend(BlendMode.COLOR, before, np.broadcast_to(wanted, before.shape))
        result = np.array(pixels)
        result[..., :3] = like(before + np.float32(amount) * (after - before), pixels.dtype)
        return result

    return changed(doc, selector, lambda node: (_each_layer(node, change),))


def defringe(doc: LayeredImage, selector: str, radius: float = 4.0) -> LayeredImage:
    """Give soft edge pixels the colour of the nearest solid pixel within ``radius``; see
    ``edges.defringe``."""
    return changed(doc, selector, lambda node: (_each_layer(node, lambda p: edges.defringe(p, radius)),))


def pad(doc: LayeredImage, selector: str) -> LayeredImage:
    """Fill the colours under alpha 0 from their surroundings; see ``edges.pad_colours``."""
    return changed(doc, selector, lambda node: (_each_layer(node, edges.pad_colours),))
