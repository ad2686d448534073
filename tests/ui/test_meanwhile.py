"""What a visitor does to documents while a run is under way, or while others lie open; called as plain functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acetate.errors import InputError
from acetate.layers.document import LayeredImage
from acetate.ui.actions import Studio
from acetate.ui.jobs import Job
from acetate.ui.previews import Previews
from acetate.ui.settings import StudioSettings

During = Callable[[Callable[[], Any]], None]


@pytest.fixture
def studio(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(
        StudioSettings(store=tmp_path / "store", models=(str(tiny_checkpoint),), max_per_visitor=3)
    )
    yield studio
    studio.shut()


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> During:
    """``during(call)``: made by the next run after its first step."""
    show, calls = Previews.__call__, []

    def step(self: Previews, progress: Any) -> None:
        show(self, progress)
        while calls:
            calls.pop()()

    monkeypatch.setattr(Previews, "__call__", step)
    return calls.append


def ended(job: Job) -> Job:
    for _ in range(6000):
        if job.finished:
            return job
        job.cancel.wait(0.005)
    raise AssertionError(job.status)


def layers(studio: Studio, document: str) -> LayeredImage:
    return studio.store.get("anna", document).state.doc


@pytest.mark.parametrize("task", ["decompose", "extract"])
def test_edits_made_during_a_run_on_the_whole_are_one_undo_away(
    studio: Studio, squares: Path, during: During, task: str
) -> None:
    document = studio.open_file("anna", squares, "squares.zip")["id"]

    def run() -> Job:
        if task == "decompose":
            return studio.decompose("anna", document, layers=2, steps=2)
        return studio.extract("anna", document, [8, 8, 40, 40], steps=2)

    during(lambda: studio.edit("anna", document, ["delete:Red"]))
    job = ended(run())
    assert job.status == "done" and job.note is not None, job.error
    assert "the document" in job.note and "Undo brings your changes back" in job.note
    assert "Green" not in [layer.name for layer in layers(studio, document).leaves()]
    studio.undo("anna", document)
    assert [layer.name for layer in layers(studio, document).leaves()] == ["Ground", "Green", "Blue"]

    def edit_and_undo() -> None:
        studio.edit("anna", document, ["delete:Green"])
        studio.undo("anna", document)

    during(edit_and_undo)
    assert ended(run()).note is None


def test_edits_of_the_very_layer_a_run_replaces_are_told_others_are_kept(
    studio: Studio, squares: Path, during: During
) -> None:
    document = studio.open_file("anna", squares, "squares.zip")["id"]
    red, green = (layers(studio, document).find(name) for name in ("Red", "Green"))

    def run(task: str) -> Job:
        if task == "again":
            return studio.complete("anna", document, "a fish", layer=red.id, where="instead", steps=1)
        if task == "split":
            return studio.decompose("anna", document, layers=2, layer=red.id, steps=1)
        return studio.extract("anna", document, [8, 8, 30, 30], layer=red.id, steps=1)

    for task in ("again", "split", "lift"):
        during(lambda: studio.edit("anna", document, [f"move:{red.id},5,5"]))
        job = ended(run(task))
        assert job.note is not None and "the layer" in job.note, (task, job.error)
        studio.undo("anna", document)
        assert layers(studio, document).find("Red").offset == (15, 15)  # type: ignore[union-attr]
        studio.undo("anna", document)
        during(lambda: studio.edit("anna", document, [f"move:{green.id},5,5", "hide:Blue"]))
        job = ended(run(task))
        assert job.status == "done" and job.note is None, (task, job.error)
        doc = layers(studio, document)
        assert doc.find(green.id).offset == (45, 15) and not doc.find("Blue").visible  # type: ignore[union-attr]
        studio.undo("anna", document)
        studio.undo("anna", document)
        assert layers(studio, document).find("Red").offset == (10, 10)  # type: ignore[union-attr]


def test_a_run_names_its_document_and_ends_with_it(studio: Studio, squares: Path, during: During) -> None:
    """From the start, so that nobody shows it over another; closing another one does not touch it."""
    document, other = (studio.open_file("anna", squares, f"{n}.zip")["id"] for n in (1, 2))
    seen: list[Any] = []
    during(lambda: seen.append(studio.session("anna")["job"]["document"]))
    during(lambda: seen.append(studio.close("anna", other)))
    job = ended(studio.decompose("anna", document, layers=2, steps=2))
    assert job.status == "done" and document in seen
    during(lambda: seen.append(studio.close("anna", document)))
    job = ended(studio.decompose("anna", document, layers=2, steps=50))
    assert job.status == "cancelled" and job.step < 50
    assert seen[-1] == {"closed": document, "documents": []}


def test_which_document_gave_way_is_told(studio: Studio, squares: Path, during: During) -> None:
    """The oldest, but never the one a run works on."""
    first = studio.open_file("anna", squares, "first.zip")
    assert first["note"] is None and not first["made"]
    for name in ("second", "third"):
        studio.open_file("anna", squares, f"{name}.zip")
    studio.document("anna", first["id"])
    opened = studio.open_file("anna", squares, "fourth.zip")
    assert "“second”" in opened["note"]
    assert [entry["name"] for entry in opened["documents"]] == ["fourth", "first", "third"]
    studio.document("anna", first["id"])
    job = ended(studio.generate("anna", "a red fish", layers=2, steps=1))
    assert job.note is not None and "“third”" in job.note
    assert studio.document("anna", str(job.document))["made"]
    told: list[Any] = []

    def crowd() -> None:
        for number in range(4):
            told.append(studio.open_file("anna", squares, f"{number}.zip"))

    during(crowd)
    job = ended(studio.decompose("anna", first["id"], layers=2, steps=2))
    assert job.status == "done", job.error
    assert [entry["name"] for entry in told[-1]["documents"]] == ["3", "2", "first"]
    with pytest.raises(InputError):
        studio.document("anna", opened["id"])


def test_no_more_layers_are_asked_for_than_the_model_makes(studio: Studio) -> None:
    with pytest.raises(InputError, match=r"at most 8 layers.*the background included"):
        studio.generate("anna", "scene", layers=8, layer_prompts=["x"] * 8)
    with pytest.raises(InputError, match="ask for 4"):
        studio.generate("anna", "scene", layers=2, layer_prompts=["x"] * 3)
    assert studio.session("anna")["job"] is None
