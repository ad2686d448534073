"""Which sprite does a layer show? Nearest neighbour over an atlas, blind to place, size, turn, mirroring, tint and shadow.

A layer is cut to its visible pixels, turned by a few angles, fitted into a small square and compared with every sprite by
least squares on premultiplied RGBA, where colour may be scaled as far as scenes scale it (any tint for white sprites, a
little gain for the others). No learned features: nothing to download, and a person can check every answer. The price is
that it judges look, not meaning. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..datasets.sprites import Atlas, Sprite
from ..layers.composite import to_depth

SIDE = 20
"""Pixels along a descriptor's side."""
ANGLES = (0, -6, 6, -12, 12, -18, 18, -25, 25, -33, 33, -42, 42)
"""Degrees by which a layer is turned back; scenes turn sprites by about 17."""
CORES = (0.1, 0.45, 0.72)
"""What counts as the sprite, as shares of the layer's highest alpha: nearly everything, or what is denser than a shadow."""
ALPHA_WEIGHT = 0.6
"""Weight of an alpha value against a colour value: what is inside an outline tells more than the outline."""
CUT = (0.0, 0.08, 0.18)
"""Shares of the size by which a sprite that touches the canvas' border may go on beyond it."""
GAIN = (0.82, 1.15)
OPACITY = (0.4, 1.05)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A sprite found for a layer: its index in the atlas and the similarity, at most 1."""

    index: int
    sprite: Sprite
    similarity: float


class SpriteIndex:
    """The sprites of an atlas (those at ``indices``, by default all that training sees), ready to be searched."""

    def __init__(self, atlas: Atlas, indices: Sequence[int] | np.ndarray | None = None) -> None:
        chosen = atlas.indices(held_out=False) if indices is None else np.asarray(indices, dtype=np.int64)
        self.atlas, self.indices = atlas, chosen
        self._tinted = np.array([atlas.sprites[i].tinted for i in chosen])
        self._upright = np.array([atlas.sprites[i].kind == "text" for i in chosen])
        planes = []
        for core in CORES:
            fitted = [_fit(_dense(_cell(atlas, i), core)) for i in chosen]
            planes.append(
                np.stack([f if f is not None else np.zeros((SIDE, SIDE, 4), np.float32) for f in fitted])
            )
        shape = (len(CORES), len(chosen), SIDE * SIDE, 4)
        self._planes = np.ascontiguousarray(
            np.stack(planes).reshape(shape).transpose(0, 3, 1, 2)
        )  # core, channel, S, n
        self._energy = np.square(self._planes).sum(-1)

    def search(self, layer: np.ndarray, top: int = 5) -> list[Match]:
        """The ``top`` most similar names for a layer (H, W, 4), straight, best first; sprites that share kind and name
        count once, and an empty layer has none."""
        similarity = self.similarities(layer)
        if similarity is None:
            return []
        found: dict[tuple[str, str], Match] = {}
        for position in np.argsort(-similarity, kind="stable"):
            index = int(self.indices[position])
            sprite = self.atlas.sprites[index]
            match = Match(index=index, sprite=sprite, similarity=float(similarity[position]))
            found.setdefault((sprite.kind, sprite.name), match)
            if len(found) == top:
                break
        return list(found.values())

    def similarities(self, layer: np.ndarray) -> np.ndarray | None:
        """(S,) similarity to each sprite of the index, 1 for an exact picture of it; None for an empty layer."""
        whole = Image.fromarray(to_depth(layer, 8))
        best: np.ndarray | None = None
        for number, core in enumerate(CORES):
            views = _views(whole, core)
            if not views:
                continue
            plain = np.stack(views)
            for mirrored in (False, True):
                found = self._compare(number, plain[:, :, ::-1] if mirrored else plain)
                if mirrored:
                    found = np.where(self._upright, -np.inf, found)
                best = found if best is None else np.maximum(best, found)
        return best

    def _compare(self, core: int, views: np.ndarray) -> np.ndarray:
        """(S,) best similarity over the views (V, SIDE, SIDE, 4): 2 <q, g s> / (|q|^2 + |g s|^2) with the best allowed
        gain g per channel."""
        flat = views.reshape(len(views), -1, 4).transpose(2, 0, 1)  # channel, V, n
        shared = flat @ self._planes[core].transpose(0, 2, 1)  # channel, V, S
        energy = self._energy[core][:, None]
        gain = shared / np.maximum(energy, 1e-9)
        opacity = np.clip(gain[3], *OPACITY)
        lowest = np.where(self._tinted, 0.0, GAIN[0] * opacity)
        highest = np.where(self._tinted, opacity, GAIN[1] * opacity)
        gain[:3] = np.clip(gain[:3], lowest, highest)
        gain[3] = opacity
        fitted = (gain * gain * energy).sum(0)
        return (2 * (gain * shared).sum(0) / (np.square(flat).sum((0, 2))[:, None] + fitted + 1e-9)).max(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalScore:
    """Shares in [0, 1] of layers whose named sprite is the nearest, or among the nearest five. ``count``: layers judged."""

    top1: float
    top5: float
    count: int


def retrieval_score(
    index: SpriteIndex, layers: Sequence[np.ndarray], named: Sequence[tuple[str, str]]
) -> RetrievalScore:
    """How often the sprite (kind, name) that a layer should show is found for it; empty layers miss."""
    ranks = [rank_of(index.search(layer), wanted) for layer, wanted in zip(layers, named, strict=True)]
    if not ranks:
        return RetrievalScore(top1=0.0, top5=0.0, count=0)
    hits = [rank is not None for rank in ranks]
    return RetrievalScore(
        top1=float(np.mean([rank == 0 for rank in ranks])), top5=float(np.mean(hits)), count=len(ranks)
    )


def rank_of(matches: Sequence[Match], wanted: tuple[str, str]) -> int | None:
    """Place, from 0, of the sprite (kind, name) among the matches; None when it is not there."""
    names = [(match.sprite.kind, match.sprite.name) for match in matches]
    return names.index(wanted) if wanted in names else None


def _cell(atlas: Atlas, index: int) -> Image.Image:
    """A sprite as a straight RGBA picture; Pillow premultiplies by itself whenever it resamples one."""
    premultiplied = atlas.pixels[index]
    return Image.frombuffer("RGBa", premultiplied.shape[1::-1], premultiplied.tobytes()).convert("RGBA")


def _dense(picture: Image.Image, core: float) -> Image.Image:
    """The picture without its alpha below ``core`` of the highest; what is left is stretched to the full."""
    values = np.array(picture)
    alpha = values[..., 3].astype(np.float32)
    highest = float(alpha.max())
    if highest:
        values[..., 3] = np.clip((alpha / highest - core) / (1 - core), 0, 1) * highest + 0.5
    return Image.fromarray(values)


def _views(picture: Image.Image, core: float) -> list[np.ndarray]:
    dense = _dense(picture, core)
    box = _visible(dense)
    if box is None:
        return []
    cut = dense.crop(box)
    size = max(cut.size)
    touched = (box[0] == 0, box[1] == 0, box[2] == dense.width, box[3] == dense.height)
    views = []
    for share in CUT if any(touched) else CUT[:1]:
        more = [round(share * size) if touch else 0 for touch in touched]
        wide = Image.new("RGBA", (cut.width + more[0] + more[2], cut.height + more[1] + more[3]))
        wide.paste(cut, (more[0], more[1]))
        for angle in ANGLES:
            turned = wide.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else wide
            fitted = _fit(turned, crop=share == 0)
            if fitted is not None:
                views.append(fitted)
    return views


def _fit(picture: Image.Image, *, crop: bool = True) -> np.ndarray | None:
    """(SIDE, SIDE, 4) float32 premultiplied in [0, 1]: the visible part, as large as fits, centred; None for nothing."""
    box = _visible(picture)
    if box is None:
        return None
    cut = picture.crop(box) if crop else picture
    scale = SIDE / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    small = cut.resize(size, Image.Resampling.BILINEAR).convert("RGBa")
    result = np.zeros((SIDE, SIDE, 4), np.float32)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    result[top : top + size[1], left : left + size[0]] = np.asarray(small, np.float32) / 255
    result[..., 3] *= ALPHA_WEIGHT
    return result


def _visible(picture: Image.Image) -> tuple[int, int, int, int] | None:
    return picture.getchannel("A").point([255 * (value > 8) for value in range(256)]).getbbox()
