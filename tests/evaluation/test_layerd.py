"""The LayerD protocol: values of the published code on squares, invariances, and each rule on its own."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest

from acetate.evaluation.layerd import Score, aggregate, groups, layerd_scores, over
from acetate.evaluation.warping import align

Stack = list[np.ndarray]

# What LayerD's own code (6b95bc5) gives for these stacks: (edits, L1, IoU).
PUBLISHED = {
    "truth": [(0, 0, 1)],
    "red and green merged": [(0, 0.0567, 0.8013), (1, 0, 1)],
    "red and green swapped": [(0, 0.1908, 0.7265), (1, 0.1004, 0.8013), (2, 0.0456, 1.0)],
    "one flat layer": [(0, 0.2313, 0.4669), (1, 0.1962, 0.517), (2, 0.0766, 0.6173)],
}


def changed(stack: Stack, how: str) -> Stack:
    background, red, green, blue = stack
    return {
        "truth": stack,
        "red and green merged": [background, over(red, green), blue],
        "red and green swapped": [background, green, red, blue],
        "one flat layer": [reduce(over, stack)],
    }[how]


def brief(scores: list[Score]) -> list[tuple[int, float, float]]:
    return [(score.edits, score.l1, score.iou) for score in scores]


@pytest.mark.parametrize("how", PUBLISHED)
def test_equals_the_published_code_on_squares(stack: Stack, how: str) -> None:
    found = brief(layerd_scores(changed(stack, how), stack))
    assert len(found) == len(PUBLISHED[how])
    np.testing.assert_allclose(found, PUBLISHED[how], atol=5.1e-5)


@pytest.mark.parametrize("variant", ["raw", "grey"])
def test_the_truth_is_perfect(stack: Stack, variant: Any) -> None:
    assert layerd_scores(stack, stack, variant=variant) == [Score(edits=0, l1=0.0, iou=1.0, cost=0.0)]


def test_what_does_not_overlap_is_one_group_in_any_order_and_number(square: Any) -> None:
    background = square(0, 63, (200, 200, 180))
    apart = [square(2, 20, (255, 0, 0)), square(30, 40, (0, 255, 0)), square(50, 60, (0, 0, 255))]
    truth = [background, *apart]
    assert groups(truth) == [[0], [1, 2, 3]]
    for predicted in ([background, *apart[::-1]], [background, reduce(over, apart)]):
        assert brief(layerd_scores(predicted, truth)) == [(0, 0.0, 1.0)]


def test_empty_layers_are_free(stack: Stack) -> None:
    empty = np.zeros_like(stack[0])
    assert brief(layerd_scores([*stack, empty, empty], stack)) == [(0, 0.0, 1.0)]


def test_the_truth_may_be_merged_as_well(stack: Stack) -> None:
    background, red, green, blue = stack
    scores = layerd_scores([background, over(red, green), blue], stack)
    assert scores[0].iou < 1 and scores[1] == Score(edits=1, l1=0.0, iou=1.0, cost=0.0)


def test_colour_that_nobody_sees_counts_in_the_raw_variant_only(square: Any) -> None:
    background = square(0, 63, (100, 100, 100))
    truth = [background, square(10, 50, (250, 10, 10), alpha=128)]
    predicted = [background, truth[1].copy()]
    predicted[1][10:20, 10:51] = (0, 255, 0, 0)  # transparent green where the truth is half red
    raw, grey = (layerd_scores(predicted, truth, variant=variant)[0] for variant in ("raw", "grey"))
    share = (
        10 / 41
    )  # rows of the square that differ; half of the pairs on the path are the perfect background
    assert raw.l1 == pytest.approx(0.5 * share * (250 + 245 + 10) / 765)
    seen = 128 / 255 * (122.5 + 117.5 + 117.5) / 765
    assert grey.l1 == pytest.approx(0.5 * share * seen, rel=1e-5)
    assert raw.iou == grey.iou == pytest.approx(0.5 * (1 + 1 - share))


def test_pair_scores_equal_a_scalar_reference() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 256, (2, 6, 5, 4), dtype=np.uint8)
    other[:2, :, 3] = 0
    difference, count, shared, union = 0.0, 0, 0, 0
    for y in range(6):
        for x in range(5):
            shared += min(int(one[y, x, 3]), int(other[y, x, 3]))
            union += max(int(one[y, x, 3]), int(other[y, x, 3]))
            if other[y, x, 3] > 0:
                count += 1
                difference += sum(abs(int(one[y, x, c]) - int(other[y, x, c])) for c in range(3)) / 3 / 255
    (score,) = layerd_scores([one], [other])
    assert score.l1 == pytest.approx(difference / count)
    assert score.iou == pytest.approx(shared / union)
    assert score.cost == pytest.approx((score.l1 + 1 - score.iou) / 2)


def test_nothing_against_nothing_has_no_overlap() -> None:
    empty = np.zeros((4, 4, 4), np.uint8)
    assert layerd_scores([empty], [empty]) == [Score(edits=0, l1=0.0, iou=0.0, cost=0.5)]


def test_ties_go_diagonally_then_up() -> None:
    assert align(np.zeros((3, 3))) == [(0, 0), (1, 1), (2, 2)]
    assert align(np.zeros((3, 2))) == [(0, 0), (1, 0), (2, 1)]
    assert align(np.zeros((2, 3))) == [(0, 0), (0, 1), (1, 2)]
    # Up and left cost the same and less than the diagonal: up it is.
    cost = np.array([[1.0, 0.0, 9.0], [0.0, 9.0, 0.0], [9.0, 0.0, 0.0]])
    assert align(cost) == [(0, 0), (0, 1), (1, 2), (2, 2)]
    assert align(np.array([[5.0, 0.0], [0.0, 1.0]])) == [(0, 0), (1, 1)]
    assert align(np.array([[0.0, 0.0, 0.0], [9.0, 9.0, 0.0]])) == [(0, 0), (0, 1), (1, 2)]


def test_every_layer_is_on_the_path() -> None:
    cost = np.random.default_rng(0).random((5, 3))
    path = align(cost)
    assert {i for i, _ in path} == set(range(5)) and {j for _, j in path} == set(range(3))
    steps = np.diff(np.array(path), axis=0)
    assert set(map(tuple, steps.tolist())) <= {(1, 1), (1, 0), (0, 1)}


def test_samples_that_stopped_keep_their_last_score(stack: Stack) -> None:
    short = layerd_scores(stack, stack)
    long = layerd_scores(changed(stack, "red and green swapped"), stack)
    mean = aggregate([short, long])
    assert [score.edits for score in mean] == [0, 1, 2, 3, 4, 5]
    assert mean[0].l1 == pytest.approx(long[0].l1 / 2)
    assert mean[2].iou == pytest.approx((1 + long[2].iou) / 2)
    assert mean[5].l1 == mean[2].l1


def test_merges_stop_at_two_layers_and_at_the_limit(stack: Stack) -> None:
    flat = layerd_scores(changed(stack, "one flat layer"), stack)
    assert len(flat) == 3  # the truth goes from four layers to two
    assert len(layerd_scores(changed(stack, "one flat layer"), stack, max_edits=1)) == 2


def test_what_cannot_be_scored_is_said(stack: Stack) -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        layerd_scores([], stack)
    with pytest.raises(ValueError, match="raw, grey"):
        layerd_scores(stack, stack, variant="blue")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no sample"):
        aggregate([])
