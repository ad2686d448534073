"""The actions below the page, called as plain functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_scenes import twenty_layers

from acetate.errors import InputError
from acetate.layers.composite import flatten_array
from acetate.layers.document import Group, LayeredImage
from acetate.ui.actions import Studio, stem
from acetate.ui.arrange import place
from acetate.ui.checks import checked
from acetate.ui.jobs import Job
from acetate.ui.settings import StudioSettings


@pytest.fixture
def studio(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(
        StudioSettings(store=tmp_path / "store", models=(str(tiny_checkpoint),), max_megapixels=1)
    )
    yield studio
    studio.shut()


@pytest.fixture
def opened(studio: Studio, poster_file: Path) -> dict[str, Any]:
    return studio.open_file("anna", poster_file, "poster.png")


def ended(studio: Studio, job: Job) -> Job:
    studio.worker._thread.join(timeout=0)
    for _ in range(6000):
        if job.finished:
            return job
        job.cancel.wait(0.005)
    raise AssertionError(job.status)


def test_the_session_tells_what_there_is(studio: Studio, opened: dict[str, Any]) -> None:
    session = studio.session("anna")
    assert session["models"][0]["name"] == "random" and session["models"][0]["max_layers"] == 8
    assert session["documents"] == [{"id": opened["id"], "name": "poster"}] and session["job"] is None
    assert studio.session("ben")["documents"] == []
    assert "/" not in str([model["name"] for model in session["models"]])


def test_take_apart_keeps_the_picture_and_can_be_undone(
    studio: Studio, opened: dict[str, Any], poster_file: Path
) -> None:
    job = ended(studio, studio.decompose("anna", opened["id"], layers=3, steps=2))
    assert job.status == "done" and job.document == opened["id"]
    view = studio.document("anna", opened["id"])
    assert len(view["layers"]) == 3 and view["facts"]["recomposition"]["after"]["max"] <= 1
    record = studio.store.get("anna", opened["id"])
    source = record.state.source
    assert source is not None
    assert np.abs(flatten_array(record.state.doc).astype(int) - source.astype(int)).max() <= 1
    assert len(studio.undo("anna", opened["id"])["layers"]) == 1
    assert len(studio.redo("anna", opened["id"])["layers"]) == 3


def test_splitting_a_layer_puts_a_group_in_its_place(studio: Studio, opened: dict[str, Any]) -> None:
    ended(studio, studio.decompose("anna", opened["id"], layers=2, steps=1))
    layer = studio.document("anna", opened["id"])["layers"][0]["id"]
    before = flatten_array(studio.store.get("anna", opened["id"]).state.doc).astype(int)
    job = ended(studio, studio.decompose("anna", opened["id"], layers=2, layer=layer, steps=1))
    assert job.status == "done", job.error
    doc = studio.store.get("anna", opened["id"]).state.doc
    assert isinstance(doc.layers[0], Group) and doc.layers[0].name == "Background"
    assert np.abs(flatten_array(doc).astype(int) - before).max() <= 3


def test_adding_and_redoing_a_layer(studio: Studio, opened: dict[str, Any]) -> None:
    job = ended(studio, studio.add_layer("anna", opened["id"], "a red fish", box=[10, 10, 60, 50], steps=1))
    assert job.status == "done", job.error
    doc = studio.store.get("anna", opened["id"]).state.doc
    added = doc.leaves()[-1]
    assert added.name == "a red fish" and added.provenance.prompt == "a red fish"
    x0, y0, x1, y1 = added.box
    assert x0 >= 8 and y0 >= 8 and x1 <= 62 and y1 <= 52
    job = ended(
        studio, studio.add_layer("anna", opened["id"], "a blue star", replace=added.id, steps=1, seed=3)
    )
    again = studio.store.get("anna", opened["id"]).state.doc.leaves()
    assert job.status == "done" and len(again) == 2 and again[-1].name == "a red fish"
    assert again[-1].provenance.prompt == "a blue star"


def test_edits_export_and_growth(studio: Studio, opened: dict[str, Any]) -> None:
    document, layer = opened["id"], opened["layers"][0]["id"]
    view = studio.edit("anna", document, [f"rename:{layer},星星, bright", f"opacity:{layer},0.5"])
    assert view["layers"][0]["name"] == "星星, bright" and view["undo"] == "Rename"
    assert studio.undo("anna", document)["layers"][0]["opacity"] == 1
    for format in ("psd", "ora", "pptx", "zip", "png"):
        path = studio.export("anna", document, format)
        assert path.is_file() and path.name == f"poster.{format}"
        assert path.is_relative_to(studio.store.root)
    with pytest.raises(InputError, match="no format"):
        studio.export("anna", document, "../../evil")
    with pytest.raises(InputError, match="megapixels"):
        studio.edit("anna", document, [f"scale:{layer},300"])
    with pytest.raises(InputError, match="megapixels"):
        studio.edit("anna", document, ["crop:0,0,30000,30000"])
    far = [f"duplicate:{layer},Far", "move:Far,30000,30000", "merge-down:Far"]
    with pytest.raises(InputError, match="megapixels"):
        studio.edit("anna", document, far)
    with pytest.raises(InputError, match="too far"):
        studio.edit("anna", document, [f"move:{layer},1000000000,0"])
    with pytest.raises(InputError):
        studio.edit("ben", document, [f"hide:{layer}"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": 99}, "layers"),
        ({"layers": 0}, "layers"),
        ({"steps": 10**9}, "steps"),
        ({"seed": -1}, "seed"),
        ({"model": "/etc/passwd"}, "no model"),
        ({"layer": "nobody"}, "no layer"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_waits(
    studio: Studio, opened: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        studio.decompose("anna", opened["id"], **arguments)


def test_types_are_checked(studio: Studio) -> None:
    good = checked(studio.decompose, {"document": "x", "layers": 3.0, "layer": None})
    assert good == {"document": "x", "layers": 3, "layer": None} and isinstance(good["layers"], int)
    bad: list[dict[str, Any]] = [
        {"document": 5}, {"layers": "3"}, {"layers": True}, {"layers": 1.5}, {"layers": float("inf")},
        {"prompt": "x" * 5000}, {"prompt": ["x"]}, {"seed": 10**40}, {"nonsense": 1}, {"document": "a\0b"},
    ]  # fmt: skip
    for arguments in bad:
        with pytest.raises(InputError):
            checked(studio.decompose, arguments)
    with pytest.raises(InputError):
        checked(studio.generate, {"boxes": [[1, 2, "3", 4]]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.psd", "a"),
        ("../../etc/passwd", "etc_passwd"),
        ("海报.png", "海报"),
        ("", "Untitled"),
        ("a\nb\0c", "a_b_c"),
    ],
)
def test_names_are_safe_file_names(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_a_file_too_large_for_this_studio_is_refused(studio: Studio, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "big.png"
    Image.new("L", (2000, 2000)).save(path)
    with pytest.raises(InputError, match="megapixels") as error:
        studio.open_file("anna", path, "big.png")
    assert str(tmp_path) not in str(error.value)


def order(doc: LayeredImage) -> list[str]:
    return ["/".join(map(str, path)) + " " + node.name for path, node in doc.walk()]


def test_every_place_in_the_tree_can_be_reached_and_left() -> None:
    doc = twenty_layers()
    ids = [node.id for _, node in doc.walk()]
    groups = [None, *(node.id for _, node in doc.walk() if isinstance(node, Group))]
    moves = 0
    for node in ids:
        for parent in groups:
            inside = doc.layers if parent is None else doc.find(parent).layers  # type: ignore[union-attr]
            for index in (0, len(inside)):
                try:
                    moved = place(doc, node, parent, index)
                except InputError as error:
                    assert "cannot go into itself" in str(error)
                    continue
                moves += 1
                assert sorted(n.id for _, n in moved.walk()) == sorted(ids)
                path = moved.find_path(node)
                at = moved.layers if parent is None else moved.find(parent).layers  # type: ignore[union-attr]
                assert len(path) == (1 if parent is None else len(moved.find_path(parent)) + 1)
                assert at[0 if index == 0 else -1].id == node
    assert moves > 100


def test_tidying_removes_old_exports(
    studio: Studio, opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = studio.export("anna", opened["id"], "png")
    studio.tidy()
    assert path.exists()
    monkeypatch.setattr("acetate.ui.actions.EXPORT_SECONDS", -1)
    studio.tidy()
    assert not path.exists()
