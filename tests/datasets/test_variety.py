"""Rims, vignettes and large objects: opt-in, from dice of their own, and where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from acetate.datasets.atlas import Atlas
from acetate.datasets.render import Renderer
from acetate.datasets.render_reference import render_reference
from acetate.datasets.scenes import Placed, Scene, SceneSampler, SceneSettings

SIDE = 128
EFFECTS = {"contact_share": 0.5, "reflection_share": 0.5, "glow_share": 0.5}


@pytest.fixture(scope="module")
def square(atlas: Atlas) -> Placed:
    """An upright red square in the middle, without anything around it."""
    sprite = next(i for i, s in enumerate(atlas.sprites) if s.name == "square")
    base = SceneSampler(atlas).scene(1, 0).objects[0]
    return replace(base, sprite=sprite, kind="shape", name="square", centre=(0.5, 0.5), size=0.5, angle=0.0, flip=False,
                   tint=(1.0, 0.0, 0.0), opacity=1.0, shadow=None)  # fmt: skip


def layer(atlas: Atlas, placed: Placed) -> torch.Tensor:
    ground = SceneSampler(atlas).scene(1, 0).background
    return Renderer(atlas).render([Scene(background=ground, objects=(placed,))], SIDE, SIDE).layers[0, 1]


@pytest.mark.parametrize("others", [{}, EFFECTS])
def test_rims_and_vignettes_leave_the_rest_of_a_scene(atlas: Atlas, others: dict[str, float]) -> None:
    plain = SceneSampler(atlas, settings=SceneSettings(**others))
    varied = SceneSampler(atlas, settings=SceneSettings(rim_share=0.6, vignette_share=0.6, **others))
    rims, vignettes = 0, 0
    for index in range(12):
        pairs = [(plain.scene(4, index), varied.scene(4, index))]
        pairs.append((plain.scene_like(pairs[0][0], 4, 50), varied.scene_like(pairs[0][0], 4, 50)))
        for bare, scene in pairs:
            rims += sum(o.rim is not None for o in scene.objects)
            vignettes += scene.background.vignette is not None
            assert all(o.opacity == 1 for o in scene.objects if o.rim)
            assert scene.caption == bare.caption
            assert replace(scene.background, vignette=None) == bare.background
            stripped = [replace(o, rim=None, effects=None) for o in scene.objects]
            assert stripped == [replace(o, effects=None) for o in bare.objects]
            for before, after in zip(bare.objects, scene.objects, strict=True):
                if before.effects and after.effects:  # they stand on their rims
                    lower = after.rim[3] / after.size if after.rim else 0.0
                    assert after.effects == replace(before.effects, ground=before.effects.ground + lower)
    assert rims > 10 and 5 < vignettes < 23


def test_a_rim_surrounds_the_object_and_is_part_of_its_layer(atlas: Atlas, square: Placed) -> None:
    bare, rimmed = layer(atlas, square), layer(atlas, replace(square, rim=(0.0, 0.0, 1.0, 0.025)))
    outside = (bare[3] == 0) & (rimmed[3] > 0.01)
    assert rimmed[2, outside].min() > 0.999 and rimmed[:2, outside].max() < 1e-3
    assert torch.equal(rimmed[:, bare[3] == 1], bare[:, bare[3] == 1])
    middle = SIDE // 2
    assert abs(float((rimmed - bare)[3, middle].sum()) - 2 * 0.025 * SIDE) < 0.5
    cast = replace(square, shadow=(0.0, 0.06, 0.01, 0.6))
    rims = (None, (1.0, 1.0, 1.0, 0.025))
    below = [layer(atlas, replace(cast, rim=rim))[3, middle:, middle].sum() for rim in rims]
    assert float(below[1] - below[0]) > 2


def test_a_rim_does_not_thin_out_where_the_canvas_ends(atlas: Atlas, square: Placed) -> None:
    alpha = layer(atlas, replace(square, centre=(0.5, 0.0), rim=(1.0, 1.0, 1.0, 0.025)))[3]
    widths = alpha[:20].sum(1)
    assert float(widths.max() - widths.min()) < 0.05
    assert float(widths[0]) > 0.5 * SIDE * 0.85


def test_a_vignette_darkens_the_corners_of_the_background_alone(atlas: Atlas, square: Placed) -> None:
    scene = Scene(
        background=replace(SceneSampler(atlas).scene(1, 0).background, kind="flat"), objects=(square,)
    )
    dark = replace(scene, background=replace(scene.background, vignette=(0.5, 2.0)))
    batch = Renderer(atlas).render([scene, dark], 48, 96)
    share = batch.layers[1, 0, :3] / batch.layers[0, 0, :3]
    assert torch.equal(batch.layers[0, 1], batch.layers[1, 1])
    assert torch.equal(batch.layers[1, 0, 3], torch.ones(48, 96))
    assert float(share[:, 23:25, 47:49].min()) > 0.999
    corners = share[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert float(corners.min()) > 0.5 and float(corners.max()) < 0.53


def test_large_objects_are_large_and_lowest(atlas: Atlas) -> None:
    plain = SceneSampler(atlas, settings=SceneSettings(max_objects=6))
    half, every = (
        SceneSampler(atlas, settings=SceneSettings(max_objects=6, large_share=s)) for s in (0.5, 1.0)
    )
    same = 0
    for index in range(40):
        scene = every.scene(6, index)
        assert 0.6 <= max(o.size for o in scene.objects) <= 1.1
        same += half.scene(6, index) == plain.scene(6, index)
    assert 8 < same < 32
    assert max(len(every.scene(6, index).objects) for index in range(40)) == 6
    first = [every.scene(6, index).objects[0].size >= 0.6 for index in range(40)]
    assert sum(first) > 36
    assert every.scene(6, 0, count=0).objects == ()


@pytest.mark.parametrize("name", ["rim_share", "vignette_share", "large_share"])
def test_impossible_shares_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must lie in 0\.\.1, not 2"):
        SceneSettings(**{name: 2})


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="large_size must be two rising numbers"):
        SceneSettings(large_size=(1.0, 0.5))


def test_small_canvases_have_rims_in_both_renderers(atlas: Atlas, square: Placed) -> None:
    placed = replace(square, rim=(1.0, 1.0, 0.0, 0.008), angle=0.4)
    scene = Scene(background=SceneSampler(atlas).scene(1, 0).background, objects=(placed,))
    for height, width in ((16, 16), (32, 24)):
        ours = Renderer(atlas).render([scene], height, width).layers[0, 1].movedim(0, -1).numpy()
        layers, _ = render_reference(atlas, scene, height, width)
        np.testing.assert_allclose(ours, layers[1], atol=2e-3)
