"""Effects that belong to an object's layer: what it casts on the ground and the light around it.

LayerDecomp (arXiv 2411.17864) and LASAGNA (arXiv 2601.15507) put an object's shadow and reflection into the alpha of
its own layer, so that moving the layer moves them too. They take them from photographs and networks; here they are
drawn: a contact shadow is the object's silhouette squashed about the line it stands on and blurred, black at low
alpha; a reflection is the object mirrored in that line, fading; a glow is a coloured, blurred silhouette. This module
holds their numbers and draws nothing: ``shading.py`` does with torch, ``render_reference.py`` without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DROP_SIGMA, CONTACT_SIGMA, GLOW_SIGMA, RIM_SIGMA = 0.03, 0.02, 0.06, 0.0125
"""The largest blur of each effect, as a fraction of the canvas's shorter side: it sets how far a kernel reaches."""
RIM_WIDTH = (0.008, 2 * RIM_SIGMA)
"""Narrowest and widest sticker rim, as fractions of the canvas's shorter side."""
RIM_PER_SIGMA, RIM_LEAST = 2.0, 0.5
"""A rim is a blurred silhouette cut off where a straight edge has faded for its width. The width over the blur's sigma, and
the least sigma in pixels."""
WHITE = (0.97, 0.97, 0.96)
SOLID = 128
"""Level of alpha, out of 255, from which a sprite's pixel can touch the ground."""


def blur_radius(largest_sigma: float, short: int) -> int:
    """Reach of a blur in pixels, on a canvas whose shorter side is ``short``: 2.5 sigma and one more."""
    return int(largest_sigma * short * 2.5) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Effects:
    """Lengths are fractions of the canvas's shorter side unless said otherwise.

    ``ground``: how far below its centre the object ends, in units of its own size. ``contact``: strength, squash (height
    of the shadow over height of the object), blur sigma. ``reflection``: strength at the ground, length of the fade, gap
    below the ground. ``glow``: red, green, blue in [0,1], blur sigma, strength.
    """

    ground: float = 0.5
    contact: tuple[float, float, float] | None = None
    reflection: tuple[float, float, float] | None = None
    glow: tuple[float, float, float, float, float] | None = None


def ground_below(cell: np.ndarray, angle: float, flip: bool) -> float:
    """How far the solid part of a sprite, turned by ``angle`` radians, reaches below its centre.

    ``cell``: uint8 (S, S, 4), premultiplied. In units of the sprite's size; 0.5 for a sprite without a solid pixel.
    """
    rows, columns = np.nonzero(cell[..., 3] >= SOLID)
    if not rows.size:
        return 0.5
    side = cell.shape[0]
    across = (columns + 0.5) / side - 0.5
    down = (rows + 0.5) / side - 0.5
    return float((np.sin(angle) * (-across if flip else across) + np.cos(angle) * down).max() + 0.5 / side)


def draw_rim(
    rng: np.random.Generator, share: float, colour: tuple[float, float, float]
) -> tuple[float, float, float, float] | None:
    """A sticker rim with that share, RGB in [0,1] and width: white, or in three of ten cases of the ``colour``; or None.
    Every number is drawn whether it is used or not."""
    dice, white, u = rng.random(3).tolist()
    width = RIM_WIDTH[0] + u * (RIM_WIDTH[1] - RIM_WIDTH[0])
    return (*(WHITE if white < 0.7 else colour), width) if dice < share else None


def draw_effects(
    rng: np.random.Generator, shares: tuple[float, float, float], colour: tuple[float, float, float]
) -> Effects | None:
    """Effects with the given shares (contact shadow, reflection, glow), on the default ground; None when the dice say so.

    ``colour``: RGB in [0,1] of a glow. Every number is drawn whether it is used or not, so that a change of one share
    leaves the other effects of a scene as they were.
    """
    dice, u = rng.random(3).tolist(), rng.random(8).tolist()
    contact = (0.3 + 0.4 * u[0], 0.06 + 0.1 * u[1], CONTACT_SIGMA * (0.3 + 0.7 * u[2]))
    reflection = (0.2 + 0.35 * u[3], 0.1 + 0.25 * u[4], 0.012 * u[5])
    glow = (*colour, GLOW_SIGMA * (0.35 + 0.65 * u[6]), 0.45 + 0.5 * u[7])
    chosen = [d < share for d, share in zip(dice, shares, strict=True)]
    if not any(chosen):
        return None
    return Effects(
        contact=contact if chosen[0] else None,
        reflection=reflection if chosen[1] else None,
        glow=glow if chosen[2] else None,
    )
