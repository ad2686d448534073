"""`acetate.complete`, `extract` and `transparent`: what stays, what adds up, and what is refused before a model loads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acetate
from acetate.errors import Cancelled, InputError


def noise(seed: int, width: int = 40, height: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


@pytest.fixture
def document() -> acetate.LayeredImage:
    names = ("Sky", "Fish", "Sun")
    layers = tuple(acetate.Layer(pixels=noise(i), name=name) for i, name in enumerate(names))
    return acetate.LayeredImage(width=40, height=24, layers=layers)


def names(document: acetate.LayeredImage) -> list[str]:
    return [layer.name for layer in document.leaves()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"layer": "Fish"}, ["Sky", "a star", "Sun"]),
        ({"layer": "#0"}, ["a star", "Fish", "Sun"]),
        ({"layer": "Fish", "add": "above"}, ["Sky", "Fish", "a star", "Sun"]),
        ({"layer": "Fish", "add": "below"}, ["Sky", "a star", "Fish", "Sun"]),
        ({}, ["Sky", "Fish", "Sun", "a star"]),
        ({"add": "below"}, ["a star", "Sky", "Fish", "Sun"]),
    ],
)
def test_one_layer_is_made_and_the_others_stay(
    arguments: dict, expected: list[str], document: acetate.LayeredImage, tiny_checkpoint: Path
) -> None:
    made = acetate.complete(document, **arguments, prompt="a star", model=str(tiny_checkpoint))
    assert names(made) == expected and (made.width, made.height) == (40, 24)
    before = {layer.name: layer for layer in document.leaves()}
    for layer in made.leaves():
        assert layer.name == "a star" or layer is before[layer.name]
    report = made.metadata["report"]
    assert report["task"] == "complete" and report["recomposition"] is None
    assert report["arguments"]["missing"] == [expected.index("a star") + 1]


def test_a_layer_made_anew_is_drawn_as_the_old_one_was(tiny_checkpoint: Path) -> None:
    base, shade = acetate.Layer(pixels=noise(1), name="Base"), acetate.Layer(
        pixels=noise(2), name="Shade", blend=acetate.BlendMode.MULTIPLY, opacity=0.5, clipping=True
    )  # fmt: skip
    sky = acetate.Layer(pixels=noise(0), name="Sky")
    document = acetate.LayeredImage(width=40, height=24, layers=(sky, base, shade))
    again = acetate.complete(document, "Shade", model=str(tiny_checkpoint)).leaves()[2]
    assert (again.name, again.blend, again.opacity, again.clipping) == ("Shade", shade.blend, 0.5, True)
    assert again.pixels.shape != shade.pixels.shape or not np.array_equal(again.pixels, shade.pixels)
    named = acetate.complete(document, "Shade", prompt="a star", model=str(tiny_checkpoint)).leaves()[2]
    assert (named.name, named.blend) == ("a star", shade.blend)
    added = acetate.complete(document, "Base", add="above", prompt="a star", model=str(tiny_checkpoint))
    assert names(added) == ["Sky", "Base", "Shade", "a star"]  # what is clipped to the base stays so


def test_a_list_says_by_none_what_is_missing(tiny_checkpoint: Path) -> None:
    model, fish = str(tiny_checkpoint), noise(1)
    made = acetate.complete([None, fish, None], prompt=["a blue sky", None], model=model, seed=4)
    assert names(made) == ["a blue sky", "Layer 1", "Layer 2"]
    assert np.array_equal(made.leaves()[1].pixels, fish)
    boxed = acetate.complete([fish, None], box=(3, 2, 30, 20), model=model).leaves()[1]
    x0, y0, x1, y1 = boxed.box
    assert x0 >= 3 and y0 >= 2 and x1 <= 30 and y1 <= 20
    boxes = [None, tuple(np.int64(side) for side in (3, 2, 30, 20))]
    two = acetate.complete([fish, None, None], box=boxes, model=model, seed=np.int64(4), steps=np.int32(1))
    told = two.metadata["report"]
    assert told["arguments"]["box"] == [None, [3, 2, 30, 20]] and (
        told["seed"],
        told["arguments"]["steps"],
    ) == (4, 1)


@pytest.mark.parametrize("place", ["mask", "box"])
def test_an_object_and_its_background_add_up(place: str, tiny_checkpoint: Path) -> None:
    picture = np.full((30, 50, 4), 255, np.uint8)
    picture[..., :3] = noise(3, 50, 30)[..., :3]
    mask = np.zeros((30, 50), np.uint8)
    mask[5:20, 10:30] = 255
    where: dict[str, Any] = {"mask": mask} if place == "mask" else {"box": (10, 5, 30, 20)}
    model = str(tiny_checkpoint)
    document = acetate.extract(picture, **where, model=model)
    assert names(document) == ["Background", "Object"] and (document.width, document.height) == (50, 30)
    assert np.abs(np.asarray(document.flatten()).astype(int) - picture).max() <= 1
    assert document.metadata["report"]["recomposition"]["after"]["max"] <= 1
    other = acetate.extract(picture, mask=mask, model=model, size="model")
    assert (other.width, other.height) == (80, 48)
    pixels = [layer.pixels for layer in document.leaves()]
    same = [layer.pixels for layer in acetate.extract(picture, mask, model=model).leaves()]
    assert all(np.array_equal(a, b) for a, b in zip(pixels, same, strict=True))


def test_a_transparent_layer(tiny_checkpoint: Path) -> None:
    model = str(tiny_checkpoint)
    document = acetate.transparent("a red star", model=model, size=(50, 33), seed=2)
    assert names(document) == ["a red star"] and (document.width, document.height) == (50, 33)
    assert document.metadata["task"] == "transparent" and document.metadata["seed"] == 2
    assert (acetate.transparent("a red star", model=model).width) == 64


def test_runs_take_turns_and_one_that_waits_can_be_stopped(tiny_checkpoint: Path) -> None:
    model, waited, cancel = str(tiny_checkpoint), [], threading.Event()

    def second() -> None:
        try:
            acetate.transparent("a star", model=model, cancel=cancel)
        except Cancelled as error:
            waited.append(error)

    def step(progress: Any) -> None:
        if waited:
            return
        with pytest.raises(InputError, match="a run is under way in this thread"):
            acetate.transparent("a star", model=model)
        thread = threading.Thread(target=second)
        thread.start()
        cancel.set()
        thread.join(20)  # while this run has not ended
        assert waited

    acetate.transparent("a fish", model=model, steps=2, on_step=step)
    assert len(waited) == 1
    acetate.transparent("a star", model=model, steps=1)  # the next one finds the model free


def test_phases_and_stopping(document: acetate.LayeredImage, tiny_checkpoint: Path) -> None:
    seen: list[str] = []
    cancel = threading.Event()
    model = str(tiny_checkpoint)
    acetate.complete(document, "Fish", model=model, on_progress=lambda phase, *_: seen.append(phase))
    assert list(dict.fromkeys(seen)) == ["load", "encode", "denoise", "decode"]
    cancel.set()
    for run in (
        lambda: acetate.complete(document, "Fish", model=model, cancel=cancel),
        lambda: acetate.extract(noise(1), box=(0, 0, 9, 9), model=model, cancel=cancel),
        lambda: acetate.transparent("a star", model=model, cancel=cancel),
    ):
        with pytest.raises(Cancelled):
            run()


@pytest.mark.parametrize(
    ("layers", "arguments", "says"),
    [
        (None, {"layer": "Bird"}, "Bird"),
        (None, {"layer": "Fish", "add": "beside"}, "add must be"),
        (None, {"layer": "Fish", "prompt": ["a", "b"]}, "2 prompts were given for 1 missing"),
        (None, {"layer": "Fish", "box": (0, 0, 99, 9)}, "leaves the 40 x 24 canvas"),
        (None, {"layer": "#0", "box": (0, 0, 9, 9)}, "background"),
        (None, {"layer": "Fish", "steps": 0}, "steps must lie"),
        ([None, None], {}, "no layer is given"),
        ([noise(1)], {}, "nothing to make"),
        ([noise(1), None], {"layer": "Fish"}, "in a list"),
        ([noise(1), noise(2, 9, 9), None], {}, "different sizes"),
        ([noise(1), *[None] * 8], {}, "between 1 and 8"),
    ],
)
def test_what_cannot_be_completed(
    layers: Any, arguments: dict, says: str, document: acetate.LayeredImage, tiny_checkpoint: Path
) -> None:
    with pytest.raises(InputError, match=says):
        acetate.complete(document if layers is None else layers, **arguments, model=str(tiny_checkpoint))


def test_locked_grouped_and_lonely_layers_are_refused(document: acetate.LayeredImage) -> None:
    inside = acetate.Layer(pixels=noise(9), name="Inside")
    sky, fish, sun = document.layers
    odd = document.with_layers([sky.replace(locked=True), acetate.Group(layers=(inside,)), fish, sun])
    with pytest.raises(InputError, match="locked"):
        acetate.complete(odd, "Sky")
    with pytest.raises(InputError, match="in a group"):
        acetate.complete(odd, "Inside")
    with pytest.raises(InputError, match="no other layer"):
        acetate.complete(document.with_layers([fish]), "Fish")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "either a mask or a box"),
        ({"mask": noise(1), "box": (0, 0, 9, 9)}, "either a mask or a box"),
        ({"mask": np.zeros((24, 40), np.uint8)}, "black everywhere"),
        ({"mask": noise(1, 9, 9)}, "9 x 9 pixels, the picture 40 x 24"),
        ({"box": (0, 0, 41, 9)}, "leaves the 40 x 24 canvas"),
        ({"box": (0, 0, 9, 9), "size": "huge"}, "'native' or 'model'"),
    ],
)
def test_objects_that_cannot_be_lifted(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        acetate.extract(noise(1), **arguments)


def test_empty_words_for_a_layer() -> None:
    with pytest.raises(InputError, match="prompt is empty"):
        acetate.transparent("  ")
    with pytest.raises(InputError, match="width"):
        acetate.transparent("a star", size=(0, 9))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: acetate.complete("stack.zip"), "give a document .LayeredImage.open., or a list"),
        (lambda: acetate.complete([noise(0), None], prompt="star \udcff"), "the prompt holds bytes that are no UTF-8"),
        (lambda: acetate.complete([noise(0), None], scene=3), "the scene must be text, not 3"),
        (lambda: acetate.transparent("star \udcff"), "the prompt holds bytes that are no UTF-8"),
        (lambda: acetate.transparent("a star", size=(10,)), r"the size must be \(width, height\)"),
        (lambda: acetate.generate("a star", size=(64.0, 64.0)), r"the size must be \(width, height\)"),
        (lambda: acetate.decompose(noise(0), 2, prompt=5), "the prompt must be text, not 5"),
        (lambda: acetate.decompose(noise(0), True), "the number of layers must lie between 1 and"),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_kind_are_named(call: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()


def test_a_picture_of_which_everything_changes_gives_its_aspect(tiny_checkpoint: Path) -> None:
    model = str(tiny_checkpoint)
    made = acetate.transparent("a star", noise(3, 80, 40), strength=1.0, model=model, seed=1)
    other = acetate.transparent("a star", noise(4, 80, 40), strength=1.0, model=model, seed=1)
    assert made.width == 2 * made.height and np.array_equal(made.leaves()[0].pixels, other.leaves()[0].pixels)
