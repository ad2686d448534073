"""The batched renderer is held against one that shares none of its code, and against itself in other batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from acetate.datasets.pack import pack
from acetate.datasets.render import Renderer
from acetate.datasets.render_reference import render_reference, sample
from acetate.datasets.scenes import BACKGROUNDS, SceneSampler, SceneSettings
from acetate.datasets.sprites import Atlas

RICH = SceneSettings(max_objects=6, shadow_share=0.5, contact_share=0.5, reflection_share=0.5, glow_share=0.5,
                     rim_share=0.5, vignette_share=0.5, large_share=0.5)  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_both_renderers_draw_twenty_scenes_alike(atlas: Atlas, height: int, width: int) -> None:
    sampler = SceneSampler(atlas, settings=RICH)
    scenes = [sampler.scene(31, index) for index in range(20)]
    scenes = [
        replace(s, background=replace(s.background, kind=BACKGROUNDS[k % 8])) for k, s in enumerate(scenes)
    ]
    kinds = {name for s in scenes for o in s.objects if o.effects for name in ("contact", "reflection", "glow")
             if getattr(o.effects, name)}  # fmt: skip
    assert kinds == {"contact", "reflection", "glow"}
    assert any(s.background.vignette for s in scenes) and any(o.rim for s in scenes for o in s.objects)
    assert {o.size > 0.9 for s in scenes for o in s.objects} == {False, True}
    batch = Renderer(atlas).render(scenes, height, width)
    for index, scene in enumerate(scenes):
        layers, composite = render_reference(atlas, scene, height, width)
        ours = batch.layers[index, : batch.counts[index]].movedim(1, -1).double().numpy()
        tolerance = 1 / 255 + 1e-3
        np.testing.assert_allclose(batch.composite[index].movedim(0, -1), composite, atol=tolerance, rtol=0)
        np.testing.assert_allclose(ours[..., 3], layers[..., 3], atol=tolerance, rtol=0)
        np.testing.assert_allclose(
            ours[..., :3] * ours[..., 3:], layers[..., :3] * layers[..., 3:], atol=tolerance, rtol=0
        )
        seen = layers[..., 3] > 1e-3
        np.testing.assert_allclose(ours[seen], layers[seen], atol=tolerance, rtol=0)


def test_the_references_sampling_is_bilinear() -> None:
    image = np.arange(6.0).reshape(2, 3, 1)
    x, y = np.array([0.5, 1.0, 2.5, 3.0, -1.0]), np.array([0.5, 1.0, 1.5, 1.5, 0.5])
    np.testing.assert_allclose(sample(image, x, y)[:, 0], [0, 2.0, 5, 2.5, 0])


def test_a_scene_is_the_same_alone_in_a_batch_and_packed(atlas: Atlas) -> None:
    sampler, renderer = SceneSampler(atlas, settings=RICH), Renderer(atlas)
    scenes = [sampler.scene(8, index) for index in range(6)]
    batch = renderer.render(scenes, 48, 64, layers=7)
    packed = renderer.render(pack(scenes), 48, 64, layers=7)
    assert torch.equal(batch.layers, packed.layers) and torch.equal(batch.composite, packed.composite)
    for index, scene in enumerate(scenes):
        alone = renderer.render([scene], 48, 64, layers=7)
        torch.testing.assert_close(alone.layers[0], batch.layers[index], atol=2e-7, rtol=0)


def test_scenes_without_objects_are_their_background(atlas: Atlas) -> None:
    empty = [replace(SceneSampler(atlas).scene(2, index), objects=()) for index in range(3)]
    batch = Renderer(atlas).render(empty, 16, 16)
    assert batch.layers.shape == (3, 1, 4, 16, 16)
    assert torch.equal(batch.layers[:, 0], batch.composite)
