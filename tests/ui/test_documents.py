"""The store of visitors' documents: ownership, history, disk, time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acetate.errors import InputError
from acetate.layers import edit
from acetate.layers.document import Layer, LayeredImage
from acetate.ui.documents import State, Store
from acetate.ui.settings import StudioSettings
from acetate.ui.view import digest, pixels_of, view


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def small(value: int = 0, side: int = 8) -> LayeredImage:
    pixels = np.full((side, side, 4), 255, np.uint8)
    pixels[..., 0] = value
    return LayeredImage(width=side, height=side, layers=(Layer(pixels=pixels, name="One"),))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    settings = StudioSettings(store=tmp_path, max_hot=2, max_per_visitor=3, max_documents=5, history=4)
    return Store(settings, clock)


def test_a_document_is_its_owners_alone(store: Store) -> None:
    record = store.create("anna", State(doc=small()), "One")
    assert store.get("anna", record.id) is record
    for owner, document in (("ben", record.id), ("anna", record.id[:-1] + "x"), ("anna", "../" + record.id),
                            ("anna", None), ("anna", ["x"]), ("anna", "")):  # fmt: skip
        with pytest.raises(InputError, match="no such document"):
            store.get(owner, document)
    assert len({store.create("anna", State(doc=small()), "x").id for _ in range(20)}) == 20


def test_undo_and_redo_give_the_very_states_back(store: Store) -> None:
    record = store.create("anna", State(doc=small(), label="Open"), "One")
    first = record.state.doc
    record.change("Rename", lambda doc: edit.rename(doc, "One", "Two"))
    second = record.state.doc
    assert (record.undo_label, record.redo_label) == ("Rename", None)
    record.undo()
    assert record.state.doc is first and record.redo_label == "Rename"
    record.redo()
    assert record.state.doc is second
    record.undo()
    record.change("Hide", lambda doc: edit.hide(doc, "One"))
    with pytest.raises(InputError, match="nothing to redo"):
        record.redo()
    for number in range(9):
        record.change("Rename", lambda doc, n=number: edit.rename(doc, "#0", f"{n}"))
    for _ in range(4):
        record.undo()
    with pytest.raises(InputError, match="nothing to undo"):
        record.undo()


def test_history_is_bounded_by_memory(tmp_path: Path, clock: Clock) -> None:
    store = Store(StudioSettings(store=tmp_path, history_mib=1), clock)
    record = store.create("anna", State(doc=small(side=256)), "One")
    for value in range(10):
        record.commit(State(doc=small(value, side=256)))
    assert record.memory() <= 2**20 and len(record.states()) > 1


def test_a_document_survives_on_disk(store: Store, clock: Clock, tmp_path: Path) -> None:
    record = store.create("anna", State(doc=small(7), source=small(9).leaves()[0].pixels), "One")
    for _ in range(2):
        clock.now += 1
        store.create("ben", State(doc=small()), "Other")
    assert not record.hot
    found = store.get("anna", record.id).state
    assert (
        found.doc.leaves()[0].pixels[0, 0, 0] == 7 and found.source is not None and found.source[0, 0, 0] == 9
    )
    assert all(str(path.resolve()).startswith(str(tmp_path)) for path in tmp_path.rglob("*"))


def test_the_number_of_documents_is_bounded(store: Store, clock: Clock) -> None:
    first = store.create("anna", State(doc=small()), "1")
    for number in range(3):
        clock.now += 1
        store.create("anna", State(doc=small()), str(number + 2))
    assert [record.name for record in store.owned_by("anna")] == ["4", "3", "2"]
    with pytest.raises(InputError):
        store.get("anna", first.id)
    for number in range(9):
        store.create(f"visitor {number}", State(doc=small()), "x")
    assert len(store._records) == 5


def test_what_a_run_works_on_does_not_give_way(tmp_path: Path, clock: Clock) -> None:
    """Neither to another document of the same visitor nor to those of all others; and nobody hangs on a full studio."""
    busy: set[str] = set()
    settings = StudioSettings(store=tmp_path, max_per_visitor=2, max_documents=3)
    store = Store(settings, clock, in_use=lambda: busy)
    first = store.create("anna", State(doc=small()), "first")
    busy.add(first.id)
    for number in range(3):
        clock.now += 1
        store.create("anna", State(doc=small()), f"{number}")
    assert [record.name for record in store.owned_by("anna")] == ["2", "first"]
    for number in range(4):
        clock.now += 1
        record = store.create(f"visitor {number}", State(doc=small()), "x")
    assert store.get("anna", first.id) is first and len(store._records) == 3
    busy.update(store._records)
    with pytest.raises(InputError, match="full, and runs need"):
        store.create("zoe", State(doc=small()), "x")
    busy.remove(record.id)
    assert store.create("zoe", State(doc=small()), "x").displaced == ()


def test_after_its_time_nothing_is_left(store: Store, clock: Clock, tmp_path: Path) -> None:
    record = store.create("anna", State(doc=small()), "One")
    store.save_all()
    assert list(tmp_path.rglob("*.zip"))
    clock.now += 3 * 3600
    store.get("anna", record.id)
    clock.now += 3 * 3600
    assert store.sweep() == 0
    clock.now += 2 * 3600
    assert store.sweep() == 1 and list(tmp_path.iterdir()) == []


def test_who_waits_for_a_run_keeps_their_documents(store: Store, clock: Clock) -> None:
    """A queue may be longer than a document's time."""
    record, other = (store.create(name, State(doc=small()), "One") for name in ("anna", "bob"))
    clock.now += 5 * 3600
    assert store.sweep(busy={"anna"}) == 1
    assert store.get("anna", record.id) is record
    with pytest.raises(InputError, match="no such document"):
        store.get("bob", other.id)


def test_a_removed_document_is_not_written_again(store: Store, tmp_path: Path) -> None:
    record = store.create("anna", State(doc=small()), "One")
    store.close_document("anna", record.id)
    record.save()
    assert list(tmp_path.rglob("*.zip")) == []


def test_the_view_names_pixels_by_content(store: Store) -> None:
    record = store.create("anna", State(doc=small(3)), "One")
    seen = view(record)
    found = seen["layers"][0]["pixels"]["digest"]
    data = pixels_of(record.states(), found)
    assert data is not None and data[:4] == bytes([3, 255, 255, 255]) and len(data) == 8 * 8 * 4
    record.change("Hide", lambda doc: edit.hide(doc, "One"))
    assert view(record)["layers"][0]["pixels"]["digest"] == found
    record.change("Flip", lambda doc: edit.crop(doc, (0, 0, 4, 4), "One"))
    assert view(record)["layers"][0]["pixels"]["digest"] != found
    assert pixels_of(record.states(), found) is not None and pixels_of(record.states(), "0" * 32) is None


def test_digests_follow_content_not_memory() -> None:
    seen = set()
    for value in range(50):  # freed memory is used again: the hash must not be
        array = np.full((16, 16, 4), value, np.uint8)
        seen.add(digest(array))
        assert digest(array) == digest(array.copy())
    assert len(seen) == 50
