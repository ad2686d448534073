"""`acetate complete`, `extract` and `transparent` on a small random model: what is written, said and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acetate.layers.document import Layer, LayeredImage

from .conftest import Run


@pytest.fixture
def poster(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    layers = [
        Layer(pixels=rng.integers(1, 256, (30, 40, 4), np.uint8), name=name)
        for name in ("Sky", "Fish", "Sun")
    ]
    return LayeredImage(width=40, height=30, layers=tuple(layers)).save(tmp_path / "poster.zip")


def test_complete_makes_one_layer_and_keeps_the_others(
    run: Run, poster: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    before = LayeredImage.open(poster).leaves()
    out = tmp_path / "poster2.zip"
    words = ["--layer", "Fish", "--prompt", "a red star", "--box", "4,4,30,28", "--model", tiny_checkpoint]
    outcome = run("complete", poster, *words, "-o", out)
    assert outcome.status == 0, outcome.err
    assert f"{out}: 3 layers, 40 x 30 px" in outcome.out
    sky, star, sun = LayeredImage.open(out).leaves()
    assert np.array_equal(sky.pixels, before[0].pixels) and np.array_equal(sun.pixels, before[2].pixels)
    assert star.name == "a red star" and star.offset >= (4, 4)
    assert run("complete", poster, "--add", "below", "-q", "--model", tiny_checkpoint, "-o", out).status == 0
    assert [layer.name for layer in LayeredImage.open(out).leaves()] == ["Background", "Sky", "Fish", "Sun"]


@pytest.mark.parametrize("where", ["--mask", "--box"])
def test_extract_writes_two_layers_that_add_up(
    where: str, run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "mask.png"
    plane = np.zeros((30, 40), np.uint8)
    plane[8:22, 10:30] = 255
    Image.fromarray(plane).save(mask)
    out = tmp_path / "lifted.ora"
    value = mask if where == "--mask" else "10,8,30,22"
    outcome = run("extract", picture, where, value, "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 0, outcome.err
    assert "2 layers" in outcome.out and "recomposition error" in outcome.out
    document = LayeredImage.open(out)
    assert [layer.name for layer in document.leaves()] == ["Background", "Object"]
    error = np.asarray(document.flatten()).astype(int) - np.asarray(Image.open(picture).convert("RGBA"))
    assert np.abs(error).max() <= 1


def test_transparent_writes_a_picture_with_alpha(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "star.png"
    outcome = run("transparent", "a red star", "--size", "50x33", "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 0, outcome.err
    assert f"{out}: 1 layer, 50 x 33 px" in outcome.out
    with Image.open(out) as picture:
        assert picture.mode == "RGBA" and picture.size == (50, 33)


def test_the_same_seed_gives_the_same_bytes(
    run: Run, poster: Path, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for task in (["complete", poster], ["extract", picture, "--box", "1,1,20,20"], ["transparent", "a fish"]):
        written = []
        for number, seed in enumerate((3, 3, 4)):
            out = tmp_path / f"{task[0]}{number}.psd"
            assert run(*task, "-q", "--seed", seed, "--model", tiny_checkpoint, "-o", out).status == 0
            written.append(out.read_bytes())
        assert written[0] == written[1] != written[2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["complete", "POSTER", "--layer", "Bird"], "Bird"),
        (["complete", "POSTER", "--box", "1,2,3"], "--box must be four whole numbers"),
        (["complete", "POSTER", "--add", "beside"], "beside"),
        (["complete", "nowhere.psd"], "nowhere.psd"),
        (["extract", "PICTURE"], "either --mask or --box"),
        (["extract", "PICTURE", "--box", "0,0,99,9"], "leaves the 40 x 30 canvas"),
        (["extract", "PICTURE", "--mask", "nowhere.png"], "nowhere.png does not exist"),
        (["transparent", " "], "prompt is empty"),
        (["transparent", "a fish", "--size", "9"], "WIDTHxHEIGHT"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], says: str, run: Run, poster: Path, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result.psd"
    out.write_bytes(b"old")
    named = {"POSTER": str(poster), "PICTURE": str(picture)}
    outcome = run(*[named.get(word, word) for word in words], "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 2 and says in outcome.complaint
    assert out.read_bytes() == b"old"
