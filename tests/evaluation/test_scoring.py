"""One scene's figures together, their means, and what the tables say of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from acetate.evaluation.acceptance import acceptance, by_objects, comparison
from acetate.evaluation.pages import plain
from acetate.evaluation.quality import ROWS
from acetate.evaluation.results import BoxScore, CodecScore, GivenScore, Results, mean_box_iou, score_codec
from acetate.evaluation.retrieval import RetrievalScore
from acetate.evaluation.runs import Prediction
from acetate.evaluation.scenes import EvaluationScene
from acetate.evaluation.scoring import clear_specks, score_method, score_sample
from acetate.evaluation.speed import SpeedReport
from acetate.evaluation.table import aligned, reached


def test_the_truth_scores_perfectly(scenes: list[EvaluationScene]) -> None:
    for scene in scenes:
        score = score_sample(scene.layers, scene)
        assert (score.raw[0].l1, score.raw[0].iou) == (0, 1)
        assert score.alpha_mae == score.gradient == score.count_error == 0
        assert score.background in (None, math.inf) and score.recomposition > 50


def test_layers_in_another_order_are_matched_before_alphas_are_compared(
    scenes: list[EvaluationScene],
) -> None:
    scene = max(scenes, key=lambda scene: len(scene.layers))
    score = score_sample([scene.layers[0], *scene.layers[:0:-1]], scene)
    assert score.alpha_mae == 0


def test_fewer_layers_count_as_missing(scenes: list[EvaluationScene]) -> None:
    scene = scenes[0]
    score = score_sample(scene.layers[:1], scene)
    assert score.count_error == 1 - len(scene.layers)
    shown = np.mean([(layer[..., 3] / 255).mean() for layer in scene.objects])
    assert score.alpha_mae == pytest.approx(shown, rel=1e-5)


def test_dust_is_cleared_for_one_figure_only(scenes: list[EvaluationScene]) -> None:
    scene = max(scenes, key=lambda scene: len(scene.layers))
    dusty = [scene.layers[0], *(layer.copy() for layer in scene.objects)]
    for layer in dusty[1:]:
        layer[layer[..., 3] == 0] = (128, 128, 128, 3)
    score = score_sample(dusty, scene)
    assert score.raw[0].iou < score.cleared[0].iou == 1
    kept = clear_specks(dusty)[1][..., 3]
    assert not ((kept > 0) & (kept < 8)).any()


def test_means_and_worst(scenes: list[EvaluationScene]) -> None:
    stacks = [list(scene.layers) for scene in scenes]
    stacks[2] = [scenes[2].picture, *np.zeros_like(scenes[2].objects)]
    method = score_method("mixed", stacks, scenes, seconds=8.0)
    assert method.worst(2)[0] == 2
    assert method.raw[0].iou == pytest.approx(np.mean([s.raw[0].iou for s in method.samples]))
    assert method.seconds_per_scene == 2 and method.count_exact == 0.75
    assert sum(row["scenes"] for row in method.by_objects().values()) == 4
    text = json.dumps(plain(method.as_dict()), allow_nan=False)
    assert len(json.loads(text)["samples"]) == 4


def test_a_perfect_codec(scenes: list[EvaluationScene]) -> None:
    score = score_codec([scene.layers for scene in scenes], scenes)
    assert (score.psnr, score.alpha_iou) == (60, 1)
    assert score.layers == sum(len(scene.layers) for scene in scenes)


def test_boxes_of_the_truth_are_met(scenes: list[EvaluationScene]) -> None:
    made = [Prediction(layers=scene.layers, redrawn=scene.picture) for scene in scenes]
    iou, layers = mean_box_iou(made, scenes)
    assert iou == 1 and layers == sum(len(scene.objects) for scene in scenes)


def test_a_bar_is_met_or_not() -> None:
    assert reached("x", 0.5, 0.5).verdict == "pass"
    assert reached("x", 0.5, 0.5, strict=True).verdict == "not yet"
    assert reached("x", 0.49, 0.5).verdict == "not yet"
    assert reached("x", 0.05, 0.06, most=True).verdict == "pass"
    assert reached("x", None, 1).verdict == "not run"
    assert (
        reached("x", 31.96, 32, form="{:.1f}").verdict == "not yet"
    )  # what is printed rounds, what is judged does not


def test_tables_are_aligned() -> None:
    text = aligned(("a", "number"), [("long name", "1"), ("b", "22")], right=(1,))
    assert text.splitlines() == [
        "a          number",
        "---------  ------",
        "long name       1",
        "b              22",
    ]


def test_the_table_holds_every_figure_of_the_issue(scenes: list[EvaluationScene]) -> None:
    truth = score_method("the truth", [scene.layers for scene in scenes], scenes, 1.0)
    flat = [[scene.picture, *np.zeros_like(scene.objects)] for scene in scenes]
    results = Results(
        scenes=scenes,
        codec=CodecScore(psnr=33, pooled=32, backgrounds=31, objects=35, alpha_iou=0.97, layers=9),
        model=truth,
        baselines=[score_method("picture as one layer", flat, scenes, 0.1)],
        telea=18.0,
        auto_errors=[0, 0, 0, 2],
        retrieval=RetrievalScore(top1=0.7, top5=0.79, count=10),
        boxes=BoxScore(iou=0.8, layers=4, retrieval=RetrievalScore(top1=0.5, top5=0.6, count=4)),
        given=GivenScore(
            forward=RetrievalScore(top1=0.6, top5=0.7, count=6),
            back=RetrievalScore(top1=0.4, top5=0.7, count=4),
            judge=RetrievalScore(top1=0.9, top5=0.9, count=4),
            unchanged=10,
            given=10,
        ),
        speed=SpeedReport(
            ours=4,
            stock=5,
            ours_all=(4, 5),
            stock_all=(5, 6),
            layers=4,
            size=128,
            steps=8,
            guidance=1,
            threads=2,
            load=1,
        ),
    )
    figures = acceptance(results, ROWS)
    judged = [(figure.verdict, figure.bar) for figure in figures if figure.bar]
    assert judged == [
        ("pass", ">= 32.0 dB"),
        ("not yet", ">= 0.980"),
        ("pass", "<= 0.060"),
        ("pass", ">= 0.850"),
        ("pass", f"< {results.baselines[0].raw[0].l1:.3f}"),
        ("pass", f"> {results.baselines[0].raw[0].iou:.3f}"),
        ("pass", ">= 28.0 dB"),
        ("pass", "> 18.0 dB"),
        ("pass", ">= 70.0%"),
        ("not yet", ">= 95.0%"),
        ("pass", ">= 60.0%"),
        ("not yet", ">= 80.0%"),
        ("pass", ">= 0.750"),
        ("not yet", ">= 50.0%"),
        ("pass", ">= 100.0%"),
        ("pass", "<= 15.0 s"),
        ("pass", "<= 1.00x"),
    ]
    assert [line.split("  ")[0] for line in comparison(results).splitlines()[2:]] == [
        "the truth",
        "picture as one layer",
    ]
    assert len(by_objects(results).splitlines()) == 2 + len(truth.by_objects())


def test_rows_that_were_not_run_say_so() -> None:
    figures = acceptance(Results(absent=[("GrabCut", "opencv is not installed")]), ROWS)
    assert {figure.verdict for figure in figures if figure.bar} == {"not run"}
    assert any("opencv is not installed" in figure.note for figure in figures)
    assert comparison(Results()) == by_objects(Results()) == ""
    assert acceptance(Results(), ["codec"])[0].name.startswith("RGBA VAE")
