"""Each figure against a scalar reference, and what perfect and hopeless predictions get."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from acetate.evaluation import metrics


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    one, other = np.random.default_rng(5).integers(0, 256, (2, 9, 7, 4), dtype=np.uint8)
    return one, other


def test_perfect_is_perfect(stack: list[np.ndarray]) -> None:
    layer = stack[1]
    assert metrics.rgba_psnr(layer, layer) == math.inf
    assert metrics.alpha_mae(layer, layer) == metrics.gradient_error(layer, layer) == 0
    assert metrics.soft_iou(layer, layer) == 1
    picture = np.float32(metrics.flattened(stack))
    assert metrics.recomposition_psnr(stack, picture) > 120
    assert metrics.occluded_psnr(stack[0], stack[0], stack[1:]) == math.inf
    assert metrics.match_layers(stack, stack) == [(i, i) for i in range(4)]


def test_psnr_equals_a_scalar_reference(pair: Any) -> None:
    one, other = pair
    total = 0.0
    for a, b in zip(one.reshape(-1, 4), other.reshape(-1, 4), strict=True):
        for c in range(3):
            total += (a[c] / 255 * (a[3] / 255) - b[c] / 255 * (b[3] / 255)) ** 2
        total += (a[3] / 255 - b[3] / 255) ** 2
    assert metrics.rgba_psnr(one, other) == pytest.approx(-10 * math.log10(total / one.size), rel=1e-6)


def test_colour_under_no_alpha_does_not_exist(pair: Any) -> None:
    one = pair[0].copy()
    one[..., 3] = 0
    assert metrics.rgba_psnr(one, np.zeros_like(one)) == math.inf


def test_psnr_of_a_known_error() -> None:
    flat = np.full((4, 4, 3), 0.5)
    assert metrics.psnr(flat, flat + 0.1) == pytest.approx(20)
    where = np.zeros((4, 4), bool)
    where[0] = True
    assert metrics.psnr(flat, np.where(where[..., None], flat + 0.01, 9.0), where) == pytest.approx(40)
    with pytest.raises(ValueError, match="no pixels"):
        metrics.psnr(flat, flat, np.zeros((4, 4), bool))


def test_exact_samples_do_not_drown_a_mean() -> None:
    assert metrics.mean_psnr([math.inf, 20.0, None]) == 40
    assert metrics.mean_psnr([None]) is None


def test_alpha_errors_equal_scalar_references(pair: Any) -> None:
    one, other = (picture[..., 3] / 255 for picture in pair)
    flat = list(zip(one.ravel(), other.ravel(), strict=True))
    assert metrics.alpha_mae(*pair) == pytest.approx(sum(abs(a - b) for a, b in flat) / len(flat), rel=1e-6)
    iou = sum(min(a, b) for a, b in flat) / sum(max(a, b) for a, b in flat)
    assert metrics.soft_iou(*pair) == pytest.approx(iou, rel=1e-6)


def test_the_gradient_error_sees_what_the_mean_does_not(square: Any) -> None:
    truth = square(20, 43, (0, 0, 0))
    ramp = truth.astype(np.float32) / 255
    from scipy.ndimage import gaussian_filter

    soft = ramp.copy()
    soft[..., 3] = gaussian_filter(ramp[..., 3], 3)
    veil = ramp.copy()
    veil[..., 3] = np.clip(ramp[..., 3] + metrics.alpha_mae(soft, ramp), 0, 1)
    assert metrics.gradient_error(soft, ramp) > 20 * metrics.gradient_error(veil, ramp)


def test_the_gradient_of_a_step_is_that_of_the_gaussian() -> None:
    step = np.zeros((1, 41, 4), np.float32)
    step[:, 20:, 3] = 1
    sigma = metrics.GRADIENT_SIGMA
    distance = np.arange(41) - 19.5
    expected = np.exp(-(distance**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    found = metrics.gradient_error(step, np.zeros_like(step))
    assert found == pytest.approx(float(np.square(expected).sum()) / 1000, rel=0.03)  # sampled


def test_empty_layers_agree_with_each_other_only(stack: list[np.ndarray]) -> None:
    empty = np.zeros_like(stack[0])
    assert metrics.soft_iou(empty, empty) == 1 and metrics.soft_iou(empty, stack[1]) == 0
    assert metrics.visible_box(empty) is None
    assert metrics.box_iou(None, None) == 1 and metrics.box_iou(None, (0, 0, 1, 1)) == 0


def test_flattening_is_over(stack: list[np.ndarray]) -> None:
    half = stack[1].copy()
    half[..., 3] //= 2
    found = metrics.flattened([stack[0], half])
    alpha = 127 / 255
    expected = np.array([200, 200, 180]) / 255 * (1 - alpha) + np.array([1, 0, 0]) * alpha
    np.testing.assert_allclose(found[20, 20], [*expected, 1], atol=1e-6)
    np.testing.assert_allclose(metrics.joint_alpha([half, half])[20, 20], 1 - (1 - alpha) ** 2, atol=1e-6)


def test_the_hidden_background_is_judged_where_it_is_hidden(stack: list[np.ndarray]) -> None:
    wrong = stack[0].copy()
    wrong[:4, :4] = (0, 0, 0, 255)  # where nothing covers it
    assert metrics.occluded_psnr(wrong, stack[0], stack[1:]) == math.inf
    wrong[30, 30] = (0, 0, 0, 255)
    assert metrics.occluded_psnr(wrong, stack[0], stack[1:]) < 50
    assert metrics.occluded_psnr(wrong, stack[0], [np.zeros_like(wrong)]) is None
    assert metrics.occluded_psnr(wrong, stack[0], []) is None


def test_boxes(square: Any) -> None:
    layer = square(10, 19, (1, 2, 3))
    assert metrics.visible_box(layer) == (10, 10, 20, 20)
    assert metrics.visible_box(square(10, 19, (1, 2, 3), alpha=20)) is None  # 20/255 is no more than a veil
    assert metrics.box_iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert metrics.box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert metrics.box_iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_only_layers_that_can_be_seen_count(stack: list[np.ndarray], square: Any) -> None:
    assert metrics.count_layers(stack) == 4
    assert metrics.count_layers([*stack, np.zeros_like(stack[0]), square(3, 4, (9, 9, 9))]) == 4


def test_matching_finds_a_permutation(stack: list[np.ndarray]) -> None:
    shuffled = [stack[2], stack[0], stack[3], stack[1]]
    assert metrics.match_layers(shuffled, stack) == [(1, 0), (3, 1), (0, 2), (2, 3)]
    assert metrics.match_layers(stack[:2], stack) == [(0, 0), (1, 1)]
    assert metrics.match_layers([], stack) == []
