"""The row `given`: true backgrounds are recognised, wrong ones are not, and a layer that changed is counted as changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acetate.cli.bench import load
from acetate.cli.progress import Silence
from acetate.datasets.sprites import Atlas
from acetate.evaluation.acceptance import acceptance
from acetate.evaluation.grounds import GroundIndex, ground_ranks, look
from acetate.evaluation.results import GivenScore, Results, count_unchanged
from acetate.evaluation.retrieval import RetrievalScore, score_ranks
from acetate.evaluation.runs import Prediction, complete_backgrounds, complete_foregrounds
from acetate.evaluation.scenes import EvaluationScene, evaluation_scenes


@pytest.fixture(scope="module")
def index() -> GroundIndex:
    return GroundIndex()


@pytest.fixture(scope="module")
def drawn(atlas: Atlas) -> list[EvaluationScene]:
    return evaluation_scenes(60, size=64, known_sprites=True, atlas=atlas)


def test_true_backgrounds_are_recognised_and_others_are_not(
    index: GroundIndex, drawn: list[EvaluationScene]
) -> None:
    layers, wanted = [one.layers[0] for one in drawn], [one.scene.background for one in drawn]
    assert score_ranks(ground_ranks(index, layers, wanted)).top1 >= 0.8
    assert score_ranks(ground_ranks(index, layers[1:] + layers[:1], wanted)).top1 <= 0.1


def test_an_empty_layer_is_no_background(index: GroundIndex, drawn: list[EvaluationScene]) -> None:
    found = index.search(np.zeros((64, 64, 4), np.uint8))
    assert len(found) == 5 and found[0] == ("flat", frozenset({"black"}))
    assert look(drawn[0].scene.background)[0] in drawn[0].scene.background.caption


def test_given_layers_come_back_from_both_rows(tiny_checkpoint: Path, scenes: list[EvaluationScene]) -> None:
    models = load(str(tiny_checkpoint), 1, Silence())
    forward = complete_foregrounds(models, scenes, lambda done, total: None)
    back = complete_backgrounds(models, scenes, lambda done, total: None)
    objects = sum(len(scene.objects) for scene in scenes)
    assert count_unchanged(forward, scenes, slice(0, 1)) == (4, 4)
    assert count_unchanged(back, scenes, slice(1, None)) == (objects, objects)
    assert count_unchanged(forward, scenes, slice(1, None))[0] < objects
    layers = forward[0].layers.copy()
    layers[0, 5, 5, 0] ^= 1
    broken = [Prediction(layers=layers, redrawn=forward[0].redrawn), *forward[1:]]
    assert count_unchanged(broken, scenes, slice(0, 1)) == (3, 4)


def test_the_figure_is_the_lower_of_both_ways() -> None:
    def score(top1: float) -> RetrievalScore:
        return RetrievalScore(top1=top1, top5=1.0, count=10)

    given = GivenScore(forward=score(0.7), back=score(0.4), judge=score(0.9), unchanged=20, given=20)
    way, exact = acceptance(Results(given=given), ["given"])
    assert (way.value, way.verdict, exact.verdict) == (0.4, "not yet", "pass")
    assert "70.0% of 10 objects" in way.note and "true ones: 90.0%" in way.note
    one_less = GivenScore(forward=score(0.7), back=score(0.6), judge=score(0.9), unchanged=19, given=20)
    assert [f.verdict for f in acceptance(Results(given=one_less), ["given"])] == ["pass", "not yet"]
    assert [figure.verdict for figure in acceptance(Results(), ["given"])] == ["not run", "not run"]
