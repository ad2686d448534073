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
ENOUGH = 2 * SIDE
"""Pixels along a layer's longer side while it is turned."""
ANGLES = (0, -6, 6, -12, 12, -18, 18, -25, 25, -33, 33, -42, 42)
"""Degrees by which a layer is turned back; scenes turn sprites by about 17."""
CORES = (0.1, 0.45, 0.72)
"""What counts as the sprite, as shares of the layer's highest alpha: nearly everything, or what is denser than a shadow."""
SHORTLIST = 80
"""Sprites that are compared in full, after a comparison of all at half the size."""
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
        cells = [_cell(atlas, i) for i in chosen]
        self._sprites = [np.stack([_fit(_dense(cell, core)) for cell in cells]) for core in CORES]
        self._coarse = [_halved(sprites) for sprites in self._sprites]

    def search(self, layer: np.ndarray, top: int = 5) -> list[Match]:
        """The ``top`` most similar names for a layer (H, W, 4), straight, best first; sprites that share kind and name
        count once, and an empty layer has none."""
        picture = Image.fromarray(to_depth(layer, 8))
        views = [_views(picture, core) for core in CORES]
        if not any(map(len, views)):
            return []
        rough = self._similarities(
            self._coarse, [_halved(one) for one in views], np.arange(len(self.indices))
        )
        likely = np.argsort(-rough, kind="stable")[:SHORTLIST]
        similarity = self._similarities(self._sprites, views, likely)
        found: dict[tuple[str, str], Match] = {}
        for place in np.argsort(-similarity, kind="stable"):
            index = int(self.indices[likely[place]])
            sprite = self.atlas.sprites[index]
            match = Match(index=index, sprite=sprite, similarity=float(similarity[place]))
            found.setdefault((sprite.kind, sprite.name), match)
        return list(found.values())[:top]

    def _similarities(
        self, sprites: list[np.ndarray], views: list[np.ndarray], chosen: np.ndarray
    ) -> np.ndarray:
        """(chosen,) best similarity of each chosen sprite over all views, as they are and mirrored; text is not mirrored."""
        best = np.full(len(chosen), -np.inf)
        for gallery, shown in zip(sprites, views, strict=True):
            if not len(shown):
                continue
            wanted = gallery[chosen]
            best = np.maximum(best, self._compare(wanted, shown, self._tinted[chosen]))
            mirrored = self._compare(wanted, shown[:, :, ::-1], self._tinted[chosen])
            best = np.maximum(best, np.where(self._upright[chosen], -np.inf, mirrored))
        return best

    @staticmethod
    def _compare(gallery: np.ndarray, views: np.ndarray, tinted: np.ndarray) -> np.ndarray:
        """(S,) best similarity of sprites (S, h, w, 4) over the views (V, h, w, 4): 2 <q, g s> / (|q|^2 + |g s|^2) with
        the best allowed gain g per channel."""
        planes = gallery.reshape(len(gallery), -1, 4).transpose(2, 1, 0)  # channel, n, S
        flat = views.reshape(len(views), -1, 4).transpose(2, 0, 1)  # channel, V, n
        shared = np.ascontiguousarray(flat) @ np.ascontiguousarray(planes)  # channel, V, S
        energy = np.square(planes).sum(1)[:, None]
        gain = shared / np.maximum(energy, 1e-9)
        opacity = np.clip(gain[3], *OPACITY)
        lowest, highest = np.where(tinted, 0.0, GAIN[0] * opacity), np.where(tinted, 1.0, GAIN[1]) * opacity
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
    return score_ranks(
        [rank_of(index.search(layer), wanted) for layer, wanted in zip(layers, named, strict=True)]
    )


def score_ranks(ranks: Sequence[int | None]) -> RetrievalScore:
    """The score of places from 0 among the best five, None where the wanted one was not there."""
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


def _views(picture: Image.Image, core: float) -> np.ndarray:
    """(V, SIDE, SIDE, 4): the layer turned by every angle, also as if it went on beyond a border that it touches; V = 0
    when nothing is visible."""
    dense = _dense(picture, core)
    box = _visible(dense)
    if box is None:
        return np.zeros((0, SIDE, SIDE, 4), np.float32)
    cut = dense.crop(box)
    if max(cut.size) > ENOUGH:
        scale = ENOUGH / max(cut.size)
        cut = cut.resize([max(1, round(side * scale)) for side in cut.size], Image.Resampling.BILINEAR)
    size = max(cut.size)
    touched = (box[0] == 0, box[1] == 0, box[2] == dense.width, box[3] == dense.height)
    views = []
    for share in CUT if any(touched) else CUT[:1]:
        more = [round(share * size) if touch else 0 for touch in touched]
        wide = Image.new("RGBA", (cut.width + more[0] + more[2], cut.height + more[1] + more[3]))
        wide.paste(cut, (more[0], more[1]))
        for angle in ANGLES:
            turned = wide.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else wide
            views.append(_fit(turned, crop=share == 0))
    return np.stack(views)


def _fit(picture: Image.Image, *, crop: bool = True) -> np.ndarray:
    """(SIDE, SIDE, 4) float32 premultiplied in [0, 1]: the visible part, as large as fits, centred; zero for nothing."""
    result = np.zeros((SIDE, SIDE, 4), np.float32)
    box = _visible(picture)
    if box is None:
        return result
    cut = picture.crop(box) if crop else picture
    scale = SIDE / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    small = cut.resize(size, Image.Resampling.BILINEAR).convert("RGBa")
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    result[top : top + size[1], left : left + size[0]] = np.asarray(small, np.float32) / 255
    result[..., 3] *= ALPHA_WEIGHT
    return result


def _halved(pictures: np.ndarray) -> np.ndarray:
    """(..., h, w, 4) at half the size, by means of 2 x 2 pixels."""
    pairs = pictures[:, 0::2] + pictures[:, 1::2]
    return (pairs[:, :, 0::2] + pairs[:, :, 1::2]) / 4


def _visible(picture: Image.Image) -> tuple[int, int, int, int] | None:
    return picture.getchannel("A").point([255 * (value > 8) for value in range(256)]).getbbox()
