"""Which background does a layer show? Nearest neighbour over drawn backgrounds of every kind and every pair of colours.

Sprite retrieval cannot judge a background, so this one does: a layer is described by its mean colour, the spread of its
colours and the pattern of its contrast (all blind to place, angle and frequency as far as captions are), and gets the
caption of the nearest of a few thousand drawn ones. Which colour is named first is not judged. No learned features; how
often true backgrounds are recognised is part of the bench. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
from PIL import Image

from ..datasets.scenes import BACKGROUNDS, COLOUR_NAMES, COLOURS, Background, Scene
from ..layers.composite import to_depth

SIDE = 32
"""Pixels along the side at which backgrounds are compared."""
DRAWN = 5
"""Backgrounds drawn for every kind and pair of colours."""
JITTER = 0.03
"""How far, as a standard deviation, scenes move a named colour."""
COLOUR_WEIGHT = 5.0
"""Weight of colours against patterns."""
FLAT = 0.02
"""Spread of colour below which there is no pattern."""
BANDS = (0, 1.5, 2.5, 4, 6, 9, 14, 30)
"""Limits of the bands of spatial frequency, in periods a side."""
SEED = 7

Look = tuple[str, frozenset[str]]
"""A kind and its colour names: what a caption says, but for the order."""


def look(background: Background) -> Look:
    """What the caption of a background says; of a flat one it names a single colour."""
    names = background.names[:1] if background.kind == "flat" else background.names
    return background.kind, frozenset(names)


class GroundIndex:
    """Drawn backgrounds with their looks, ready to be searched. The same in every process."""

    def __init__(self) -> None:
        import torch

        from ..datasets.backgrounds import background_arrays, draw_backgrounds
        from ..datasets.pack import pack
        from ..datasets.transfer import send

        drawn = _candidates(np.random.default_rng(SEED))
        self.looks = [look(background) for background in drawn]
        pixels = torch.zeros(len(drawn), 3, SIDE, SIDE)
        packed = pack([Scene(background=background, objects=()) for background in drawn])
        draw_backgrounds(send(background_arrays(packed), pixels.device), pixels)
        colours, patterns = _described(pixels.movedim(1, -1).numpy())
        self._scale = np.maximum(patterns.std(0), 1e-6) * np.sqrt(patterns.shape[1])
        self._features = self._joined(colours, patterns)

    def search(self, layer: np.ndarray, top: int = 5) -> list[Look]:
        """The ``top`` most similar looks for a layer (H, W, 4), straight, best first."""
        small = Image.fromarray(to_depth(layer, 8)).convert("RGBa").resize((SIDE, SIDE), Image.Resampling.BOX)
        seen = np.asarray(small, np.float32)[None, ..., :3] / 255
        distance = np.square(self._features - self._joined(*_described(seen))).sum(1)
        found: dict[Look, None] = {}
        for place in np.argsort(distance, kind="stable"):
            found.setdefault(self.looks[place])
            if len(found) == top:
                break
        return list(found)

    def _joined(self, colours: np.ndarray, patterns: np.ndarray) -> np.ndarray:
        return np.concatenate([COLOUR_WEIGHT * colours, patterns / self._scale], axis=1)


def ground_ranks(
    index: GroundIndex, layers: Sequence[np.ndarray], wanted: Sequence[Background]
) -> list[int | None]:
    """Place, from 0, of each wanted background among the best five for its layer; None where it is not there."""
    ranks = []
    for layer, background in zip(layers, wanted, strict=True):
        found = index.search(layer)
        ranks.append(found.index(look(background)) if look(background) in found else None)
    return ranks


def _candidates(rng: np.random.Generator) -> list[Background]:
    plain = Background(
        kind="flat", names=("", ""), colours=((0,) * 3,) * 2, angle=0, frequency=0, noise_seed=0
    )
    found = []
    for kind in BACKGROUNDS:
        # A flat background has one colour; to be found as often as others it is drawn as often.
        pairs = (
            [(name, name) for name in COLOUR_NAMES] * 11 if kind == "flat" else permutations(COLOUR_NAMES, 2)
        )
        for first, second in pairs:
            for _ in range(DRAWN):
                found.append(
                    replace(
                        plain,
                        kind=kind,
                        names=(first, second),
                        colours=(_near(first, rng), _near(second, rng)),
                        angle=float(rng.uniform(0, np.pi)),
                        frequency=float(rng.uniform(2, 9)),
                        noise_seed=int(rng.integers(1 << 31)),
                    )
                )
    return found


def _near(name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.clip(np.array(COLOURS[name]) / 255 + rng.normal(0, JITTER, 3), 0, 1).tolist()
    return red, green, blue


def _described(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (n, 9) and patterns (n, 15) of pictures (n, SIDE, SIDE, 3) in [0, 1].

    Colours: the mean and the square root of the covariance. The pattern is that of the contrast along the colours' main
    axis at unit variance: moments without sign, slopes and how far they agree on a direction, and energy by frequency.
    """
    count = len(pictures)
    pixels = pictures.reshape(count, -1, 3).astype(np.float64)
    mean = pixels.mean(1)
    centred = pixels - mean[:, None]
    variances, axes = np.linalg.eigh(np.einsum("npi,npj->nij", centred, centred) / pixels.shape[1])
    spreads = np.sqrt(np.maximum(variances, 0))
    root = np.einsum("nij,nj,nkj->nik", axes, spreads, axes)
    shown = spreads[:, 2] >= FLAT
    contrast = np.einsum("npi,ni->np", centred, axes[:, :, 2]) / np.maximum(spreads[:, 2:], FLAT)
    planes = (contrast * shown[:, None]).reshape(count, SIDE, SIDE)
    patterns = [
        np.abs(planes).mean((1, 2)),
        np.cbrt(np.abs((planes**3).mean((1, 2)))),
        (planes**4).mean((1, 2)) ** 0.25,
        *_slopes(planes),
        *_energies(planes),
        2.0 * shown,
    ]
    return np.concatenate([mean, root[:, *np.triu_indices(3)]], axis=1), np.stack(patterns, axis=1)


def _slopes(planes: np.ndarray) -> list[np.ndarray]:
    """Size of the slopes, how far they share one direction (0..1), and the shares of gentle and steep ones."""
    across, down = np.diff(planes, axis=2)[:, :-1], np.diff(planes, axis=1)[:, :, :-1]
    xx, yy, xy = (product.mean((1, 2)) for product in (across**2, down**2, across * down))
    size = np.hypot(across, down)
    agreement = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / np.maximum(xx + yy, 1e-9)
    gentle, steep = (np.sqrt(part.mean((1, 2))) for part in (size < 0.05, size > 0.6))
    return [np.sqrt(xx + yy), agreement, gentle, steep]


def _energies(planes: np.ndarray) -> list[np.ndarray]:
    """Share of the energy in each band of spatial frequency, as an amplitude."""
    window = np.hanning(SIDE)
    power = np.abs(np.fft.fft2(planes * window[:, None] * window)) ** 2
    along = np.fft.fftfreq(SIDE) * SIDE
    periods = np.hypot(along[:, None], along)
    total = power.sum((1, 2)) + 1e-9
    bands = pairwise(BANDS)
    return [np.sqrt(power[:, (periods >= low) & (periods < high)].sum(1) / total) for low, high in bands]
