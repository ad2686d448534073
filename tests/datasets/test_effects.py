"""What an object casts belongs to its layer: where it lies, what colour it has, and that faint black survives storage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acetate.datasets.effects import Effects, ground_below
from acetate.datasets.records import scene_record
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import Placed, Scene, SceneSampler, SceneSettings
from acetate.datasets.shards import ShardWriter, read_shard
from acetate.datasets.sprites import Atlas
from acetate.layers import LayeredImage

SIDE = 96
EVERY = SceneSettings(contact_share=1.0, reflection_share=1.0, glow_share=1.0)


@pytest.fixture(scope="module")
def square(atlas: Atlas) -> Placed:
    """An upright red square in the middle, without anything cast."""
    sprite = next(i for i, s in enumerate(atlas.sprites) if s.name == "square")
    base = SceneSampler(atlas).scene(1, 0).objects[0]
    return replace(base, sprite=sprite, kind="shape", name="square", centre=(0.5, 0.4), size=0.4, angle=0.0, flip=False,
                   tint=(1.0, 0.0, 0.0), opacity=1.0, shadow=None)  # fmt: skip


def layer(atlas: Atlas, placed: Placed) -> torch.Tensor:
    ground = SceneSampler(atlas).scene(1, 0).background
    return Renderer(atlas).render([Scene(background=ground, objects=(placed,))], SIDE, SIDE).layers[0, 1]


def test_effects_have_dice_of_their_own(atlas: Atlas) -> None:
    plain, lit = SceneSampler(atlas), SceneSampler(atlas, settings=EVERY)
    some = SceneSampler(atlas, settings=SceneSettings(reflection_share=1.0))
    for index in range(6):
        bare, scene, mirrored = (sampler.scene(4, index) for sampler in (plain, lit, some))
        assert bare.without_effects() == scene.without_effects()
        assert all(o.effects is None for o in bare.objects)
        for one, other in zip(scene.objects, mirrored.objects, strict=True):
            assert one.effects is not None and other.effects is not None
            assert (
                one.effects.contact
                and one.effects.glow
                and not other.effects.contact
                and not other.effects.glow
            )
            assert one.effects.reflection == other.effects.reflection
    assert all(o.effects for o in lit.scene_like(plain.scene(4, 1), 4, 2).objects)


def test_shares_outside_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"glow_share must lie in 0\.\.1, not 1\.5"):
        SceneSettings(glow_share=1.5)


@pytest.mark.parametrize("angle", [0.0, math.pi / 4])
def test_the_ground_is_the_lowest_solid_point(atlas: Atlas, square: Placed, angle: float) -> None:
    below = ground_below(atlas.pixels[square.sprite], angle, flip=False)
    alpha = layer(atlas, replace(square, angle=angle))[3]
    lowest = int((alpha > 0.5).any(1).nonzero().max()) + 1
    assert abs(below * 0.4 * SIDE - (lowest - 0.4 * SIDE)) < 1.2


def test_a_contact_shadow_is_black_and_lies_on_the_ground(atlas: Atlas, square: Placed) -> None:
    effects = Effects(ground=0.5, contact=(0.6, 0.12, 0.012))
    bare, lit = layer(atlas, square), layer(atlas, replace(square, effects=effects))
    cast = (lit[3] > 0.01) & (bare[3] == 0)
    assert cast.sum() > 60
    assert lit[:3, cast].max() < 1e-3
    rows = cast.nonzero()[:, 0]
    ground = (0.4 + 0.5 * 0.4) * SIDE
    assert abs(float(rows.float().mean()) - ground) < 0.1 * SIDE and rows.max() < ground + 0.1 * SIDE
    assert torch.equal(lit[:, bare[3] == 1], bare[:, bare[3] == 1])


def test_a_reflection_is_the_object_upside_down_and_fades(atlas: Atlas, square: Placed) -> None:
    effects = Effects(ground=0.5, reflection=(0.5, 0.25, 0.0))
    lit = layer(atlas, replace(square, effects=effects))
    below = lit[:, 60:, SIDE // 2]
    assert below[0, 0] > 0.95 and below[1:3, 0].max() < 0.05  # in the object's own red
    fade = below[3, below[3] > 0.02]
    assert 0.35 < fade[0] <= 0.5 and (fade.diff() < 0).all()
    assert below[3, int(0.25 * SIDE) :].max() == 0


def test_a_glow_surrounds_the_object_in_its_colour(atlas: Atlas, square: Placed) -> None:
    lit = layer(atlas, replace(square, effects=Effects(glow=(0.0, 0.0, 1.0, 0.04, 0.8))))
    bare = layer(atlas, square)
    halo = (bare[3] == 0) & (lit[3] > 0.02)
    rows, columns = halo.nonzero().T
    assert rows.min() < 0.2 * SIDE and rows.max() > 0.6 * SIDE and columns.min() < 0.3 * SIDE
    assert lit[2, halo].min() > 0.99 and lit[:2, halo].max() < 0.01


def test_black_at_low_alpha_survives_records_and_documents(
    atlas: Atlas, square: Placed, tmp_path: Path
) -> None:
    scene = Scene(background=SceneSampler(atlas).scene(1, 0).background,
                  objects=(replace(square, effects=Effects(ground=0.5, contact=(0.2, 0.12, 0.02))),))  # fmt: skip
    record = scene_record(scene, Renderer(atlas).render([scene], SIDE, SIDE), 0)
    with ShardWriter(tmp_path) as writer:
        writer.add("scene", record)
    [(_, read)] = read_shard(tmp_path / "records-000000.tar")
    document = LayeredImage.open(read.to_document().save(tmp_path / "scene.psd"))
    for pixels in (
        record.stack()[1],
        read.stack()[1],
        read.to_document().leaves()[1].pixels,
        document.leaves()[1].pixels,
    ):
        faint = (pixels[..., 3] > 0) & (pixels[..., 3] < 40) & (pixels[..., :3].max(-1) == 0)
        assert np.count_nonzero(faint) > 100
    assert read.error() == 0
