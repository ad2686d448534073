"""Scenes as arrays: what a renderer needs to know of many scenes, in a few small arrays that travel to a device at once.

Packing is the only loop over scenes; a worker process can do it ahead, so that the process that owns the GPU does not.
Numbers are those of the scene in float32. This module knows nothing of tensors or canvas sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .scenes import BACKGROUNDS, Placed, Scene

NOISE_OCTAVES = {"clouds": 2, "texture": 4}
"""Kinds of background made of noise, and how many grids of 3, 6, 12, 24 cells they add up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedScenes:
    """M objects of B scenes, in scene order and bottom to top; all arrays float32 unless said otherwise.

    ``counts``: layers of each scene, background included. ``owner`` (M, 2) int64: scene and layer of each object.
    ``sprite`` (M,) int64. ``place`` (M, 6): centre x, y, size, cos, sin, -1 if mirrored else 1. ``paint`` (M, 4): RGB
    factor and opacity. ``drop`` (M, 4): dx, dy, sigma, strength (0: none). ``rim`` (M, 4): RGB and width (0: none).
    ``ground`` (M,), ``contact`` (M, 3),
    ``reflection`` (M, 3), ``glow`` (M, 5) as in :class:`~acetate.datasets.effects.Effects`, strength 0: none.
    ``colours`` (B, 2, 3), ``angle`` and ``frequency`` (B,) float64 of the backgrounds; ``vignette`` (B, 2): strength (0:
    none) and power; ``kinds``: scenes by kind of background; ``noise``: per kind, the coarse grids of its scenes, one
    (n, side, side) an octave.
    """

    counts: tuple[int, ...]
    owner: np.ndarray
    sprite: np.ndarray
    place: np.ndarray
    paint: np.ndarray
    drop: np.ndarray
    rim: np.ndarray
    ground: np.ndarray
    contact: np.ndarray
    reflection: np.ndarray
    glow: np.ndarray
    colours: np.ndarray
    angle: np.ndarray
    frequency: np.ndarray
    vignette: np.ndarray
    kinds: dict[str, np.ndarray]
    noise: dict[str, list[np.ndarray]]

    def __len__(self) -> int:
        return len(self.counts)


def _row(o: Placed) -> tuple[float, ...]:
    place = (*o.centre, o.size, np.cos(o.angle), np.sin(o.angle), -1.0 if o.flip else 1.0)
    row = (
        *place,
        *(o.tint or o.gain),
        o.opacity,
        *(o.shadow or (0.0, 0.0, 0.01, 0.0)),
        *(o.rim or (0.0, 0.0, 0.0, 0.0)),
    )
    e = o.effects
    if e is None:
        return (*row, *_NO_EFFECTS)
    contact, reflection, glow = (
        e.contact or (0.0, 0.1, 0.01),
        e.reflection or (0.0, 0.1, 0.0),
        e.glow or (0.0, 0.0, 0.0, 0.01, 0.0),
    )
    return (*row, e.ground, *contact, *reflection, *glow)


_NO_EFFECTS = (0.5, 0.0, 0.1, 0.01, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0)
_ENDS = np.cumsum([6, 4, 4, 4, 1, 3, 3, 5])
_WIDTH = int(_ENDS[-1])


def pack(scenes: Sequence[Scene]) -> PackedScenes:
    """The scenes as arrays; see :class:`PackedScenes`."""
    rows = [_row(o) for s in scenes for o in s.objects]
    table = np.array(rows, np.float32).reshape(len(rows), _WIDTH)
    place, paint, drop, rim, ground, contact, reflection, glow = np.split(table, _ENDS[:-1], axis=1)
    backgrounds = [s.background for s in scenes]
    named = np.array([BACKGROUNDS.index(b.kind) for b in backgrounds])
    kinds = {kind: np.flatnonzero(named == k) for k, kind in enumerate(BACKGROUNDS) if (named == k).any()}
    return PackedScenes(
        counts=tuple(len(s.objects) + 1 for s in scenes),
        owner=np.array([(b, i + 1) for b, s in enumerate(scenes) for i in range(len(s.objects))], np.int64).reshape(-1, 2),
        sprite=np.array([o.sprite for s in scenes for o in s.objects], np.int64),
        place=place,
        paint=paint,
        drop=drop,
        rim=rim,
        ground=ground[:, 0],
        contact=contact,
        reflection=reflection,
        glow=glow,
        colours=np.array([b.colours for b in backgrounds], np.float32),
        angle=np.array([b.angle for b in backgrounds], np.float64),
        frequency=np.array([b.frequency for b in backgrounds], np.float64),
        vignette=np.array([b.vignette or (0.0, 1.0) for b in backgrounds], np.float32),
        kinds=kinds,
        noise={kind: _noise([backgrounds[i].noise_seed for i in kinds[kind]], octaves)
               for kind, octaves in NOISE_OCTAVES.items() if kind in kinds},
    )  # fmt: skip


def _noise(seeds: list[int], octaves: int) -> list[np.ndarray]:
    """Coarse grids from each scene's own seed, drawn on the CPU so that devices agree."""
    grids: list[list[np.ndarray]] = [[] for _ in range(octaves)]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for octave in range(octaves):
            side = 3 * 2**octave
            grids[octave].append(rng.random((side, side), dtype=np.float32))
    return [np.stack(octave) for octave in grids]
