"""Scenes: determinism, the held-out split, canonical order, captions within the vocabulary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acetate.datasets.scenes import SceneSampler, SceneSettings, canonical_order, vocabulary
from acetate.datasets.sprites import Atlas


def test_the_same_seed_and_index_give_the_same_scene(atlas: Atlas) -> None:
    first, second = SceneSampler(atlas), SceneSampler(atlas)
    assert [first.scene(3, i) for i in range(5)] == [second.scene(3, i) for i in range(5)]
    assert first.scene(3, 0) != first.scene(4, 0)


def test_held_out_sprites_are_a_tenth_and_never_mix(atlas: Atlas) -> None:
    held_out, seen = atlas.indices(held_out=True), atlas.indices(held_out=False)
    assert not set(held_out) & set(seen)
    assert 0.06 < len(held_out) / len(atlas.sprites) < 0.14
    for flag, pool in ((True, set(held_out)), (False, set(seen))):
        sampler = SceneSampler(atlas, held_out=flag)
        assert all(o.sprite in pool for i in range(40) for o in sampler.scene(9, i).objects)


def test_settings_refuse_impossible_counts() -> None:
    with pytest.raises(ValueError, match="0 <= min <= max <= 6"):
        SceneSettings(min_objects=4, max_objects=2)


def test_canonical_order_keeps_overlaps_and_sorts_the_rest(atlas: Atlas) -> None:
    one = SceneSampler(atlas).scene(0, 0).objects[0]
    low = replace(one, centre=(0.2, 0.8), size=0.2, name="low")
    high = replace(one, centre=(0.8, 0.2), size=0.2, name="high")
    cover = replace(one, centre=(0.8, 0.22), size=0.2, name="cover")
    assert [o.name for o in canonical_order((low, high))] == ["high", "low"]
    assert [o.name for o in canonical_order((cover, high, low))] == ["cover", "high", "low"]
    assert [o.name for o in canonical_order((high, cover, low))] == ["high", "cover", "low"]


def test_every_caption_word_is_in_the_vocabulary(atlas: Atlas) -> None:
    words = set(vocabulary(atlas))
    sampler = SceneSampler(atlas)
    for i in range(60):
        scene = sampler.scene(11, i)
        for caption in (scene.caption, *scene.layer_captions):
            assert set(caption.replace(",", " , ").split()) <= words, caption


def test_a_scene_like_another_keeps_its_places(atlas: Atlas) -> None:
    sampler = SceneSampler(atlas)
    model = sampler.scene(5, 1, count=3)
    other = sampler.scene_like(model, 5, 2)
    assert [(o.centre, o.size) for o in other.objects] == [(o.centre, o.size) for o in model.objects]
    assert other.background != model.background
