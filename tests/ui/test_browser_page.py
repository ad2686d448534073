"""The page itself: the layer panel's tools, files in and out, keyboard, names for screen readers, room at every width."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import (
    Served,
    agree,
    button,
    canvas,
    difference,
    document,
    drag,
    names,
    open_file,
    press,
    row,
    settle,
    take_apart,
)  # fmt: skip
from studio_scenes import COLOURS

from acetate.layers.composite import flatten_array
from acetate.layers.document import LayeredImage

pytestmark = [pytest.mark.ui, pytest.mark.slow]

DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  for (const kind of ['dragover', 'drop']) {
    const event = new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.querySelector('.viewport').dispatchEvent(event);
  }
}"""
UNNAMED = """() => [...document.querySelectorAll('#acetate-studio :is(button, input, select, textarea, [tabindex], [role])')]
  .filter((one) => one.checkVisibility() && !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')
    || one.labels?.[0]?.textContent.trim() || one.textContent.trim() || one.title))
  .map((one) => one.outerHTML.slice(0, 120))"""
OUTSIDE = """() => [...document.querySelectorAll('#acetate-studio :is(.bar, .pane, .status) :is(button, input, select)')]
  .filter((one) => one.checkVisibility()).filter((one) => {
    const box = one.getBoundingClientRect(), pane = one.closest('.bar, .pane, .status').getBoundingClientRect();
    return box.left < pane.left - 1 || box.right > pane.right + 1 || box.width < 8;
  }).map((one) => one.outerHTML.slice(0, 120))"""


def test_the_tools_of_the_layer_panel(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """Several layers moved together, solo, lock, group, drag into a group, ungroup, duplicate, mirror, merge, delete."""
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    row(page, "Green").click(modifiers=["Control"])
    drag(page, (20, 20), (30, 50))
    doc = document(page, served)
    assert [doc.find(name).offset for name in ("Red", "Green", "Blue")] == [(20, 40), (50, 40), (70, 10)]  # type: ignore[union-attr]
    agree(page, served)
    press(page, "Control+z")
    assert document(page, served).find("Red").offset == (10, 10)  # type: ignore[union-attr]

    row(page, "Blue").click()
    row(page, "Blue").get_by_role("button", name="Solo").click()
    settle(page)
    shown = canvas(page)
    assert tuple(shown[20, 80]) == (*COLOURS["Blue"], 255) and shown[20, 20, 3] == 0
    row(page, "Blue").get_by_role("button", name="Solo").click()
    row(page, "Blue").get_by_role("button", name="Lock").click()
    settle(page)
    assert document(page, served).find("Blue").locked and page.locator("select.blend").is_disabled()
    assert button(page, "Delete").is_disabled()
    drag(page, (80, 20), (20, 80))
    assert document(page, served).find("Blue").offset == (70, 10)  # type: ignore[union-attr]
    row(page, "Blue").get_by_role("button", name="Unlock").click()
    settle(page)

    row(page, "Red").click()
    row(page, "Green").click(modifiers=["Shift"])
    press(page, "Control+g")
    assert names(page) == ["Blue", "Group", "Green", "Red", "Ground"]
    row(page, "Blue").drag_to(row(page, "Group"), target_position={"x": 120, "y": 22})
    settle(page)
    assert names(page) == ["Group", "Blue", "Green", "Red", "Ground"]
    row(page, "Group").click()
    drag(page, (20, 20), (25, 30))
    assert document(page, served).find("Blue").offset == (75, 20)  # type: ignore[union-attr]
    agree(page, served)
    row(page, "Group").click()
    row(page, "Red").click(modifiers=["Control"])  # lies in the group: deleted with it, not twice
    press(page, "Delete")
    assert names(page) == ["Ground"] and page.locator(".toast").count() == 0
    press(page, "Control+z")
    row(page, "Group").click()
    button(page, "Ungroup").click()
    settle(page)
    assert names(page) == ["Blue", "Green", "Red", "Ground"]
    row(page, "Green").click()
    press(page, "Control+d")
    assert names(page) == ["Blue", "Green copy", "Green", "Red", "Ground"]
    row(page, "Green copy").click()
    button(page, "Mirror").click()
    press(page, "Control+e")
    row(page, "Blue").click()
    press(page, "Delete")
    assert names(page) == ["Green", "Red", "Ground"]
    agree(page, served)


def test_files_in_by_drop_and_out_in_every_format(
    visitor: Callable[..., Any], served: Served, squares: Path, tmp_path: Path
) -> None:
    page = visitor()
    page.evaluate(DROP, ["海报 1.zip", base64.b64encode(squares.read_bytes()).decode()])
    page.wait_for_function("acetate.view?.layers.length === 4")
    settle(page)
    assert page.locator("select.documents option:checked").inner_text() == "海报 1"
    expected = flatten_array(document(page, served))
    for format in ("psd", "ora", "zip", "png", "pptx"):
        page.select_option("select.format", format)
        with page.expect_download() as download:
            button(page, "Export").click()
        path = tmp_path / f"again.{format}"
        download.value.save_as(path)
        assert download.value.suggested_filename == f"海报 1.{format}"
        if format == "pptx":
            inside = zipfile.ZipFile(path).namelist()
            assert len([name for name in inside if name.startswith("ppt/media/")]) == 4
            continue
        again = LayeredImage.open(path)
        assert difference(flatten_array(again), expected) <= 1
        assert format == "png" or [layer.name for layer in again.leaves()] == list(COLOURS)
    page.evaluate(DROP, ["evil.psd", base64.b64encode(b"8BPS" + bytes(40)).decode()])
    page.wait_for_selector(".toast")
    assert "evil" in page.locator(".toast").inner_text() and names(page)[-1] == "Ground"


def test_before_and_after(visitor: Callable[..., Any], poster_file: Path) -> None:
    page = visitor()
    open_file(page, poster_file)
    assert button(page, "Before and after").is_disabled()
    take_apart(page)
    press(page, "c")
    split = page.get_by_role("slider", name="Before and after")
    split.focus()
    press(page, "Home")
    assert page.evaluate("acetate.stage.before.style.clipPath") == "inset(0px 100% 0px 0px)"
    press(page, "End")
    assert page.evaluate("acetate.stage.before.style.clipPath") == "inset(0px 0% 0px 0px)"
    assert page.locator("canvas.before").is_visible()
    press(page, "c")
    assert not page.locator("canvas.before").is_visible() and not split.is_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (1920, "light")])
def test_everything_has_a_name_and_room(
    visitor: Callable[..., Any], squares: Path, width: int, scheme: str
) -> None:
    page = visitor(width=width, scheme=scheme)
    assert page.locator("#acetate-studio").get_attribute("data-theme") == scheme
    for open_first in (False, True):
        if open_first:
            open_file(page, squares)
            row(page, "Red").click()
        for task in ("Image to layers", "Text to layers", "Add or replace", "Lift an object"):
            page.get_by_role("tab", name=task).click()
            assert page.evaluate(UNNAMED) == [], task
            assert page.evaluate(OUTSIDE) == [], task
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    press(page, "?")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    press(page, "Escape")
    button(page, "Dark or light").click()
    assert page.locator("#acetate-studio").get_attribute("data-theme") != scheme


def test_by_keyboard_alone(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """From the first tab stop: a task, a layer, its name, place, visibility, order; each with keys only."""
    page = visitor()
    open_file(page, squares)
    page.get_by_role("tab", name="Image to layers").focus()
    press(page, "ArrowRight", "ArrowRight")
    assert page.get_by_role("tab", name="Add or replace").get_attribute("aria-selected") == "true"
    page.get_by_role("button", name="Give a box in numbers").focus()
    press(page, "Enter")
    page.keyboard.type("10, 20, 60, 70")
    press(page, "Tab")
    assert page.evaluate("acetate.regions[0].box") == [10, 20, 60, 70]
    page.locator(".tree [tabindex='0']").focus()
    press(page, "ArrowDown", "F2")
    page.keyboard.type("绿色")
    press(page, "Enter", "[")
    assert names(page) == ["Blue", "Red", "绿色", "Ground"]
    press(page, "h", "h", "l", "l", "]")
    page.locator(".viewport").focus()
    press(page, "ArrowLeft", "Shift+ArrowDown")
    doc = document(page, served)
    assert doc.find("绿色").offset == (39, 20) and doc.find("绿色").visible  # type: ignore[union-attr]
    assert names(page) == ["Blue", "绿色", "Red", "Ground"]
    agree(page, served)
