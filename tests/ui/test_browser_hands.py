"""Quick hands and a slow server: clicks, drags and keys while answers are on their way, and answers that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import (
    CANVAS,
    Served,
    agree,
    document,
    names,
    on_stage,
    open_file,
    pixels_from,
    press,
    row,
    settle,
)  # fmt: skip
from studio_scenes import COLOURS

pytestmark = [pytest.mark.ui, pytest.mark.slow]

# Edits wait until they are let go, as on a slow server.
SLOW = """() => { const plain = window.fetch; window.waiting = [];
  window.fetch = async (...request) => {
    if (/call\\/(edit|place|undo)$/.test(request[0])) await new Promise((go) => window.waiting.push(go));
    return plain(...request);
  }; }"""
LET_GO = "() => { window.waiting.splice(0).forEach((go) => go()); return acetate.pending }"

# Where the frame of the selection begins, in pixels of the document.
FRAME = """() => { const frame = document.querySelector('svg.overlay .selection rect.frame');
  return acetate.stage.toDocument(+frame.getAttribute('x'), +frame.getAttribute('y')).map(Math.round); }"""


def answers(page: Any) -> None:
    """Let every edit that waits through, and those behind it."""
    while page.evaluate(LET_GO):
        page.wait_for_function("window.waiting.length || acetate.pending === 0")


def point_at(page: Any, name: str) -> None:
    box = row(page, name).locator(".label").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 10)


def chosen(page: Any) -> str | None:
    found: str | None = page.evaluate("acetate.selected()?.name ?? null")
    return found


def test_an_answer_does_not_take_a_click(visitor: Callable[..., Any], squares: Path) -> None:
    """The row that is pressed stays the same element, whatever arrives before the button comes up."""
    page = visitor()
    open_file(page, squares)
    page.evaluate(SLOW)
    row(page, "Red").click()
    page.keyboard.press("h")
    point_at(page, "Green")
    page.mouse.down()
    answers(page)
    page.mouse.up()
    assert chosen(page) == "Green"

    page.keyboard.press("F2")
    page.keyboard.type("Grass")
    point_at(page, "Blue")
    page.mouse.down()  # ends the renaming, which is shown at once
    assert names(page) == ["Blue", "Grass", "Red", "Ground"]
    page.mouse.up()
    answers(page)
    assert chosen(page) == "Blue" and names(page) == ["Blue", "Grass", "Red", "Ground"]
    page.wait_for_function("document.querySelectorAll('.row.dim').length === 1")  # Red, hidden before


def test_an_answer_does_not_end_the_drag_of_a_row(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    page = visitor()
    open_file(page, squares)
    page.evaluate(SLOW)
    row(page, "Blue").click()
    page.keyboard.press("h")
    point_at(page, "Red")
    page.mouse.down()
    point_at(page, "Green")
    page.wait_for_selector(".row.dragged")
    answers(page)
    target = row(page, "Blue").bounding_box()
    page.mouse.move(target["x"] + 120, target["y"] + 12, steps=3)
    page.mouse.move(target["x"] + 120, target["y"] + 6)
    page.mouse.up()
    answers(page)
    assert names(page) == ["Red", "Blue", "Green", "Ground"] and page.locator(".row.dragged").count() == 0
    assert [layer.name for layer in document(page, served).layers] == ["Ground", "Green", "Blue", "Red"]


def test_an_answer_does_not_end_a_drag(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """What is dragged stays under the pointer when the document is shown anew; so do handles."""
    page = visitor()
    open_file(page, squares)
    page.evaluate(SLOW)
    row(page, "Blue").click()
    page.keyboard.press("h")
    page.mouse.move(*on_stage(page, 20, 20))
    page.mouse.down()
    page.mouse.move(*on_stage(page, 30, 60), steps=3)
    page.wait_for_function("acetate.stage.motion?.last[1] === 50")
    answers(page)
    page.evaluate("acetate.stage.settled")
    corner = page.evaluate(FRAME)  # the frame stays with what is dragged, in whatever zoom
    assert corner == [20, 50], corner
    page.evaluate("acetate.stage.zoomBy(1)")
    assert page.evaluate(FRAME) == [20, 50]
    shown = pixels_from(page.evaluate(CANVAS), 100, 120)
    assert tuple(shown[60, 30, :3]) == COLOURS["Red"] and tuple(shown[15, 15, :3]) == COLOURS["Ground"]
    assert tuple(shown[15, 75, :3]) == COLOURS["Ground"]  # Blue is hidden
    page.mouse.move(*on_stage(page, 40, 70), steps=3)
    page.mouse.up()
    answers(page)
    assert document(page, served).find("Red").offset == (30, 60)  # type: ignore[union-attr]
    agree(page, served)

    page.keyboard.press("ArrowLeft")
    handle = page.locator("[data-handle='4']").bounding_box()
    page.mouse.move(handle["x"] + 4, handle["y"] + 4)
    page.mouse.down()  # tells the step to the left
    page.mouse.move(handle["x"] + 24, handle["y"] + 24, steps=3)
    answers(page)
    page.mouse.move(handle["x"] + 44, handle["y"] + 44, steps=3)
    page.mouse.up()
    answers(page)
    assert document(page, served).find("Red").width > 24  # type: ignore[union-attr]
    agree(page, served)


def test_pixels_that_fail(visitor: Callable[..., Any], served: Served, poster_file: Path) -> None:
    """A failed fetch is told, also when it fails again, and the page goes on."""
    page = visitor()
    open_file(page, poster_file)
    page.set_default_timeout(10_000)
    page.evaluate(
        """() => { const plain = window.fetch; let left = 2; window.fetch = (...request) =>
          request[0].includes('acetate/pixels') && left-- > 0 ? Promise.reject(new TypeError('cut off'))
            : plain(...request); }"""
    )
    row(page, "poster").click()
    page.get_by_role("button", name="Mirror").click()
    page.get_by_text("The server does not answer").wait_for()
    press(page, "h", "h", "Control+d")
    assert names(page) == ["poster copy", "poster"]
    agree(page, served)


def test_keys_pressed_twice_on_a_slow_server(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    """Every press counts from what the one before did; what is deleted is gone at once, and the next row has the focus."""
    page = visitor()
    open_file(page, squares)
    page.evaluate(SLOW)
    row(page, "Red").click()
    page.keyboard.press("]")
    page.keyboard.press("]")
    assert names(page) == ["Red", "Blue", "Green", "Ground"]
    answers(page)
    assert [layer.name for layer in document(page, served).layers] == ["Ground", "Green", "Blue", "Red"]

    row(page, "Blue").click()
    row(page, "Green").click(modifiers=["Control"])
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    assert names(page) == ["Red", "Ground"] and chosen(page) is None
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Ground"
    answers(page)
    assert page.locator(".toast").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Ground"
    assert [layer.name for layer in document(page, served).layers] == ["Ground", "Red"]
    agree(page, served)


def test_what_is_hidden_or_locked_is_not_hit(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    """Neither are the layers of a hidden or a locked group."""
    page = visitor()
    open_file(page, squares)
    row(page, "Ground").click()
    press(page, "l")
    row(page, "Red").click()
    row(page, "Green").click(modifiers=["Control"])
    press(page, "Control+g")
    row(page, "Group").click()
    page.mouse.click(*on_stage(page, 20, 20))
    assert chosen(page) == "Group"
    row(page, "Blue").click()
    page.mouse.click(*on_stage(page, 20, 20))
    assert chosen(page) == "Red"
    for key in ("h", "l"):
        row(page, "Group").click()
        press(page, key)
        page.mouse.click(*on_stage(page, 20, 20))
        assert chosen(page) is None, key
        row(page, "Group").click()
        press(page, key)
    row(page, "Group").click()
    press(page, "l")
    row(page, "Red").click()
    assert page.locator("[data-handle]").count() == 0 and page.locator("select.blend").is_disabled()
    press(page, "ArrowLeft")
    assert document(page, served).find("Red").offset == (10, 10)  # type: ignore[union-attr]
    assert page.locator(".toast").count() == 0


def test_one_locked_layer_among_several(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """What may be changed of a selection is changed; the locked layer stays as it is."""
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    press(page, "l")
    row(page, "Green").click(modifiers=["Control"])
    page.select_option("select.blend", "multiply")
    settle(page)
    press(page, "h")
    doc = document(page, served)
    assert [doc.find(name).blend.value for name in ("Red", "Green")] == ["normal", "multiply"]
    assert [doc.find(name).visible for name in ("Red", "Green")] == [True, False]
    press(page, "Delete")
    assert names(page) == ["Blue", "Red", "Ground"] and page.locator(".toast").count() == 0
    row(page, "Red").click()
    assert page.get_by_role("button", name="Delete").is_disabled()
    press(page, "l")
    assert not document(page, served).find("Red").locked
