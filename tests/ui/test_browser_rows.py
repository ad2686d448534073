"""Several rows of the layer panel at once: dragged among each other, into groups and out, by pointer and by keys alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import Served, agree, document, names, open_file, press, row, settle
from studio_scenes import COLOURS, squares

from acetate.layers.document import Group, LayeredImage

pytestmark = [pytest.mark.ui, pytest.mark.slow]


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Ground, then Red alone, a group of Green and Blue, and five copies on top."""
    ground, red, green, blue = squares().layers
    copies = [red.replace(name=f"Copy {n}", offset=(4 * n, 50), id="") for n in range(5)]  # type: ignore[call-arg]
    group = Group(layers=(green, blue), name="Pair")
    doc = LayeredImage(width=120, height=100, layers=(ground, red, group, *copies))
    return doc.save(tmp_path / "nested.zip")


def tree(page: Any, served: Served) -> list[str]:
    """The server's document, top to bottom, two spaces for every level."""
    found = [f"{'  ' * (len(path) - 1)}{node.name}" for path, node in document(page, served).walk()]
    return found


def carry(page: Any, name: str, to: Any, *, y: float) -> None:
    row(page, name).drag_to(to, target_position={"x": 120, "y": y})
    settle(page)


def test_rows_dragged_together_keep_their_order(
    visitor: Callable[..., Any], served: Served, nested: Path
) -> None:
    """Picked with ctrl in any order, dropped between others, into a group and out of it; each drag is one step of undo."""
    page = visitor()
    open_file(page, nested)
    start = tree(page, served)
    assert start == ["Ground", "Red", "Pair", "  Green", "  Blue", *(f"Copy {n}" for n in range(5))]
    row(page, "Copy 4").click()
    row(page, "Copy 0").click(modifiers=["Control"])
    row(page, "Copy 2").click(modifiers=["Control"])
    assert page.locator(".row[aria-selected=true]").count() == 3
    carry(page, "Copy 0", row(page, "Red"), y=40)  # below Red
    assert tree(page, served) == [
        "Ground", "Copy 0", "Copy 2", "Copy 4", "Red", "Pair", "  Green", "  Blue", "Copy 1", "Copy 3",
    ]  # fmt: skip
    assert names(page) == [
        "Copy 3",
        "Copy 1",
        "Pair",
        "Blue",
        "Green",
        "Red",
        "Copy 4",
        "Copy 2",
        "Copy 0",
        "Ground",
    ]
    assert page.locator(".row[aria-selected=true]").count() == 3
    assert page.locator(".phase").inner_text() == "Moved 3 layers"
    agree(page, served)

    carry(page, "Copy 2", row(page, "Pair"), y=22)  # into the group, on top of what is there
    assert tree(page, served) == [
        "Ground", "Red", "Pair", "  Green", "  Blue", "  Copy 0", "  Copy 2", "  Copy 4", "Copy 1", "Copy 3",
    ]  # fmt: skip
    assert page.locator(".phase").inner_text() == "Moved 3 layers into Pair"
    assert row(page, "Copy 4").get_attribute("aria-level") == "2"
    agree(page, served)

    row(page, "Blue").click()
    row(page, "Copy 2").click(modifiers=["Shift"])  # Copy 2, Copy 0, Blue
    assert page.locator(".row[aria-selected=true]").count() == 3
    carry(page, "Blue", row(page, "Copy 3"), y=3)  # out again, to the top
    moved = tree(page, served)
    assert moved == [
        "Ground", "Red", "Pair", "  Green", "  Copy 4", "Copy 1", "Copy 3", "Blue", "Copy 0", "Copy 2",
    ]  # fmt: skip
    agree(page, served)
    page.locator(".viewport").focus()
    press(page, "Control+z", "Control+z", "Control+z")
    assert tree(page, served) == start and page.locator("[data-action=undo]").is_disabled()
    press(page, "Control+y", "Control+y", "Control+y")
    assert tree(page, served) == moved


def test_what_a_drag_does_not_do(visitor: Callable[..., Any], served: Served, nested: Path) -> None:
    """A group does not go into itself; locked rows stay; a drop in place makes no step; below all rows is the bottom."""
    page = visitor()
    open_file(page, nested)
    start = tree(page, served)
    row(page, "Pair").click()
    row(page, "Copy 1").click(modifiers=["Control"])
    carry(page, "Pair", row(page, "Green"), y=22)
    row(page, "Copy 2").click()
    row(page, "Copy 1").click(modifiers=["Control"])
    carry(page, "Copy 2", row(page, "Copy 3"), y=40)  # where they are
    assert tree(page, served) == start and page.locator("[data-action=undo]").is_disabled()
    assert page.locator(".toast").count() == 0

    row(page, "Copy 1").click()
    press(page, "l")
    row(page, "Copy 2").click(modifiers=["Control"])
    carry(page, "Copy 2", row(page, "Red"), y=40)
    assert tree(page, served)[:2] == ["Ground", "Copy 2"] and "Copy 1" in tree(page, served)[6:]
    row(page, "Copy 3").click()
    row(page, "Copy 4").click(modifiers=["Control"])
    last = row(page, "Ground").bounding_box()
    carry(page, "Copy 4", page.locator(".tree"), y=last["y"] + 70 - page.locator(".tree").bounding_box()["y"])
    assert tree(page, served)[:3] == ["Copy 3", "Copy 4", "Ground"]
    agree(page, served)


def test_rows_moved_together_by_keys(visitor: Callable[..., Any], served: Served, nested: Path) -> None:
    """Selected with shift and ctrl + space, moved by steps, into the group and out of it, undone: without a pointer."""
    page = visitor()
    open_file(page, nested)
    start = tree(page, served)
    page.locator(".tree [tabindex='0']").focus()
    press(page, "Home", "Shift+ArrowDown")
    assert page.evaluate("[...acetate.selection].length") == 2
    press(page, "Control+ArrowDown", "Control+ArrowDown", "Control+Space")
    chosen = page.locator(".row[aria-selected=true] .name").all_text_contents()
    assert chosen == ["Copy 4", "Copy 3", "Copy 1"]
    press(page, "Alt+ArrowDown")
    assert tree(page, served)[5:] == ["Copy 1", "Copy 0", "Copy 3", "Copy 4", "Copy 2"]
    press(page, "]")
    assert tree(page, served) == start
    press(page, "[", "[", "[")
    assert tree(page, served)[1:] == [
        "Copy 1",
        "Red",
        "Copy 3",
        "Copy 4",
        "Pair",
        "  Green",
        "  Blue",
        "Copy 0",
        "Copy 2",
    ]
    press(page, "Alt+ArrowRight")
    assert tree(page, served)[1:] == [
        "Red", "Pair", "  Copy 1", "  Copy 3", "  Copy 4", "  Green", "  Blue", "Copy 0", "Copy 2",
    ]  # fmt: skip
    assert page.evaluate("document.activeElement.closest('.row')?.getAttribute('aria-level')") == "2"
    press(page, "Alt+ArrowLeft")
    assert tree(page, served)[1:] == [
        "Red",
        "Pair",
        "  Green",
        "  Blue",
        "Copy 1",
        "Copy 3",
        "Copy 4",
        "Copy 0",
        "Copy 2",
    ]
    agree(page, served)
    press(page, "h")
    assert [document(page, served).find(name).visible for name in ("Copy 1", "Copy 3", "Copy 4", "Copy 0")] == [
        False, False, False, True,
    ]  # fmt: skip
    press(page, *["Control+z"] * 8)
    assert tree(page, served) == start and page.locator("[data-action=undo]").is_disabled()
    press(page, "Control+a")
    assert page.locator(".row[aria-selected=true]").count() == len(start)
    press(page, "Escape")
    assert page.locator(".row[aria-selected=true]").count() == 0
    assert set(COLOURS) < set(names(page)) | {"Pair"}
