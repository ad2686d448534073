"""What a designer asks of the model from the page: layers that fit the others, parts, lifted objects, words for layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_browser import (
    EXACT,
    Served,
    canvas,
    difference,
    document,
    drag,
    finish,
    names,
    open_file,
    row,
    settle,
    take_apart,
)  # fmt: skip

from acetate.layers.composite import flatten_array
from acetate.layers.document import Group, Layer

pytestmark = [pytest.mark.ui, pytest.mark.slow]


def run(page: Any) -> None:
    """Press the button of the task and wait for the document to change."""
    act(page, page.locator(".run"))


def act(page: Any, button: Any) -> None:
    done = page.evaluate("acetate.view?.version ?? 0")
    identity = page.evaluate("acetate.view?.id ?? null")
    button.click()
    page.wait_for_function(
        "([id, done]) => acetate.view && (acetate.view.id !== id || acetate.view.version > done)",
        arg=[identity, done],
    )
    finish(page)


def tree(page: Any, served: Served) -> list[str]:
    return ["/".join(map(str, path)) + " " + node.name for path, node in document(page, served).walk()]


def test_layers_that_fit_the_others(visitor: Callable[..., Any], served: Served, poster_file: Path) -> None:
    """Add above everything inside a box, redo, replace with other words, fill behind, add a background; undo it all."""
    page = visitor()
    open_file(page, poster_file)
    ground = document(page, served).leaves()[0].pixels
    page.get_by_role("tab", name="Add or replace").click()
    page.keyboard.press("b")
    drag(page, (10, 10), (60, 50))
    assert page.get_by_label("Place of box 1").input_value() == "10, 10, 60, 50"
    page.get_by_label("Prompt: the layer").fill("a red fish")
    run(page)
    assert names(page) == ["a red fish", "poster"]
    x0, y0, x1, y1 = document(page, served).leaves()[-1].box
    assert x0 >= 8 and y0 >= 8 and x1 <= 62 and y1 <= 52

    row(page, "a red fish").click()
    act(page, page.get_by_role("button", name="Redo this layer"))
    assert names(page) == ["a red fish", "poster"]
    assert document(page, served).leaves()[-1].provenance.prompt == "a red fish"
    row(page, "a red fish").click()
    page.select_option("select[name=where]", "instead")
    page.get_by_label("Prompt: the layer").fill("a blue star")
    run(page)
    assert document(page, served).leaves()[-1].provenance.prompt == "a blue star"

    row(page, "a red fish").click()
    act(page, page.get_by_role("button", name="Fill behind"))
    assert names(page) == ["a red fish", "Background", "poster"]
    page.select_option("select[name=where]", "bottom")
    box = page.get_by_label("Place of box 1")
    assert not box.is_visible() and page.locator(".overlay .region").count() == 0  # a background has no box
    page.get_by_label("Prompt: the layer").fill("the sky")
    run(page)
    page.keyboard.press("Escape")
    page.locator(".viewport").focus()
    page.keyboard.press("b")
    drag(page, (10, 10), (60, 50))
    assert "takes the whole canvas" in page.locator(".toast").last.text_content()
    page.select_option("select[name=where]", "top")
    assert box.input_value() == "10, 10, 60, 50"
    assert names(page) == ["a red fish", "Background", "poster", "the sky"]
    doc = document(page, served)
    assert isinstance(doc.find("the sky"), Layer) and doc.find("the sky").box == doc.box  # type: ignore[union-attr]
    assert np.array_equal(doc.find("poster").pixels, ground)  # type: ignore[union-attr]
    assert difference(canvas(page), flatten_array(doc)) <= 2

    page.locator(".viewport").focus()
    for _ in range(5):
        page.keyboard.press("Control+z")
        settle(page)
    assert names(page) == ["poster"]


def test_parts_and_lifted_objects(visitor: Callable[..., Any], served: Served, poster_file: Path) -> None:
    """An automatic number of layers, a layer split again, an object lifted out of a layer and of the picture."""
    page = visitor()
    open_file(page, poster_file)
    before = flatten_array(document(page, served))
    page.get_by_role("checkbox", name="auto").check()
    assert page.get_by_role("spinbutton", name="Number of layers").is_disabled()
    take_apart(page)
    assert 1 <= len(names(page)) <= 8 and names(page)[-1] == "Background"
    assert difference(canvas(page), before) <= 1
    page.get_by_role("checkbox", name="auto").uncheck()
    page.get_by_role("spinbutton", name="Number of layers").fill("2")
    row(page, "Background").click()
    act(page, page.get_by_role("button", name="Split this layer again"))
    split = document(page, served).find("Background")
    assert isinstance(split, Group) and "Background, part 1" in [node.name for node in split.layers]
    assert difference(canvas(page, EXACT), flatten_array(document(page, served))) <= 2

    page.locator(".viewport").focus()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    settle(page)
    page.get_by_role("tab", name="Lift an object").click()
    page.locator(".run").click()
    page.get_by_text("Draw a box around the object").last.wait_for()
    drag(page, (8, 8), (44, 44))
    row(page, "poster").click()
    page.select_option("select[name=from]", "layer")
    run(page)
    assert tree(page, served) == ["0 poster", "0/0 Background", "0/1 Object"]
    assert difference(canvas(page), before) <= 1
    page.locator(".viewport").focus()
    page.keyboard.press("Control+z")
    settle(page)
    page.select_option("select[name=from]", "picture")
    drag(page, (46, 28), (72, 58))
    run(page)
    assert names(page) == ["Object", "Background"] and difference(canvas(page), before) <= 1


def test_named_layers_of_a_picture(visitor: Callable[..., Any], served: Served, poster_file: Path) -> None:
    """A row for each layer, lowest first; what is written outlasts changes of their number and becomes name and prompt."""
    page = visitor()
    open_file(page, poster_file)
    page.get_by_text("Name the layers").click()
    assert page.locator(".naming").get_by_text("no model here was trained to follow them").is_visible()
    rows = page.locator(".naming li input")
    assert rows.count() == 4 and rows.first.get_attribute("placeholder") == "Background"
    page.get_by_label("Name of layer 3 from below").fill("一颗星")
    page.get_by_role("spinbutton", name="Number of layers").fill("2")
    assert rows.count() == 2
    page.get_by_role("checkbox", name="auto").check()
    assert rows.count() == 0 and page.get_by_text("Choose a number of layers").is_visible()
    assert page.get_by_text("Name the layers (not with auto)", exact=True).is_visible()
    page.get_by_role("checkbox", name="auto").uncheck()
    assert page.get_by_text("Name the layers", exact=True).is_visible()
    page.get_by_role("spinbutton", name="Number of layers").fill("3")
    assert page.get_by_label("Name of layer 3 from below").input_value() == "一颗星"
    page.get_by_label("Name of layer 1 from below").fill("the ground")
    take_apart(page)
    assert names(page) == ["一颗星", "Layer 1", "the ground"]
    prompts = [layer.provenance.prompt for layer in document(page, served).leaves()]
    assert prompts == ["the ground", None, "一颗星"]
    assert difference(canvas(page), flatten_array(document(page, served))) <= 2

    page.get_by_role("spinbutton", name="Number of layers").fill("1")
    page.get_by_label("Name of layer 1 from below").fill("")
    row(page, "一颗星").click()
    act(page, page.get_by_role("button", name="Split this layer again"))
    assert names(page)[:2] == ["一颗星", "一颗星, part 1"]


def test_boxes_with_prompts_become_layers(visitor: Callable[..., Any], served: Served) -> None:
    """Two drawn boxes and a layer without one, each with its words; a box moved by its numbers and by its corner."""
    page = visitor()
    page.get_by_role("tab", name="Text to layers").click()
    drag(page, (4, 4), (30, 40))
    page.get_by_label("Prompt of box 1").fill("a red circle")
    drag(page, (32, 20), (56, 56))
    page.get_by_label("Prompt of box 2").fill("a blue fish")
    drag(page, (56, 56), (60, 60))  # the corner of box 2
    assert page.get_by_label("Place of box 2").input_value() == "32, 20, 60, 60"
    page.get_by_label("Place of box 1").fill("2, 4, 30, 400")
    page.keyboard.press("Tab")
    page.get_by_text("A box is four numbers inside 64 × 64").wait_for()
    assert page.get_by_label("Place of box 1").input_value() == "4, 4, 30, 40"
    page.get_by_role("button", name="Add a layer without a box").click()
    page.get_by_label("Prompt of box 3").fill("a yellow star")
    assert page.get_by_role("spinbutton", name="Number of layers").input_value() == "4"
    page.locator("textarea[name=prompt]").fill("a red circle and a blue fish on the sky")
    run(page)
    leaves = document(page, served).leaves()
    assert [layer.provenance.prompt for layer in leaves][1:] == [
        "a red circle",
        "a blue fish",
        "a yellow star",
    ]
    assert leaves[2].provenance.box == (32, 20, 60, 60) and leaves[3].provenance.box in (None, (0, 0, 64, 64))
    x0, y0, x1, y1 = leaves[1].provenance.box or (0, 0, 0, 0)
    assert abs(x0 - 4) <= 1 and abs(y0 - 4) <= 1 and abs(x1 - 30) <= 1 and abs(y1 - 40) <= 1
    assert difference(canvas(page, EXACT), flatten_array(document(page, served))) <= 2
