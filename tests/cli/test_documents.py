"""`acetate inspect`, `flatten`, `convert`, `edit`, and the help that lists the edits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acetate.layers.document import Group, Layer, LayeredImage, Mask
from acetate.layers.edit import OPERATIONS

from .conftest import Run


@pytest.fixture
def layered(tmp_path: Path) -> Path:
    grey = np.full((20, 30, 4), 128, np.uint8)
    grey[..., 3] = 255
    mask = Mask(pixels=np.full((5, 5), 90, np.uint8), offset=(1, 2))
    sun = Layer(pixels=grey[:5, :6], name="太阳", offset=(3, 4), opacity=0.5, blend="screen", mask=mask)
    rain = Layer(pixels=grey[:2, :2], name="Rain", visible=False, clipping=True)
    sky = Group(layers=(sun, rain), name="Sky")
    document = LayeredImage(width=30, height=20, layers=(Layer(pixels=grey, name="Ground"), sky))
    return document.save(tmp_path / "layered.psd")


def test_inspect_shows_the_tree_topmost_first(run: Run, layered: Path) -> None:
    outcome = run("inspect", layered)
    assert outcome.status == 0
    head, columns, *rows = outcome.out.splitlines()
    assert head == f"{layered}: 30 x 20 px, 8 bits, 72 dpi, 3 layers"
    assert columns.split() == ["#", "name", "box", "opacity", "blend", "notes"]
    assert [row.split()[:2] for row in rows] == [
        ["#1", "Sky/"],
        ["#1.1", "Rain"],
        ["#1.0", "太阳"],
        ["#0", "Ground"],
    ]
    assert rows[1].endswith("hidden, clipping")
    assert rows[2].split()[-2:] == ["screen", "mask"]
    assert "3,4,9,9" in rows[2] and "50%" in rows[2]


def test_inspect_speaks_json(run: Run, layered: Path) -> None:
    facts = json.loads(run("inspect", layered, "--json").out)
    assert (facts["width"], facts["height"], facts["depth"]) == (30, 20, 8)
    ground, sky = facts["layers"]
    assert ground["type"] == "layer" and sky["type"] == "group"
    assert [child["name"] for child in sky["layers"]] == ["太阳", "Rain"]
    assert sky["layers"][0]["box"] == [3, 4, 9, 9]


def test_inspect_reads_flat_pictures(run: Run, picture: Path) -> None:
    assert "1 layer\n" in run("inspect", picture).out


def test_flatten_writes_what_is_visible(run: Run, layered: Path, tmp_path: Path) -> None:
    out = tmp_path / "flat.png"
    assert run("flatten", layered, "-o", out).status == 0
    expected = np.asarray(LayeredImage.open(layered).flatten())
    assert np.array_equal(np.asarray(Image.open(out).convert("RGBA")), expected)


def test_convert_there_and_back(run: Run, layered: Path, tmp_path: Path) -> None:
    outcome = run("convert", layered, tmp_path / "a.zip")
    assert outcome.status == 0 and outcome.out == f"{tmp_path / 'a.zip'}: 3 layers, 30 x 20 px\n"
    assert run("convert", tmp_path / "a.zip", tmp_path / "b.psd").status == 0
    first, second = (run("inspect", path, "--json").out for path in (layered, tmp_path / "b.psd"))
    assert json.loads(first)["layers"] == json.loads(second)["layers"]


def test_edit_applies_operations_in_order(run: Run, layered: Path, tmp_path: Path) -> None:
    out = tmp_path / "edited.psd"
    before = layered.read_bytes()
    outcome = run(
        "edit", layered, "rename:太阳,Moon", "move:Moon,2,-1", "opacity:Moon,0.25", "delete:Rain", "-o", out
    )
    assert outcome.status == 0, outcome.err
    document = LayeredImage.open(out)
    moon = document.find("Moon")
    assert isinstance(moon, Layer)
    assert moon.offset == (5, 3) and moon.opacity == pytest.approx(0.25, abs=1 / 255)
    assert len(document.leaves()) == 2
    assert layered.read_bytes() == before


def test_edit_may_write_over_its_own_input(run: Run, layered: Path) -> None:
    assert run("edit", layered, "rename:Ground,Earth", "-o", layered).status == 0
    assert LayeredImage.open(layered).find("Earth").name == "Earth"


def test_the_help_of_edit_lists_every_operation(run: Run) -> None:
    outcome = run("edit", "--help")
    assert outcome.status == 0
    for word, operation in OPERATIONS.items():
        assert f"{word}:{operation.arguments}" in outcome.out and operation.help in outcome.out
