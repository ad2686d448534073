"""The layer panel: names being written, folded groups, locks that say so, words for screen readers, deep nesting."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_browser import Served, agree, document, finish, names, on_stage, open_file, press, row, settle
from studio_scenes import squares as squares_document

from acetate.layers.blend import BlendMode
from acetate.layers.document import Group, Layer, LayeredImage, Mask, Node

pytestmark = [pytest.mark.ui, pytest.mark.slow]

CHOSEN = ".row[aria-selected=true] .name"
IN_SIGHT = """(name) => {
  const row = document.querySelector(`.row[aria-label="${name}"]`).getBoundingClientRect();
  const tree = document.querySelector('.tree').getBoundingClientRect();
  return row.top >= tree.top - 1 && row.bottom <= tree.bottom + 1;
}"""


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Ground, Red, and a group of Green and Blue, below two dozen copies of Red."""
    ground, red, green, blue = squares_document().layers
    copies = [red.replace(name=f"Copy {n}", offset=(4 * n, 70), id="") for n in range(24)]  # type: ignore[call-arg]
    pair = Group(layers=(green, blue), name="Pair")
    return LayeredImage(width=120, height=100, layers=(ground, red, pair, *copies)).save(
        tmp_path / "nested.zip"
    )


def chosen(page: Any) -> list[str]:
    """The rows that are marked; what is selected is marked, and nothing else."""
    shown = page.locator(CHOSEN).all_text_contents()
    assert len(shown) == page.evaluate("acetate.selection.size")
    return shown


def toasts(page: Any) -> list[str]:
    """What was said since the last time."""
    settle(page)
    return page.evaluate("""() => [...document.querySelectorAll('.toast')].map((one) => {
      one.remove();
      return one.firstChild.textContent;
    })""")


def fold(page: Any, name: str) -> None:
    row(page, name).get_by_role("button", name="Fold").click()


def test_a_name_is_being_written_when_a_run_ends(
    visitor: Callable[..., Any], served: Served, poster_file: Path
) -> None:
    """Its layer is gone: the rows are the new ones, and what is typed on is no command and names no other layer."""
    page = visitor()
    open_file(page, poster_file)
    page.locator(".advanced summary").click()
    page.locator("input[name=steps]").fill("8")
    row(page, "poster").click()
    page.get_by_role("button", name="Take apart").click()
    row(page, "poster").focus()
    page.keyboard.press("F2")
    page.keyboard.type("Half a na")
    assert page.locator("input.renaming").count() == 1 and page.evaluate("acetate.job !== null")
    finish(page)
    page.keyboard.type("me h")
    press(page, "Backspace", "Enter")
    assert page.locator("input.renaming").count() == 0 and toasts(page) == []
    layers = [layer.name for layer in document(page, served).layers]
    assert names(page) == layers[::-1] and "poster" not in layers and len(layers) > 1
    assert all(layer.visible for layer in document(page, served).layers)
    press(page, "ArrowDown", "ArrowDown", "F2")
    page.keyboard.type("Whole")
    press(page, "Enter")
    assert names(page)[1] == "Whole" == document(page, served).layers[-2].name


def test_a_name_is_being_written_while_answers_arrive(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    """Its layer is still there: the text stays as it is, and what came meanwhile is shown when it is done."""
    page = visitor()
    open_file(page, squares)
    for key, name in (("Enter", "Crimson"), ("Escape", "Crimson")):
        row(page, names(page)[2]).click()
        press(page, "F2")
        page.keyboard.type("Crimson" if key == "Enter" else "Other")
        page.evaluate("acetate.toggleVisible(acetate.view.layers[3])")
        settle(page)
        visible = document(page, served).find("Blue").visible
        assert page.locator("input.renaming").input_value() != names(page)[2]
        press(page, key)
        assert page.locator("input.renaming").count() == 0
        assert names(page) == ["Blue", "Green", name, "Ground"]
        assert ("dim" in row(page, "Blue").get_attribute("class").split()) is not visible
    assert document(page, served).find("Crimson").visible
    row(page, "Green").click()
    press(page, "F2")
    page.evaluate("acetate.request('edit', acetate.view.id, ['delete:Green'])")
    settle(page)
    assert page.locator("input.renaming").count() == 0 and names(page) == ["Blue", "Crimson", "Ground"]


def test_a_folded_group_stands_for_what_is_selected_inside(
    visitor: Callable[..., Any], served: Served, nested: Path
) -> None:
    page = visitor()
    open_file(page, nested)
    row(page, "Copy 0").click()
    fold(page, "Pair")  # nothing inside is selected: nothing changes
    assert chosen(page) == ["Copy 0"] and row(page, "Blue").count() == 0
    fold(page, "Pair")
    row(page, "Blue").click()
    fold(page, "Pair")
    assert chosen(page) == ["Pair"]
    fold(page, "Pair")
    assert chosen(page) == ["Pair"] and row(page, "Blue").count() == 1
    row(page, "Red").click()
    row(page, "Blue").click(modifiers=["Control"])
    row(page, "Green").click(modifiers=["Control"])
    row(page, "Pair").focus()
    press(page, "ArrowLeft")
    assert chosen(page) == ["Pair", "Red"] and page.evaluate("acetate.selected().name") == "Pair"
    press(page, "ArrowRight")
    row(page, "Green").click()
    fold(page, "Pair")
    assert page.evaluate("document.activeElement.closest('.row')?.getAttribute('aria-label')") == "Pair"
    press(page, "Delete")
    assert "Pair" not in names(page)  # what was marked, not what nobody saw
    press(page, "Control+z")
    agree(page, served)


def test_what_is_selected_elsewhere_comes_into_sight(
    visitor: Callable[..., Any], served: Served, nested: Path
) -> None:
    """By a click on the stage or as what an edit added: groups open, the row is scrolled to, the focus stays."""
    page = visitor()
    open_file(page, nested)
    row(page, "Pair").scroll_into_view_if_needed()
    fold(page, "Pair")
    row(page, "Copy 23").scroll_into_view_if_needed()
    assert not page.evaluate(IN_SIGHT, "Pair")
    page.mouse.click(*on_stage(page, 80, 20))
    assert chosen(page) == ["Blue"] and page.evaluate(IN_SIGHT, "Blue")
    assert page.evaluate("document.activeElement.className").startswith("viewport")
    page.locator(".tree").evaluate("(tree) => (tree.scrollTop = 0)")
    press(page, "ArrowLeft", "ArrowLeft")  # who has scrolled on is left alone
    page.wait_for_function("acetate.view.undo")
    assert page.locator(".tree").evaluate("(tree) => tree.scrollTop") == 0

    row(page, "Pair").scroll_into_view_if_needed()
    fold(page, "Pair")
    assert chosen(page) == ["Pair"]
    row(page, "Copy 23").click()
    page.evaluate("acetate.request('edit', acetate.view.id, ['duplicate:Green'])")
    settle(page)
    assert chosen(page) == ["Green copy"] and page.evaluate(IN_SIGHT, "Green copy")
    assert row(page, "Green copy").get_attribute("aria-level") == "2"
    agree(page, served)


def test_keys_on_what_is_locked_say_so(visitor: Callable[..., Any], served: Served, nested: Path) -> None:
    page = visitor()
    open_file(page, nested)
    row(page, "Red").click()
    press(page, "l")
    before = document(page, served)
    words = ["“Red” is locked: unlock it first (L)."]
    keys = (
        "h",
        "Delete",
        "F2",
        "Enter",
        "Alt+ArrowUp",
        "Alt+ArrowDown",
        "Alt+ArrowRight",
        "]",
        "[",
        "Control+e",
    )
    for key in keys:
        assert toasts(page) == []
        press(page, key, key)
        assert toasts(page) == words, key
    row(page, "Red").locator(".name").dblclick()
    assert toasts(page) == words
    row(page, "Red").get_by_role("button", name="Hide").click()
    assert toasts(page) == words
    page.locator(".viewport").focus()
    press(page, "ArrowLeft")
    assert toasts(page) == words
    row(page, "Pair").click()
    press(page, "l")
    row(page, "Blue").click()
    press(page, "F2")
    assert toasts(page) == ["“Blue” is in “Pair”, which is locked: unlock that first."]
    row(page, "Red").click(modifiers=["Control"])
    press(page, "Delete")
    assert toasts(page) == ["All that is selected is locked: unlock it first."]
    assert [node.name for _, node in document(page, served).walk()] == [
        node.name for _, node in before.walk()
    ]
    assert document(page, served).find("Red").visible

    row(page, "Copy 0").click(modifiers=["Control"])  # what is free goes on, with no word
    press(page, "h", "ArrowUp")
    assert not document(page, served).find("Copy 0").visible and toasts(page) == []
    row(page, "Red").click()
    press(page, "s", "s", "l", "h")
    assert not document(page, served).find("Red").visible and toasts(page) == []


def test_rows_and_stage_in_words(visitor: Callable[..., Any], tmp_path: Path) -> None:
    """The name of a row is the layer's; what else eyes see of it describes it. The stage holds a picture."""
    ground, red, green, blue = squares_document().layers
    mask = Mask(pixels=np.full((24, 24), 128, np.uint8), offset=(10, 10), default=1.0)
    red = red.replace(mask=mask, clipping=True)  # type: ignore[call-arg]
    green = green.replace(visible=False, locked=True, opacity=0.7, blend=BlendMode.MULTIPLY)  # type: ignore[call-arg]
    group = Group(layers=(blue,), name="Pair", visible=False)
    page = visitor()
    open_file(
        page,
        LayeredImage(width=120, height=100, layers=(ground, red, green, group)).save(tmp_path / "words.zip"),
    )
    said = {name: row(page, name).get_attribute("aria-description") for name in names(page)}
    assert said == {
        "Pair": "hidden", "Blue": "in a hidden group", "Green": "hidden, locked, 70 %, multiply",
        "Red": "clipped, has a mask", "Ground": None,
    }  # fmt: skip
    row(page, "Ground").click()
    press(page, "l")
    assert row(page, "Ground").get_attribute("aria-description") == "locked"
    stage = page.locator(".viewport")
    assert stage.get_attribute("role") == "group" and stage.get_attribute("aria-label")
    assert (
        page.get_by_role("img", name="The picture", exact=True).evaluate("(one) => one.className")
        == "document"
    )


def test_any_name_can_be_given(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    for name in ("a,b", "C:\\", "C:\\,x", "x:y", "\\\\", "\\\\,\\,,", "\\,"):
        press(page, "F2")
        page.keyboard.type(name)
        press(page, "Enter")
        assert document(page, served).layers[1].name == name == names(page)[2]
    assert toasts(page) == []


def test_pass_through_is_offered_to_groups_only(
    visitor: Callable[..., Any], served: Served, nested: Path
) -> None:
    page = visitor()
    open_file(page, nested)
    offered = page.locator("select.blend option[value=pass-through]:enabled")
    row(page, "Pair").click()
    assert offered.count() == 1
    row(page, "Red").click(modifiers=["Control"])
    assert offered.count() == 0
    row(page, "Red").click()
    row(page, "Pair").click(modifiers=["Control"])
    assert offered.count() == 0
    row(page, "Pair").click()
    page.select_option("select.blend", "pass-through")
    settle(page)
    assert document(page, served).find("Pair").blend is BlendMode.PASS_THROUGH
    row(page, "Red").click()
    row(page, "Pair").click(modifiers=["Control"])
    assert offered.count() == 0 and page.locator("select.blend").input_value() == "pass-through"
    page.select_option("select.blend", "screen")
    assert toasts(page) == []
    assert {document(page, served).find(name).blend for name in ("Red", "Pair")} == {BlendMode.SCREEN}


def test_deep_rows_have_room_for_their_names(visitor: Callable[..., Any], tmp_path: Path) -> None:
    """At a nesting of 14, selected, masked and clipped; every level begins further in than the one around it."""
    pixels = np.full((100, 120, 4), 255, np.uint8)
    mask = Mask(pixels=np.full((100, 120), 200, np.uint8), offset=(0, 0), default=1.0)
    base, deep = (
        Layer(pixels=pixels, name="Base"),
        Layer(pixels=pixels, name="The deepest of all the layers", mask=mask),
    )
    node: Node = Group(layers=(base, deep.replace(clipping=True)), name="Group 13")
    for depth in range(12, 0, -1):
        node = Group(layers=(node,), name=f"Group {depth}")
    page = visitor()
    open_file(page, LayeredImage(width=120, height=100, layers=(node,)).save(tmp_path / "deep.zip"))
    row(page, "Base").click()
    begins = page.locator(".fold").evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().x)")
    assert len(begins) == 13
    assert all(after > before for before, after in itertools.pairwise(begins))
    for name in ("Base", deep.name):
        row(page, name).click()
        assert row(page, name).locator(".name").evaluate("(one) => one.parentElement.clientWidth") >= 70
        press(page, "F2")
        assert page.locator("input.renaming").bounding_box()["width"] >= 70
        press(page, "Escape")
    assert page.evaluate(
        "document.querySelector('.tree').scrollWidth <= document.querySelector('.tree').clientWidth"
    )
