"""Gestures that are broken off, zoomed under or very small; and what a click finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_browser import Served, agree, document, drag, on_stage, open_file, press, row, settle

from acetate.layers.document import Group, Layer, LayeredImage, Mask

pytestmark = [pytest.mark.ui, pytest.mark.slow]


def grab(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*on_stage(page, *start))
    page.mouse.down()
    page.mouse.move(*on_stage(page, *end), steps=4)
    page.wait_for_function(
        "acetate.gestures.held.dx || acetate.gestures.held.fresh || acetate.tool === 'region'"
    )


def chosen(page: Any) -> list[str]:
    found: list[str] = page.evaluate("[...acetate.selection].map((id) => acetate.panel.rows().find("
                                     "({ node }) => node.id === id).node.name)")  # fmt: skip
    return found


def offset(page: Any, served: Served, name: str) -> tuple[int, int]:
    found = document(page, served).find(name)
    assert isinstance(found, Layer)
    return found.offset


def test_keys_during_a_drag(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """Escape takes the drag back, arrows do not get into it."""
    page = visitor()
    open_file(page, squares)
    grab(page, (20, 20), (50, 60))
    page.keyboard.press("Escape")
    page.mouse.move(*on_stage(page, 55, 65))
    page.mouse.up()
    settle(page)
    assert offset(page, served, "Red") == (10, 10) and chosen(page) == ["Red"]
    assert not page.evaluate("acetate.view.undo")
    agree(page, served)

    grab(page, (20, 20), (50, 60))
    page.keyboard.press("ArrowRight")
    page.mouse.move(*on_stage(page, 51, 60))
    page.mouse.up()
    settle(page)
    assert offset(page, served, "Red") == (41, 50)
    agree(page, served)


def test_a_box_that_is_broken_off(visitor: Callable[..., Any], squares: Path) -> None:
    page = visitor()
    open_file(page, squares)
    page.get_by_role("tab", name="Lift an object").click()
    grab(page, (10, 10), (50, 50))
    page.keyboard.press("Escape")
    page.mouse.up()
    assert page.evaluate("acetate.regions.length") == 0
    drag(page, (10, 10), (50, 50))
    for end in ("Escape", "pointercancel"):
        grab(page, (30, 30), (60, 60))
        page.wait_for_function("acetate.regions[0].box[0] === 40")
        if end == "Escape":
            page.keyboard.press("Escape")
        else:
            page.evaluate("acetate.stage.viewport.dispatchEvent(new PointerEvent('pointercancel'))")
        page.mouse.up()
        assert page.evaluate("acetate.regions[0].box") == [10, 10, 50, 50], end


def test_zoom_and_pan_under_a_drag(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """What is dragged stays under the pointer, which stands at another place of the document then."""
    page = visitor()
    open_file(page, squares)
    for turn in ("zoom", "pan"):
        page.keyboard.press("f")
        before = offset(page, served, "Red")
        start = (before[0] + 10, before[1] + 10)
        grab(page, start, (start[0] + 20, start[1] + 15))
        place = on_stage(page, start[0] + 20, start[1] + 15)
        if turn == "zoom":
            page.keyboard.down("Control")
        page.mouse.wheel(0, -120)
        if turn == "zoom":
            page.keyboard.up("Control")
        frame = page.locator(".viewport").bounding_box()
        now = page.evaluate(
            "(at) => acetate.stage.toDocument(...at)", [place[0] - frame["x"], place[1] - frame["y"]]
        )
        page.mouse.up()
        settle(page)
        moved = offset(page, served, "Red")
        assert abs(moved[0] + 10 - now[0]) <= 1 and abs(moved[1] + 10 - now[1]) <= 1, (turn, moved, now)
        agree(page, served)


def test_small_layers_move_and_scale(visitor: Callable[..., Any], served: Served, tmp_path: Path) -> None:
    """Handles stand away from what they would cover, and scale by how far they are dragged."""
    dot = np.full((6, 6, 4), (200, 40, 40, 255), np.uint8)
    ground = np.full((1500, 2000, 4), 255, np.uint8)
    layers = (
        Layer(pixels=ground, name="Ground", locked=True),
        Layer(pixels=dot, name="Dot", offset=(900, 700)),
    )
    page = visitor()
    open_file(page, LayeredImage(width=2000, height=1500, layers=layers).save(tmp_path / "dot.zip"))
    row(page, "Dot").click()
    drag(page, (903, 703), (1003, 803))
    dotted = document(page, served).find("Dot")
    assert isinstance(dotted, Layer) and (dotted.width, dotted.height) == (6, 6)
    assert abs(dotted.offset[0] - 1000) <= 3 and abs(dotted.offset[1] - 800) <= 3
    corner = page.locator("[data-handle='4']").bounding_box()
    page.mouse.move(corner["x"] + 4, corner["y"] + 4)
    page.mouse.down()
    page.mouse.move(corner["x"] + 18, corner["y"] + 18, steps=4)
    page.mouse.up()
    settle(page)
    scaled = document(page, served).find("Dot")
    assert isinstance(scaled, Layer) and 10 <= scaled.width <= 14, scaled.width


def test_clicks_on_several(visitor: Callable[..., Any], served: Served, squares: Path) -> None:
    """A click on one of several selected ones selects it alone, a drag moves them all, Shift takes one out."""
    page = visitor()
    open_file(page, squares)
    page.mouse.click(*on_stage(page, 20, 20))
    page.keyboard.down("Shift")
    for x in (50, 80):
        page.mouse.click(*on_stage(page, x, 20))
    assert sorted(chosen(page)) == ["Blue", "Green", "Red"]
    page.mouse.click(*on_stage(page, 50, 20))
    page.keyboard.up("Shift")
    assert sorted(chosen(page)) == ["Blue", "Red"]
    drag(page, (20, 20), (25, 30))
    assert offset(page, served, "Red") == (15, 20) and offset(page, served, "Blue") == (75, 20)
    assert sorted(chosen(page)) == ["Blue", "Red"]
    page.mouse.click(*on_stage(page, 80, 30))
    assert chosen(page) == ["Blue"]


def test_a_click_takes_what_shows_there(visitor: Callable[..., Any], tmp_path: Path) -> None:
    """Not a layer that is clipped, masked or faded away at that place."""

    def solid(name: str, box: tuple[int, int, int, int], **more: Any) -> Layer:
        pixels = np.full((box[3] - box[1], box[2] - box[0], 4), 255, np.uint8)
        return Layer(pixels=pixels, name=name, offset=box[:2], **more)

    whole = (0, 0, 200, 100)
    half = Mask(pixels=np.full((100, 100), 255, np.uint8), default=0.0)
    layers = (
        solid("Ground", whole),
        solid("Base", (20, 20, 60, 60)),
        solid("Clipped", whole, clipping=True),
        Group(layers=(solid("Inside", (120, 0, 200, 40)),), name="Masked group", mask=half),
        solid("Masked", (80, 60, 200, 100), mask=half),
        solid("Faded", (120, 40, 200, 60), opacity=0.0),
    )
    page = visitor()
    open_file(page, LayeredImage(width=200, height=100, layers=layers).save(tmp_path / "clicks.zip"))
    for place, name in (((40, 40), "Clipped"), ((5, 5), "Ground"), ((150, 20), "Ground"), ((150, 80), "Ground"),
                        ((90, 80), "Masked"), ((150, 50), "Ground")):  # fmt: skip
        page.mouse.click(*on_stage(page, 199, 99))
        page.mouse.click(*on_stage(page, *place))
        assert chosen(page) == [name], place


def test_nudges_reach_the_server_when_the_page_is_left(
    visitor: Callable[..., Any], served: Served, squares: Path
) -> None:
    page = visitor()
    open_file(page, squares)
    row(page, "Red").click()
    page.locator(".viewport").focus()
    page.evaluate("() => { for (let i = 0; i < 3; i++) acetate.gestures.nudge(10, 0); location.reload(); }")
    page.wait_for_selector("#acetate-studio[data-ready]")
    page.wait_for_function("acetate.view")
    press(page, "f")
    assert offset(page, served, "Red") == (40, 10)
