"""The held-out scenes: always the same, of the right sprites, and exact."""

from __future__ import annotations

import numpy as np
import pytest

from acetate.datasets import sprites
from acetate.datasets.scenes import HELD_OUT_SEED
from acetate.datasets.sprites import Atlas
from acetate.errors import InputError
from acetate.evaluation import scenes as module
from acetate.evaluation.metrics import recomposition_psnr, visible_box
from acetate.evaluation.scenes import EvaluationScene, evaluation_scenes


def test_a_scene_does_not_depend_on_how_many_are_drawn(scenes: list[EvaluationScene], atlas: Atlas) -> None:
    again = evaluation_scenes(2, size=64, atlas=atlas)
    for one, other in zip(again, scenes, strict=False):
        assert one.scene == other.scene
        assert np.array_equal(one.layers, other.layers) and np.array_equal(one.picture, other.picture)


def test_sprites_and_seeds_are_held_out(scenes: list[EvaluationScene], atlas: Atlas) -> None:
    assert min(module.SEED_UNSEEN_SPRITES, module.SEED_KNOWN_SPRITES) >= HELD_OUT_SEED
    assert all(atlas.sprites[o.sprite].held_out for scene in scenes for o in scene.scene.objects)
    known = evaluation_scenes(3, size=32, known_sprites=True, atlas=atlas)
    assert not any(atlas.sprites[o.sprite].held_out for scene in known for o in scene.scene.objects)


def test_the_layers_are_the_picture(scenes: list[EvaluationScene]) -> None:
    for scene in scenes:
        assert scene.layers.shape == (len(scene.scene.objects) + 1, 64, 64, 4)
        assert scene.layers.dtype == scene.picture.dtype == np.uint8
        assert 2 <= len(scene.layers) <= 5 and (scene.picture[..., 3] == 255).all()
        assert recomposition_psnr(scene.layers, scene.picture) > 50
        assert scene.boxes == [visible_box(layer) for layer in scene.objects]


def test_the_missing_font_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "FONT_FOLDERS", ())
    monkeypatch.setattr(module, "build_atlas", sprites.build_atlas.__wrapped__)
    with pytest.raises(InputError, match=r"NotoColorEmoji\.ttf is not installed"):
        evaluation_scenes(1)
