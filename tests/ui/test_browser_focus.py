"""Who has the keyboard: Space to pan, undo after a field of the layer panel was used, lists that let go of letters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import Served, document, on_stage, open_file, press, row, settle

pytestmark = [pytest.mark.ui, pytest.mark.slow]

ORIGIN = "acetate.stage.origin.map(Math.round)"
CURSOR = "getComputedStyle(acetate.stage.viewport).cursor"


def pan(page: Any) -> None:
    """A drag from the middle of the picture, 30 pixels to the right."""
    x, y = on_stage(page, 60, 50)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y, steps=3)
    page.mouse.up()


def test_space_pans_whatever_has_the_focus(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    """A row that has the focus is not hidden by it, and the slider of before and after is not moved."""
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    x, y = page.evaluate(ORIGIN)
    page.keyboard.down(" ")
    page.keyboard.down(" ")  # held down, it repeats
    assert page.evaluate(CURSOR) == "grab"
    pan(page)
    page.keyboard.up(" ")
    assert page.evaluate(ORIGIN) == [x + 30, y] and page.evaluate(CURSOR) != "grab"
    assert page.locator("[data-action=undo]").is_disabled() and document(page, served).find("Red").visible

    page.evaluate("acetate.compare(true)")
    page.keyboard.down(" ")
    pan(page)
    assert page.evaluate(ORIGIN) == [x + 60, y] and page.locator(".split").input_value() == "500"
    page.evaluate("window.dispatchEvent(new Event('blur'))")  # the key comes up in another window
    assert page.evaluate(CURSOR) != "grab"
    page.keyboard.up(" ")
    page.evaluate("acetate.compare(false)")

    for _ in range(4):
        page.keyboard.down("h")
    page.keyboard.up("h")
    settle(page)
    assert not document(page, served).find("Red").visible
    press(page, "Control+z")
    assert page.locator("[data-action=undo]").is_disabled()


def test_undo_after_a_field(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """Ctrl+Z takes back what a field of the panel did, and the field shows it; an empty number changes nothing."""
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    slider, number = page.locator(".opacity input[type=range]"), page.locator(".opacity input[type=number]")

    def opacity() -> tuple[float, str, str]:
        settle(page)
        return document(page, served).find("Red").opacity, slider.input_value(), number.input_value()

    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert 0.3 < opacity()[0] < 0.5
    press(page, "Control+z")
    assert opacity() == (1, "100", "100")

    number.fill("50")
    press(page, "Enter")
    assert opacity() == (0.5, "50", "50")
    number.fill("")
    press(page, "Enter")
    assert opacity() == (0.5, "50", "50")
    press(page, "Control+z")
    assert opacity() == (1, "100", "100") and page.locator("[data-action=undo]").is_disabled()
    number.focus()
    press(
        page, "ArrowDown", "ArrowDown"
    )  # the field tells the first step, the slider, which has the focus then, the second
    page.wait_for_function("acetate.panel.stepped === null")
    assert opacity() == (0.98, "98", "98")
    press(page, "Control+z", "Control+z")
    assert opacity() == (1, "100", "100")
    slider.focus()
    press(page, *["ArrowLeft"] * 5, "Control+z")  # several steps by keys are one
    assert opacity() == (1, "100", "100") and page.locator("[data-action=undo]").is_disabled()
    press(page, *["ArrowLeft"] * 5)
    page.wait_for_function("acetate.view.undo")
    assert opacity() == (0.95, "95", "95")


def test_lists_let_go_of_the_keyboard(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """After a choice with the pointer keys are the document's; who chooses by keys stays in the list, and can undo."""
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    page.select_option("select.blend", "multiply")
    press(page, "h")
    red = document(page, served).find("Red")
    assert red.blend.value == "multiply" and not red.visible
    page.select_option("select.backdrop", "black")
    press(page, "Control+z", "h", "h", "Control+z", "Control+z", "Control+z")
    assert page.locator("[data-action=undo]").is_disabled()

    page.locator("select.blend").focus()
    press(page, "ArrowDown", "ArrowDown")
    assert page.evaluate("document.activeElement.className") == "blend"
    assert (
        document(page, served).find("Red").blend.value
        == page.locator("select.blend").input_value()
        != "normal"
    )
    press(page, "Control+z", "Control+z")
    assert (
        document(page, served).find("Red").blend.value
        == "normal"
        == page.locator("select.blend").input_value()
    )
