"""The actions below the page, called as plain functions."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_scenes import twenty_layers

from acetate.errors import InputError, OutputError
from acetate.layers.composite import flatten_array
from acetate.layers.document import Group, Layer, LayeredImage
from acetate.ui.actions import Studio, stem
from acetate.ui.app import tidy_often
from acetate.ui.arrange import place
from acetate.ui.checks import checked
from acetate.ui.context import gap_at, reduced
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


def test_an_automatic_number_of_layers(studio: Studio, opened: dict[str, Any]) -> None:
    job = ended(studio, studio.decompose("anna", opened["id"], layers=None, steps=1))
    assert job.status == "done", job.error
    view = studio.document("anna", opened["id"])
    assert 1 <= len(view["layers"]) <= 8 and view["facts"]["recomposition"]["after"]["max"] <= 1


def test_adding_and_redoing_a_layer(studio: Studio, opened: dict[str, Any]) -> None:
    document = opened["id"]
    ground = pixels(studio, document)[0]
    job = ended(studio, studio.complete("anna", document, "a red fish", box=[10, 10, 60, 50], steps=1))
    assert job.status == "done", job.error
    doc = studio.store.get("anna", document).state.doc
    added = doc.leaves()[-1]
    assert added.name == "a red fish" and added.provenance.prompt == "a red fish"
    x0, y0, x1, y1 = added.box
    assert x0 >= 8 and y0 >= 8 and x1 <= 62 and y1 <= 52
    again = studio.complete("anna", document, "a blue star", layer=added.id, where="instead", steps=1, seed=3)
    assert ended(studio, again).status == "done", again.error
    leaves = studio.store.get("anna", document).state.doc.leaves()
    assert len(leaves) == 2 and leaves[-1].name == "a red fish"
    assert leaves[-1].provenance.prompt == "a blue star" and leaves[-1].box[0] >= x0 - 2
    assert np.array_equal(leaves[0].pixels, ground)  # the given layer stays as it was


def test_filling_behind_a_layer(studio: Studio, tmp_path: Path) -> None:
    path = twenty_layers().save(tmp_path / "twenty.zip")
    document = studio.open_file("anna", path, "twenty.zip")["id"]
    before = studio.store.get("anna", document).state.doc
    inner = next(node for _, node in before.walk() if node.name == "Layer 10")
    job = ended(studio, studio.complete("anna", document, layer=inner.id, where="behind", steps=1))
    assert job.status == "done", job.error
    after = studio.store.get("anna", document).state.doc
    place = after.find_path(inner.id)
    filled = after.find("#" + ".".join(map(str, (*place[:-1], place[-1] - 1))))
    assert filled.name == "Background" and isinstance(filled, Layer) and filled.box == after.box
    assert len(after.leaves()) == len(before.leaves()) + 1


def test_lifting_an_object_out_of_a_layer_and_of_the_picture(studio: Studio, opened: dict[str, Any]) -> None:
    document = opened["id"]
    before = flatten_array(studio.store.get("anna", document).state.doc).astype(int)
    layer = opened["layers"][0]["id"]
    job = ended(studio, studio.extract("anna", document, [8, 8, 44, 44], layer=layer, steps=1))
    assert job.status == "done", job.error
    doc = studio.store.get("anna", document).state.doc
    assert isinstance(doc.layers[0], Group) and doc.layers[0].name == "poster"
    assert np.abs(flatten_array(doc).astype(int) - before).max() <= 1
    studio.undo("anna", document)
    job = ended(studio, studio.extract("anna", document, [8, 8, 44, 44], steps=1))
    doc = studio.store.get("anna", document).state.doc
    assert job.status == "done" and [node.name for node in doc.layers] == ["Background", "Object"]
    assert np.abs(flatten_array(doc).astype(int) - before).max() <= 1
    with pytest.raises(InputError, match="outside"):
        studio.extract("anna", document, [300, 300, 400, 400])


@pytest.mark.parametrize(("below", "above", "most"), [(9, 5, 4), (1, 9, 4), (9, 1, 2), (1, 1, 1), (0, 7, 1)])
def test_a_context_of_many_layers_shows_the_same(below: int, above: int, most: int) -> None:
    leaves = [node.replace(blend="normal", clipping=False) for node in twenty_layers().leaves()]
    doc = LayeredImage(width=96, height=96, layers=tuple(leaves[: below + above]))
    gap = gap_at(doc, f"#{below - 1}" if below else None, "above" if below else "below")
    given, place = reduced(doc, gap, most)
    assert len(given.layers) <= most and 0 <= place <= len(given.layers)
    assert np.abs(flatten_array(given).astype(int) - flatten_array(doc).astype(int)).max() <= 2


def test_a_document_that_has_grown_too_large_gets_no_more_layers(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    studio = Studio(StudioSettings(store=tmp_path / "store", models=(str(tiny_checkpoint),), max_layers=30))
    document = studio.open_file("anna", twenty_layers().save(tmp_path / "twenty.zip"), "twenty.zip")["id"]
    record = studio.store.get("anna", document)
    many = tuple(layer.replace(id="") for layer in record.state.doc.leaves() * 2)
    record.change("Grow", lambda doc: doc.with_layers(many))
    with pytest.raises(InputError, match="at most 30 layers"):
        studio.complete("anna", document, "a fish")
    studio.shut()


def test_what_a_gap_sees() -> None:
    doc = twenty_layers()
    gap = gap_at(doc, "Layer 10", "instead")
    expected = ["Background", *(f"Layer {n}" for n in range(5)), "Isolated"]
    assert [node.name for node in gap.below] == [*expected, "Layer 11", "Layer 12", "Layer 13", "Layer 8"]
    assert "Layer 9" not in str([node.name for node in gap.nodes])  # it is hidden
    with pytest.raises(InputError, match="no other visible layer"):
        gap_at(doc.with_layers(doc.layers[:1]), "Background", "instead")
    with pytest.raises(InputError, match="goes above"):
        gap_at(doc, None, "sideways")


def pixels(studio: Studio, document: str) -> list[np.ndarray]:
    return [layer.pixels for layer in studio.store.get("anna", document).state.doc.leaves()]


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
        {"prompt": "a\ud83d"},
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
                    moved = place(doc, [node], parent, index)
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


def test_several_nodes_go_together_and_keep_their_order() -> None:
    """Any two or three nodes to any place: they lie there together, bottom to top as before; all else keeps its order."""
    doc = twenty_layers()
    every = [node.id for _, node in doc.walk()]
    groups = [None, *(node.id for _, node in doc.walk() if isinstance(node, Group))]
    rng, moves = random.Random(1), 0
    for _ in range(400):
        chosen = rng.sample(every, rng.choice((2, 3)))
        outer = [
            one
            for one in every
            if one in chosen and not any(_inside(doc, one, other) for other in chosen if other != one)
        ]
        parent = rng.choice(groups)
        inside = doc.layers if parent is None else doc.find(parent).layers  # type: ignore[union-attr]
        index = rng.randint(0, len(inside))
        if parent is not None and any(parent == one or _inside(doc, parent, one) for one in outer):
            with pytest.raises(InputError, match="cannot go into itself"):
                place(doc, chosen, parent, index)
            continue
        moved = place(doc, chosen, parent, index)
        moves += 1
        at = moved.layers if parent is None else moved.find(parent).layers  # type: ignore[union-attr]
        below = [node.id for node in inside[:index] if node.id not in outer]
        above = [node.id for node in inside[index:] if node.id not in outer]
        assert [node.id for node in at] == [*below, *outer, *above]
        taken = {node.id for one in outer for _, node in _subtree(doc, one)}
        assert [n.id for _, n in moved.walk() if n.id not in taken] == [i for i in every if i not in taken]
    assert moves > 200


def _inside(doc: LayeredImage, node: str, group: str) -> bool:
    path, outer = doc.find_path(node), doc.find_path(group)
    return len(path) > len(outer) and path[: len(outer)] == outer


def _subtree(doc: LayeredImage, node: str) -> Iterator[tuple[Any, Any]]:
    root = doc.find_path(node)
    return ((path, one) for path, one in doc.walk() if path[: len(root)] == root)


def test_placing_several_is_one_step_of_undo(studio: Studio, tmp_path: Path) -> None:
    path = twenty_layers().save(tmp_path / "twenty.zip")
    view = studio.open_file("anna", path, "twenty.zip")
    before = order(studio.store.get("anna", view["id"]).state.doc)
    moved = studio.place("anna", view["id"], [view["layers"][0]["id"], view["layers"][2]["id"]], None, 4)
    names = [node["name"] for node in view["layers"]]
    assert [n["name"] for n in moved["layers"]][:4] == [names[1], names[3], names[0], names[2]]
    assert moved["undo"] == "Reorder 2 layers"
    studio.undo("anna", view["id"])
    assert order(studio.store.get("anna", view["id"]).state.doc) == before
    studio.edit("anna", view["id"], [f"lock:{view['layers'][1]['id']}"])
    for wrong, message in ((["#0", "#1"], "is locked"), ([], "at least one"), (["#0", "nobody"], "nobody")):
        with pytest.raises(InputError, match=message):
            studio.place("anna", view["id"], wrong, None, 0)


def test_tidying_removes_old_exports(
    studio: Studio, opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = studio.export("anna", opened["id"], "png")
    studio.tidy()
    assert path.exists()
    monkeypatch.setattr("acetate.ui.actions.EXPORT_SECONDS", -1)
    studio.tidy()
    assert not path.exists()


def test_a_round_of_tidying_that_fails_is_not_the_last(
    studio: Studio, opened: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what has reached its time goes even where nothing can be saved."""
    failures, stop = [], threading.Event()

    def save() -> None:
        failures.append(studio.store.owned_by("anna"))
        if len(failures) == 3:
            stop.set()
        raise OutputError("the disk is full")

    monkeypatch.setattr(studio.store, "save_all", save)
    monkeypatch.setattr(studio.store, "_clock", lambda: time.time() + 10**7)
    tidy_often(studio, stop, 0.001)
    assert failures == [[], [], []]
    assert [record.message for record in caplog.records] == [
        "tidying failed; it is tried again in 0.001 s"
    ] * 3
