"""The page says and shows what is so: without a network, after edits, on the empty canvas, with fields nobody sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import (
    Served,
    agree,
    document,
    drag,
    finish,
    names,
    open_file,
    press,
    row,
    settle,
    take_apart,
    toasts,
)

pytestmark = [pytest.mark.ui, pytest.mark.slow]

# As a network that is away: requests fail, and the browser logs nothing that the fixture would take for a fault.
AWAY = """(away) => { window.plain ??= window.fetch;
  window.fetch = away ? () => Promise.reject(new TypeError('away')) : window.plain; }"""
TWO_AND_AWAY = """() => { let left = 2;
  window.fetch = (...all) => (left-- > 0 ? window.plain(...all) : Promise.reject(new TypeError('away')));
  for (const at of [1, 2]) {
    const { id } = acetate.view.layers[at];
    acetate.edit([`hide:${id}`], new Set([id]), { visible: false });
  } }"""


def test_an_edit_that_did_not_reach_the_server_is_taken_back(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    page = visitor()
    open_file(page, squares)
    page.evaluate(AWAY, True)
    row(page, "Red").click()
    page.keyboard.press("Delete")
    settle(page)
    drag(page, (50, 20), (60, 40))
    assert names(page) == ["Blue", "Green", "Red", "Ground"]
    assert "Not changed" in page.locator(".phase").text_content() and "does not answer" in toasts(page)[0]
    page.evaluate(AWAY, False)
    agree(page, served)
    row(page, "Blue").click()
    press(page, "h")
    assert len(document(page, served).layers) == 4 and not page.evaluate("acetate.view.layers[3].visible")
    agree(page, served)
    page.evaluate(TWO_AND_AWAY)  # of two edits the first is done
    settle(page)
    assert page.evaluate("acetate.view.layers.map(({ visible }) => visible)") == [True, False, True, False]
    page.evaluate(AWAY, False)
    agree(page, served)


def test_a_cancel_that_fails_can_be_pressed_again(
    visitor: Callable[..., Any], poster_file: Path, pause: Callable[[int], None]
) -> None:
    page = visitor()
    open_file(page, poster_file)
    pause(1)
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("acetate.job?.step === 1")
    page.evaluate(AWAY, True)
    cancel = page.locator(".cancel")
    cancel.click()
    page.wait_for_selector(".toast")
    assert cancel.is_enabled() and "Stopping" not in page.locator(".phase").text_content()
    page.evaluate(AWAY, False)
    cancel.click()
    finish(page)
    assert "Cancelled" in page.locator(".phase").text_content()


def test_the_badge_after_edits(visitor: Callable[..., Any], poster_file: Path) -> None:
    page = visitor()
    open_file(page, poster_file)
    take_apart(page)
    badge = page.locator(".badge")
    assert "now exact" in badge.text_content()
    page.locator(".tree .row").first.click()
    press(page, "Delete")
    assert "exact when made" in badge.text_content() and "now" not in badge.text_content()
    page.locator(".viewport").focus()
    press(page, "Control+z")
    assert "now exact" in badge.text_content()


def test_numbers_that_no_run_can_have(visitor: Callable[..., Any], poster_file: Path) -> None:
    """What belongs to another task does not count, what is folded away is shown."""
    page = visitor()
    open_file(page, poster_file)
    page.get_by_role("spinbutton", name="Number of layers").fill("25")
    page.get_by_role("button", name="Take apart").click()
    assert "Number of layers: a whole number from 1 to 8" in toasts(page)[-1]
    page.locator(".advanced summary").click()
    page.get_by_role("spinbutton", name="Seed").fill("-1")
    page.locator(".advanced summary").click()
    page.get_by_role("tab", name="Add or replace").click()
    page.get_by_label("Prompt: the layer").fill("a red circle")
    page.get_by_role("button", name="Make the layer").click()
    assert "Seed: a whole number" in toasts(page)[-1]
    seed = page.get_by_role("spinbutton", name="Seed")
    assert seed.is_visible() and seed.evaluate("(one) => one === document.activeElement")
    assert page.evaluate("acetate.job") is None
    seed.fill("3")
    page.get_by_role("button", name="Make the layer").click()
    page.wait_for_function("acetate.view.layers.length === 2")
    finish(page)


def test_enter_and_escape_in_fields(
    visitor: Callable[..., Any], squares: Path, pause: Callable[[int], None]
) -> None:
    page = visitor()
    open_file(page, squares)
    page.get_by_role("tab", name="Lift an object").click()
    page.get_by_role("button", name="Give a box in numbers").click()
    place = page.get_by_label("Place of box 1")
    place.fill("5,5,60,60")
    place.press("Enter")
    assert page.evaluate("[acetate.job, acetate.regions[0].box]") == [None, [5, 5, 60, 60]]
    assert place.evaluate("(one) => one === document.activeElement")
    page.get_by_role("tab", name="Image to layers").click()
    pause(1)
    page.locator("[name=prompt]").focus()
    page.keyboard.press("Control+Enter")
    page.wait_for_function("acetate.job?.step === 1")
    page.keyboard.press("Escape")
    assert not page.evaluate("acetate.job.stopping")
    page.keyboard.press("Escape")
    finish(page)
    assert "Cancelled" in page.locator(".phase").text_content()


def test_undo_on_the_empty_canvas_is_of_its_boxes(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    press(page, "Delete")
    page.get_by_role("tab", name="Text to layers").click()
    assert page.locator(".size").text_content() == "64 × 64 px"
    undo = page.get_by_role("button", name="Undo")
    assert undo.is_disabled()
    drag(page, (4, 4), (30, 40))
    page.keyboard.type("a fish")
    drag(page, (20, 20), (24, 30))
    page.get_by_role("button", name="Remove box 1").click()
    seen = []
    for key in ("Control+z", "Control+z", "Control+z", "Control+z", "Control+y", "Control+y"):
        page.locator(".viewport").focus()
        press(page, key)
        seen.append(page.evaluate("acetate.regions.map(({ box, prompt }) => [...box, prompt])"))
    moved, drawn = [[8, 14, 34, 50, "a fish"]], [[4, 4, 30, 40, "a fish"]]
    assert seen == [moved, drawn, [], [], drawn, moved]
    assert len(document(page, served).layers) == 3 and undo.is_enabled()
    page.get_by_role("tab", name="Image to layers").click()
    undo.click()
    settle(page)
    assert len(document(page, served).layers) == 4


def test_a_smaller_canvas_keeps_its_boxes(visitor: Callable[..., Any]) -> None:
    page = visitor()
    page.get_by_role("tab", name="Text to layers").click()
    drag(page, (20, 20), (60, 60))
    page.keyboard.type("a fish")
    page.locator("[name=prompt]").fill("a sea")
    page.locator(".advanced summary").click()
    width = page.get_by_role("spinbutton", name="Width")
    width.fill("48")
    width.press("Tab")
    told = "Box 1 lies outside of 48 × 64"
    assert told in page.locator(".note").text_content()
    page.get_by_role("button", name="Make the picture").click()
    assert told in toasts(page)[-1] and page.evaluate("acetate.job") is None
    width.fill("64")
    width.press("Tab")
    assert page.locator(".note").text_content() == ""
    assert page.evaluate("acetate.regions") == [{"box": [20, 20, 60, 60], "prompt": "a fish"}]


def test_boxes_beside_before_and_after(visitor: Callable[..., Any], poster_file: Path) -> None:
    """The box tool ends the comparison, whose slider would take the pointer; the knob is where the pictures meet."""
    page = visitor()
    open_file(page, poster_file)
    take_apart(page)
    page.keyboard.press("c")
    split = page.locator(".split").bounding_box()
    left, right = (page.evaluate("(x) => acetate.stage.toViewport(x, 0)[0]", x) for x in (0, 80))
    frame = page.locator(".viewport").bounding_box()
    assert abs(split["x"] + 13 - frame["x"] - left) < 1.5
    assert abs(split["x"] + split["width"] - 13 - frame["x"] - right) < 1.5
    page.get_by_role("tab", name="Lift an object").click()
    assert page.locator(".split").is_hidden()
    drag(page, (10, 10), (40, 40))
    assert page.evaluate("acetate.regions[0].box") == [10, 10, 40, 40]
    page.locator(".viewport").focus()
    page.keyboard.press("c")
    assert page.evaluate("acetate.tool") == "move" and page.locator(".split").is_visible()
