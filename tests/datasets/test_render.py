"""Rendered layers are exact: they composite to the picture, sit where the scene says, and shadows belong to objects."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from acetate.datasets.render import Renderer, over, straight
from acetate.datasets.scenes import Scene, SceneSampler
from acetate.datasets.sprites import CELL, Atlas
from acetate.layers import Layer, LayeredImage, composite


@pytest.fixture(scope="module")
def scenes(atlas: Atlas) -> list[Scene]:
    sampler = SceneSampler(atlas)
    return [sampler.scene(21, i) for i in range(6)]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96)])
def test_layers_flatten_to_the_picture_in_our_own_compositor(
    atlas: Atlas, scenes: list[Scene], height: int, width: int
) -> None:
    batch = Renderer(atlas).render(scenes, height, width)
    assert batch.layers.shape == (6, max(batch.counts), 4, height, width)
    for stack, flat in zip(batch.layers, batch.composite, strict=True):
        layers = tuple(
            Layer(pixels=x.permute(1, 2, 0).contiguous().numpy(), name=str(i)) for i, x in enumerate(stack)
        )
        ours = composite(LayeredImage(width=width, height=height, layers=layers))
        np.testing.assert_allclose(ours, flat.permute(1, 2, 0).numpy(), atol=2e-3)


def test_backgrounds_are_opaque_and_missing_layers_empty(atlas: Atlas, scenes: list[Scene]) -> None:
    batch = Renderer(atlas).render(scenes, 48, 48, layers=7)
    assert torch.equal(batch.layers[:, 0, 3], torch.ones(6, 48, 48))
    for stack, count in zip(batch.layers, batch.counts, strict=True):
        assert not stack[count:, 3].any()
        assert all(layer[3].any() for layer in stack[:count])


def test_one_sprite_lies_where_the_scene_says(atlas: Atlas, scenes: list[Scene]) -> None:
    placed = replace(
        scenes[0].objects[0], centre=(0.25, 0.5), size=0.25, angle=0.0, flip=False, shadow=None, opacity=1.0
    )
    square = next(i for i, s in enumerate(atlas.sprites) if s.kind == "shape" and s.name == "circle")
    placed = replace(placed, sprite=square, kind="shape", tint=(1.0, 0.0, 0.0))
    layer = (
        Renderer(atlas)
        .render([Scene(background=scenes[0].background, objects=(placed,))], 80, 160)
        .layers[0, 1]
    )
    rows, columns = (layer[3] > 0.5).nonzero().T
    assert (
        abs(float(columns.float().mean()) + 0.5 - 40) < 0.6
        and abs(float(rows.float().mean()) + 0.5 - 40) < 0.6
    )
    side = 0.25 * 80 * (CELL - 2) / CELL
    assert abs(int(columns.max() - columns.min()) + 1 - side) <= 1.5
    assert abs(float((layer[3]).sum()) - math.pi * side**2 / 4) < 0.06 * math.pi * side**2 / 4


def test_flip_and_rotation_agree_with_pillow_geometry(atlas: Atlas, scenes: list[Scene]) -> None:
    arrow = next(i for i, s in enumerate(atlas.sprites) if s.name == "arrow")
    base = replace(
        scenes[0].objects[0],
        sprite=arrow,
        kind="shape",
        tint=(1.0, 1.0, 1.0),
        centre=(0.5, 0.5),
        size=0.8,
        angle=0.0,
        flip=False,
        shadow=None,
        opacity=1.0,
    )
    renderer, ground = Renderer(atlas), scenes[0].background

    def alpha(**changes: object) -> torch.Tensor:
        return renderer.render(
            [Scene(background=ground, objects=(replace(base, **changes),))], 64, 64
        ).layers[0, 1, 3]

    plain = alpha()
    assert (
        plain[:, 44:].sum() < plain[:, :20].sum() * 1.5
    )  # the arrow's head is at its right, thinner at the tip
    torch.testing.assert_close(alpha(flip=True), plain.flip(1), atol=1e-3, rtol=0)
    turned = alpha(angle=math.pi / 2)
    candidates = [torch.rot90(plain, k) for k in (1, 3)]
    assert min(float((turned - c).abs().max()) for c in candidates) < 2e-3


def test_a_shadow_is_black_and_part_of_the_objects_layer(atlas: Atlas, scenes: list[Scene]) -> None:
    base = replace(scenes[0].objects[0], shadow=None, opacity=1.0, centre=(0.5, 0.5), size=0.4)
    cast = replace(base, shadow=(0.0, 0.06, 0.02, 0.6))
    renderer, ground = Renderer(atlas), scenes[0].background
    without, with_shadow = (
        renderer.render([Scene(background=ground, objects=(o,))], 64, 64).layers[0, 1] for o in (base, cast)
    )
    only_shadow = (with_shadow[3] > 0.1) & (without[3] == 0)
    assert only_shadow.any()
    assert with_shadow[:3, only_shadow].max() < 1e-3
    assert (with_shadow[3] >= without[3] - 1e-6).all()


def test_straight_and_over_are_inverse_where_something_shows() -> None:
    torch.manual_seed(0)
    layer = torch.rand(1, 1, 4, 5, 5)
    premultiplied = over(layer)
    torch.testing.assert_close(straight(premultiplied)[0], layer[0, 0], atol=2e-3, rtol=0)


def test_rendering_is_deterministic(atlas: Atlas, scenes: list[Scene]) -> None:
    first, second = (Renderer(atlas).render(scenes, 32, 32) for _ in range(2))
    assert torch.equal(first.layers, second.layers)
