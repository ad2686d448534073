"""Blend modes: how the colour of a layer and the colour beneath it make a new colour.

Every function here is pure arithmetic on straight float32 colours in [0, 1], in the gamma-encoded values of
the document (as Photoshop, GIMP and Krita blend). This module knows nothing of alpha, layers, groups or
files; coverage is the business of ``composite.py``.

Formulas: W3C *Compositing and Blending Level 1*, sections 9.1.1 (separable) and 9.1.3 (non-separable, with
the PSD luminosity weights .3 .59 .11), and for the modes W3C does not list the formulas PSD readers agree
on. Soft light is the W3C one. In vivid light the extreme source wins whatever the backdrop, unlike plain
dodge and burn.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from ..errors import InputError

Array = np.ndarray

LUMINOSITY_WEIGHTS = (0.3, 0.59, 0.11)
"""Red, green and blue weights of luminosity in the PSD and PDF blend modes."""


class BlendMode(StrEnum):
    """The blend modes of a layer; the value is the word used in files, the command line and the manifest."""

    NORMAL = "normal"
    DISSOLVE = "dissolve"
    DARKEN = "darken"
    MULTIPLY = "multiply"
    COLOR_BURN = "color-burn"
    LINEAR_BURN = "linear-burn"
    DARKER_COLOR = "darker-color"
    LIGHTEN = "lighten"
    SCREEN = "screen"
    COLOR_DODGE = "color-dodge"
    LINEAR_DODGE = "linear-dodge"
    LIGHTER_COLOR = "lighter-color"
    OVERLAY = "overlay"
    SOFT_LIGHT = "soft-light"
    HARD_LIGHT = "hard-light"
    VIVID_LIGHT = "vivid-light"
    LINEAR_LIGHT = "linear-light"
    PIN_LIGHT = "pin-light"
    HARD_MIX = "hard-mix"
    DIFFERENCE = "difference"
    EXCLUSION = "exclusion"
    SUBTRACT = "subtract"
    DIVIDE = "divide"
    HUE = "hue"
    SATURATION = "saturation"
    COLOR = "color"
    LUMINOSITY = "luminosity"
    PASS_THROUGH = "pass-through"
    """Groups only: the children are composited straight onto what lies beneath the group."""

    @classmethod
    def parse(cls, text: str | BlendMode) -> BlendMode:
        """The mode of that name; blanks and underscores count as '-'. Raises InputError with the known
        names."""
        word = str(text).strip().lower().replace("_", "-").replace(" ", "-")
        try:
            return cls(word)
        except ValueError:
            known = ", ".join(mode.value for mode in cls)
            raise InputError(f"Unknown blend mode {str(text)!r}; use one of: {known}.") from None


def _divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator clipped to [0, 1]; where the denominator is 0 the result is 1."""
    zero = denominator <= 0
    quotient = numerator / np.where(zero, np.float32(1), denominator)
    return np.where(zero, np.float32(1), np.minimum(quotient, np.float32(1)))


# Separable modes: cb is the backdrop, cs the source; any equal (or broadcastable) shapes.
def normal(cb: Array, cs: Array) -> Array:
    return np.broadcast_to(cs, np.broadcast_shapes(cb.shape, cs.shape))


def darken(cb: Array, cs: Array) -> Array:
    return np.minimum(cb, cs)


def multiply(cb: Array, cs: Array) -> Array:
    return cb * cs


def color_burn(cb: Array, cs: Array) -> Array:
    # W3C: a white backdrop stays white even under black.
    return np.where(cb >= 1, np.float32(1), 1 - _divide(1 - cb, cs))


def linear_burn(cb: Array, cs: Array) -> Array:
    return np.maximum(cb + cs - 1, np.float32(0))


def lighten(cb: Array, cs: Array) -> Array:
    return np.maximum(cb, cs)


def screen(cb: Array, cs: Array) -> Array:
    return cb + cs - cb * cs


def color_dodge(cb: Array, cs: Array) -> Array:
    # W3C: a black backdrop stays black even under white.
    return np.where(cb <= 0, np.float32(0), _divide(cb, 1 - cs))


def linear_dodge(cb: Array, cs: Array) -> Array:
    return np.minimum(cb + cs, np.float32(1))


def hard_light(cb: Array, cs: Array) -> Array:
    double = 2 * cs
    return np.where(cs <= 0.5, cb * double, screen(cb, double - 1))


def overlay(cb: Array, cs: Array) -> Array:
    return hard_light(cs, cb)


def soft_light(cb: Array, cs: Array) -> Array:
    dark = cb - (1 - 2 * cs) * cb * (1 - cb)
    root = np.where(cb <= 0.25, ((16 * cb - 12) * cb + 4) * cb, np.sqrt(cb))
    return np.where(cs <= 0.5, dark, cb + (2 * cs - 1) * (root - cb))


def vivid_light(cb: Array, cs: Array) -> Array:
    burn = 1 - _divide(1 - cb, 2 * cs)
    dodge = _divide(cb, 2 * (1 - cs))
    return np.where(cs <= 0.5, burn, dodge)


def linear_light(cb: Array, cs: Array) -> Array:
    return np.clip(cb + 2 * cs - 1, np.float32(0), np.float32(1))


def pin_light(cb: Array, cs: Array) -> Array:
    double = 2 * cs
    return np.where(cs <= 0.5, np.minimum(cb, double), np.maximum(cb, double - 1))


def hard_mix(cb: Array, cs: Array) -> Array:
    # On the line cb + cs = 1 the brighter backdrop decides.
    total = cb + cs
    return ((total > 1) | ((total == 1) & (cb > 0.5))).astype(np.float32)


def difference(cb: Array, cs: Array) -> Array:
    return np.abs(cb - cs)


def exclusion(cb: Array, cs: Array) -> Array:
    return cb + cs - 2 * cb * cs


def subtract(cb: Array, cs: Array) -> Array:
    return np.maximum(cb - cs, np.float32(0))


def divide(cb: Array, cs: Array) -> Array:
    # 0 / 0 is black, as in the PSD readers: nothing divided stays nothing.
    return np.where(cb <= 0, np.float32(0), _divide(cb, cs))


# Non-separable modes: the colour axis comes first (3, ...), so that planes are contiguous.
def _luminosity(c: Array) -> Array:
    red, green, blue = (np.float32(weight) for weight in LUMINOSITY_WEIGHTS)
    return red * c[0] + green * c[1] + blue * c[2]


def _saturation(c: Array) -> Array:
    return c.max(axis=0) - c.min(axis=0)


def _clip_color(c: Array) -> Array:
    """W3C ClipColor: move towards the luminosity until every channel lies in [0, 1]."""
    light, low, high = _luminosity(c), c.min(axis=0), c.max(axis=0)
    one = np.float32(1)
    c = np.where(low < 0, light + (c - light) * (light / np.where(low < 0, light - low, one)), c)
    scale = (1 - light) / np.where(high > 1, high - light, one)
    c = np.where(high > 1, light + (c - light) * scale, c)
    return np.clip(c, np.float32(0), one)


def _set_luminosity(c: Array, light: Array) -> Array:
    return _clip_color(c + (light - _luminosity(c)))


def _set_saturation(c: Array, saturation: Array) -> Array:
    """W3C SetSat without sorting: stretch (c - min) so that max - min becomes the asked saturation."""
    low = c.min(axis=0)
    spread = c.max(axis=0) - low
    flat = spread <= 0
    return np.where(flat, np.float32(0), (c - low) * (saturation / np.where(flat, np.float32(1), spread)))


def hue(cb: Array, cs: Array) -> Array:
    return _set_luminosity(_set_saturation(cs, _saturation(cb)), _luminosity(cb))


def saturation(cb: Array, cs: Array) -> Array:
    return _set_luminosity(_set_saturation(cb, _saturation(cs)), _luminosity(cb))


def color(cb: Array, cs: Array) -> Array:
    return _set_luminosity(cs, _luminosity(cb))


def luminosity(cb: Array, cs: Array) -> Array:
    return _set_luminosity(cb, _luminosity(cs))


def darker_color(cb: Array, cs: Array) -> Array:
    return np.where(_luminosity(cs) < _luminosity(cb), cs, cb)


def lighter_color(cb: Array, cs: Array) -> Array:
    return np.where(_luminosity(cs) > _luminosity(cb), cs, cb)


SEPARABLE: dict[BlendMode, Callable[[Array, Array], Array]] = {
    BlendMode.NORMAL: normal, BlendMode.DISSOLVE: normal, BlendMode.DARKEN: darken, BlendMode.MULTIPLY: multiply,
    BlendMode.COLOR_BURN: color_burn, BlendMode.LINEAR_BURN: linear_burn, BlendMode.LIGHTEN: lighten,
    BlendMode.SCREEN: screen, BlendMode.COLOR_DODGE: color_dodge, BlendMode.LINEAR_DODGE: linear_dodge,
    BlendMode.OVERLAY: overlay, BlendMode.SOFT_LIGHT: soft_light, BlendMode.HARD_LIGHT: hard_light,
    BlendMode.VIVID_LIGHT: vivid_light, BlendMode.LINEAR_LIGHT: linear_light, BlendMode.PIN_LIGHT: pin_light,
    BlendMode.HARD_MIX: hard_mix, BlendMode.DIFFERENCE: difference, BlendMode.EXCLUSION: exclusion,
    BlendMode.SUBTRACT: subtract, BlendMode.DIVIDE: divide,
}  # fmt: skip
"""Modes that treat each channel by itself (dissolve changes coverage only, its colour is the normal one)."""

NON_SEPARABLE: dict[BlendMode, Callable[[Array, Array], Array]] = {
    BlendMode.HUE: hue, BlendMode.SATURATION: saturation, BlendMode.COLOR: color, BlendMode.LUMINOSITY: luminosity,
    BlendMode.DARKER_COLOR: darker_color, BlendMode.LIGHTER_COLOR: lighter_color,
}  # fmt: skip
"""Modes that look at the three channels together."""


def blend(mode: BlendMode, backdrop: Array, source: Array, *, axis: int = -1) -> Array:
    """B(backdrop, source) of W3C section 9: the mixed straight colour where both are fully there.

    ``backdrop`` and ``source``: float32 in [0, 1] of one shape, with the three colours along ``axis``.
    Returns float32 of that shape in [0, 1]. Raises InputError for PASS_THROUGH, which is a property of
    groups and has no colour.
    """
    if mode in SEPARABLE:
        return SEPARABLE[mode](backdrop, source).astype(np.float32, copy=False)
    if mode not in NON_SEPARABLE:
        raise InputError(
            f"The blend mode {mode.value!r} is for groups and mixes no colours; choose another mode."
        )
    planes = NON_SEPARABLE[mode](np.moveaxis(backdrop, axis, 0), np.moveaxis(source, axis, 0))
    return np.moveaxis(planes, 0, axis).astype(np.float32, copy=False)


def dissolve_threshold(x: int, y: int, width: int, height: int) -> Array:
    """Thresholds in (0, 1) for dissolve, (height, width) float32: a pixel is drawn where its alpha reaches
    them.

    A fixed integer hash of the canvas coordinates, so the same document dissolves the same way on every
    machine, in every tile size, every time.
    """
    xs = np.arange(x, x + width, dtype=np.int64).astype(np.uint32)
    ys = np.arange(y, y + height, dtype=np.int64).astype(np.uint32)
    value = (xs * np.uint32(0x9E3779B1))[None, :] ^ (ys * np.uint32(0x85EBCA77))[:, None]
    for multiplier in (np.uint32(0x7FEB352D), np.uint32(0x846CA68B)):
        value ^= value >> np.uint32(16)
        value = value * multiplier
    value ^= value >> np.uint32(16)
    return ((value >> np.uint32(8)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-24)
