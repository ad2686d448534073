"""Sprite retrieval: exact pictures are found as scenes draw them, and nothing is found in nothing."""

from __future__ import annotations

import numpy as np
import pytest

from acetate.datasets.sprites import Atlas
from acetate.evaluation.retrieval import SpriteIndex, rank_of, retrieval_score
from acetate.evaluation.scenes import evaluation_scenes


@pytest.fixture(scope="module")
def index(atlas: Atlas) -> SpriteIndex:
    return SpriteIndex(atlas)


def test_sprites_are_found_as_scenes_draw_them(index: SpriteIndex, atlas: Atlas) -> None:
    """Turned, scaled, mirrored, tinted, shaded, cut by the border: at least nine of ten at the first place."""
    scenes = evaluation_scenes(25, known_sprites=True, atlas=atlas)
    shown = [
        (layer, (o.kind, o.name))
        for scene in scenes
        for layer, o in zip(scene.objects, scene.scene.objects, strict=True)
    ][:60]
    score = retrieval_score(index, *map(list, zip(*shown, strict=True)))
    assert score.count == 60
    assert score.top1 >= 0.9 and score.top5 >= 0.95


def test_the_wrong_name_is_no_hit(index: SpriteIndex, atlas: Atlas) -> None:
    scene = evaluation_scenes(1, known_sprites=True, atlas=atlas)[0]
    layer, shown = scene.objects[0], scene.scene.objects[0]
    found = index.search(layer)
    assert len(found) == 5 and len({(match.sprite.kind, match.sprite.name) for match in found}) == 5
    assert [match.similarity for match in found] == sorted((m.similarity for m in found), reverse=True)
    assert rank_of(found, (shown.kind, shown.name)) == 0
    assert rank_of(found, ("emoji", "no such thing")) is None
    assert rank_of(found, ("text", shown.name)) is None


def test_nothing_is_found_in_nothing(index: SpriteIndex) -> None:
    empty = np.zeros((32, 32, 4), np.uint8)
    assert index.search(empty) == []
    assert retrieval_score(index, [empty], [("shape", "circle")]).top5 == 0
    assert retrieval_score(index, [], []).count == 0


def test_held_out_sprites_are_not_in_the_gallery(index: SpriteIndex, atlas: Atlas) -> None:
    assert len(index.indices) < len(atlas.sprites)
    assert not any(atlas.sprites[i].held_out for i in index.indices)
    few = SpriteIndex(atlas, [0, 1, 2])
    cell = np.asarray(atlas.pixels[1]).copy()
    assert few.search(cell, top=1)[0].index == 1
