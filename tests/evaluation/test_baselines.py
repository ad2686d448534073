"""The baselines on a toy picture, a disc on a gradient, where each must do what it is known for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acetate.evaluation import cutting
from acetate.evaluation.baselines import baselines, by_palette, cut_out, single_layer, telea_background
from acetate.evaluation.layerd import layerd_scores, over
from acetate.evaluation.metrics import occluded_psnr, psnr, recomposition_psnr, soft_iou
from acetate.evaluation.palette import find_palette, mix_weights
from acetate.evaluation.scenes import EvaluationScene

needs_opencv = pytest.mark.skipif(not cutting.available(), reason="opencv is not installed")


@pytest.fixture
def toy(scenes: list[EvaluationScene]) -> EvaluationScene:
    """64 x 64: a blue gradient and one orange disc with a soft edge."""
    y, x = np.mgrid[:64, :64]
    background = np.stack([40 + y, 60 + y, 180 + x, np.full_like(x, 255)], -1).astype(np.uint8)
    disc = np.zeros((64, 64, 4), np.uint8)
    disc[..., :3] = (240, 140, 20)
    disc[..., 3] = np.clip((18 - np.hypot(x - 34, y - 30)) / 2 + 0.5, 0, 1) * 255
    layers = np.stack([background, disc])
    return replace(scenes[0], layers=layers, picture=over(background, disc))


def test_one_layer_recomposes_and_separates_nothing(toy: EvaluationScene) -> None:
    stack = single_layer(toy)
    assert recomposition_psnr(stack, toy.picture) == np.inf
    assert layerd_scores(stack, list(toy.layers))[0].iou < 0.7


@needs_opencv
def test_grabcut_finds_the_disc(toy: EvaluationScene) -> None:
    stack = cut_out(toy)
    assert len(stack) == 2 and stack[0].dtype == np.uint8
    assert soft_iou(stack[1], toy.layers[1]) > 0.85
    assert recomposition_psnr(stack, toy.picture) > 35
    assert occluded_psnr(stack[0], toy.layers[0], toy.objects) > 25


@needs_opencv
def test_boxes_that_cannot_be_cut_still_give_layers(toy: EvaluationScene) -> None:
    stack = cutting.cut_layers(toy.picture, [(0, 0, 64, 64), (3, 3, 5, 5)])
    assert [layer.shape for layer in stack] == [(64, 64, 4)] * 3
    assert stack[2][3:5, 3:5, 3].all() and not stack[2][10:, 10:, 3].any()


@needs_opencv
def test_telea_sees_no_object(toy: EvaluationScene) -> None:
    painted = telea_background(toy)
    assert occluded_psnr(painted, toy.layers[0], toy.objects) > 25
    clear = ~(toy.layers[1][..., 3] > 0)
    clear[10:52, 10:56] = False
    assert np.array_equal(painted[clear], toy.picture[clear])


def test_opencv_is_asked_for_by_name(toy: EvaluationScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "find_spec", lambda name: None)
    missing = [baseline for baseline in baselines() if baseline.missing]
    assert len(missing) == 1 and "acetate[cv]" in missing[0].missing and "guided filter" in missing[0].title
    with pytest.raises(Exception, match="needs opencv"):
        cut_out(toy)


def test_the_guided_filter_follows_the_edge() -> None:
    guide = np.zeros((20, 20))
    guide[:, 10:] = 1
    rough = guide.copy()
    rough[::3, 9] = 1  # a jagged cut
    found = cutting.guided_filter(guide, rough)
    assert np.abs(found - guide).max() < 0.4 < np.abs(rough - guide).max()
    np.testing.assert_allclose(cutting.guided_filter(guide, np.full_like(guide, 0.3)), 0.3, atol=1e-9)


def test_the_palette_recomposes(toy: EvaluationScene) -> None:
    stack = by_palette(toy)
    assert len(stack) == 2 and (stack[0][..., 3] == 255).all()
    assert all(len(np.unique(layer[..., :3].reshape(-1, 3), axis=0)) == 1 for layer in stack)
    five = by_palette(replace(toy, layers=np.repeat(toy.layers[:1], 5, 0)))
    assert recomposition_psnr(five, toy.picture) > max(25, recomposition_psnr(stack, toy.picture))


def test_a_flat_picture_has_a_palette(toy: EvaluationScene) -> None:
    flat = np.full((8, 8, 4), (10, 200, 30, 255), np.uint8)
    stack = by_palette(replace(toy, picture=flat))
    assert len(stack) == 2 and psnr(stack[0], flat) > 45 and not stack[1].any()


def test_weights_are_the_nearest_mixture() -> None:
    palette = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    weights = mix_weights(np.array([[0.2, 0.3, 0.1], [1.2, 0, 0], [0, 0, 0]]), palette)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(weights @ palette, [[0.2, 0.3, 0.1], [1, 0, 0], [0, 0, 0]], atol=1e-3)


def test_the_palette_is_the_corners() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0], [1, 1, 1]])
    inside = np.random.default_rng(0).dirichlet(np.ones(5) * 2, 500) @ corners
    found = find_palette(np.concatenate([np.repeat(corners, 20, 0), inside]), 5)
    assert np.abs(found[:, None] - corners).sum(-1).min(0).max() < 0.1
