"""The rows of the quality bench, one method each: run a model or a baseline over the scenes, score it, note the time.

Fills one :class:`Results`; knows neither bars nor files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .baselines import baselines, telea_background
from .grounds import GroundIndex, ground_ranks
from .metrics import composite_consistency, mean_psnr, occluded_psnr
from .results import BoxScore, GivenScore, Results, count_unchanged, mean_box_iou, score_codec
from .retrieval import RetrievalScore, SpriteIndex, retrieval_score, score_ranks
from .runs import (
    Models,
    complete_backgrounds,
    complete_foregrounds,
    count_scenes,
    decompose_scenes,
    generate_in_boxes,
    generate_scenes,
    kept_whole,
)
from .scenes import EvaluationScene, evaluation_scenes
from .scoring import score_method
from .speed import measure_speed

OnProgress = Callable[[str, int, int, float | None], None]
"""Called with (what is done, done, in all, seconds left or None)."""


class Bench:
    """The rows one by one, into one :class:`Results`."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.results = Results()
        self._on_progress = on_progress
        self._index: SpriteIndex | None = None

    @contextmanager
    def part(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Times a part and yields what it reports (done, in all) to."""
        began = time.perf_counter()

        def watch(done: int, total: int) -> None:
            left = (time.perf_counter() - began) / done * (total - done) if done else None
            self._on_progress(what, done, total, left)

        watch(0, 1)
        yield watch
        self.results.seconds[what] = round(time.perf_counter() - began, 2)

    def draw_scenes(self, count: int, size: int, *, unseen: bool, known: bool) -> None:
        """Draws the scenes of sprites that training never saw, those of sprites it knows, or both."""
        with self.part("drawing the scenes"):
            if unseen:
                self.results.scenes = evaluation_scenes(count, size=size)
            if known:
                self.results.worded = evaluation_scenes(count, size=size, known_sprites=True)

    def codec(self, models: Models) -> None:
        """True layers encoded and decoded: what the model cannot beat."""
        scenes, decoded = self.results.scenes, []
        with self.part("encoding and decoding the true layers") as watch:
            for done, scene in enumerate(scenes, start=1):
                decoded.append(models.codec(scene.layers))
                watch(done, len(scenes))
        self.results.codec = score_codec(decoded, scenes)
        seconds = self.results.seconds["encoding and decoding the true layers"]
        with self.part("scoring the codec"):
            self.results.through_codec = score_method(
                "true layers through the codec", decoded, scenes, seconds
            )

    def decompose(self, models: Models) -> None:
        """Held-out pictures into their true number of layers."""
        with self.part("taking pictures apart") as watch:
            made = self.results.decomposed = decompose_scenes(models, self.results.scenes, watch)
        seconds, scenes = self.results.seconds["taking pictures apart"], self.results.scenes
        with self.part("scoring the model"):
            self.results.model = score_method(models.name, [one.layers for one in made], scenes, seconds)
        if models.decompose.config.keep_whole:
            with self.part("keeping objects whole"):
                stacks = [
                    kept_whole(models, scene, one.layers) for scene, one in zip(scenes, made, strict=True)
                ]
                self.results.decomposed = [
                    replace(one, layers=stack) for one, stack in zip(made, stacks, strict=True)
                ]
            seconds += self.results.seconds["keeping objects whole"]
            with self.part("scoring whole objects"):
                self.results.bare = self.results.model
                title = f"{models.name}, objects kept whole"
                self.results.model = score_method(title, stacks, scenes, seconds)

    def auto(self, models: Models) -> None:
        """How many layers the model finds by itself."""
        scenes = self.results.scenes
        with self.part("counting layers") as watch:
            counts = count_scenes(models, scenes, watch)
        self.results.auto_errors = [n - len(s.layers) for n, s in zip(counts, scenes, strict=True)]

    def baselines(self, models: Models) -> None:
        """The same pictures without a model."""
        scenes = self.results.scenes
        for baseline in baselines():
            if baseline.missing is not None:
                self.results.absent.append((baseline.title, baseline.missing))
                continue
            stacks = []
            with self.part(f"baseline: {baseline.title}") as watch:
                for done, scene in enumerate(scenes, start=1):
                    stacks.append(baseline.run(scene))
                    watch(done, len(scenes))
            seconds = self.results.seconds[f"baseline: {baseline.title}"]
            with self.part(f"scoring: {baseline.title}"):
                self.results.baselines.append(score_method(baseline.title, stacks, scenes, seconds))
        if not self.results.absent:
            with self.part("painting backgrounds over"):
                self.results.telea = mean_psnr(_telea_psnr(scene) for scene in scenes)

    def generate(self, models: Models) -> None:
        """Layers from held-out captions, and how often each shows what its caption names."""
        scenes = self.results.worded
        with self.part("making layers from text") as watch:
            made = self.results.generated = generate_scenes(models, scenes, watch)
        self.results.consistency = mean_psnr(composite_consistency(one.layers, one.redrawn) for one in made)
        self.results.judge = self._retrieval(
            [scene.objects for scene in scenes], "looking the true layers up"
        )
        self.results.retrieval = self._retrieval(
            [one.layers[1:] for one in made], "looking the made layers up"
        )

    def boxes(self, models: Models) -> None:
        """The same with the true boxes given."""
        with self.part("making layers from text and boxes") as watch:
            made = self.results.boxed = generate_in_boxes(models, self.results.worded, watch)
        iou, layers = mean_box_iou(made, self.results.worded)
        retrieval = self._retrieval([one.layers[1:] for one in made], "looking the boxed layers up")
        self.results.boxes = BoxScore(iou=iou, layers=layers, retrieval=retrieval)

    def given(self, models: Models) -> None:
        """Objects for given backgrounds, and backgrounds for given objects."""
        scenes = self.results.worded
        with self.part("making objects for backgrounds") as watch:
            forward = self.results.forward = complete_foregrounds(models, scenes, watch)
        with self.part("making backgrounds for objects") as watch:
            back = self.results.back = complete_backgrounds(models, scenes, watch)
        kept = [count_unchanged(forward, scenes, slice(0, 1)), count_unchanged(back, scenes, slice(1, None))]
        objects = self._retrieval([one.layers[1:] for one in forward], "looking those objects up")
        with self.part("looking those backgrounds up"):
            index, wanted = GroundIndex(), [scene.scene.background for scene in scenes]
            made, true = (
                score_ranks(ground_ranks(index, [one.layers[0] for one in stacks], wanted))
                for stacks in (back, scenes)
            )
        self.results.given = GivenScore(
            forward=objects,
            back=made,
            judge=true,
            unchanged=sum(equal for equal, _ in kept),
            given=sum(every for _, every in kept),
        )

    def speed(self, models: Models) -> None:
        """Against diffusers' own pipeline."""
        with self.part("timing against diffusers"):
            self.results.speed = measure_speed(models, self.results.scenes[0].picture)

    def _retrieval(self, stacks: list[Any], what: str) -> RetrievalScore:
        with self.part(what):
            if self._index is None:
                from ..datasets.sprites import build_atlas

                self._index = SpriteIndex(build_atlas())
            named = [[(o.kind, o.name) for o in scene.scene.objects] for scene in self.results.worded]
            layers = [layer for stack in stacks for layer in stack]
            return retrieval_score(self._index, layers, [name for names in named for name in names])


def _telea_psnr(scene: EvaluationScene) -> float | None:
    return occluded_psnr(telea_background(scene), scene.layers[0], scene.objects)
