"""The loop of trying again: what was asked stays in the form, what came of it is shown and selected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import button, drag, finish, names, open_file, press, row, take_apart, toasts

pytestmark = [pytest.mark.ui, pytest.mark.slow]


def test_text_to_layers_again(visitor: Callable[..., Any]) -> None:
    """The boxes outlast a look at another tab and the run, whose result is shown; Ctrl+Enter makes another."""
    page = visitor()
    page.get_by_role("tab", name="Text to layers").click()
    drag(page, (4, 4), (30, 40))
    page.keyboard.type("a red circle")
    page.get_by_role("tab", name="Image to layers").click()
    page.get_by_role("tab", name="Text to layers").click()
    assert page.get_by_label("Prompt of box 1").input_value() == "a red circle"
    page.locator("textarea[name=prompt]").fill("a red circle on the sky")
    page.locator(".advanced summary").click()
    page.locator("input[name=steps]").fill("1")
    made = []
    for _ in range(2):
        page.keyboard.press("Control+Enter")
        page.wait_for_function(
            "made => acetate.view && acetate.view.id !== made", arg=made[-1] if made else None
        )
        finish(page)
        made.append(page.evaluate("acetate.view.id"))
        assert names(page) == ["a red circle", "Background"] and page.locator("canvas.document").is_visible()
        assert page.get_by_label("Prompt of box 1").input_value() == "a red circle"
        assert page.get_by_role("radio", name="Move and transform").get_attribute("aria-checked") == "true"
    assert page.locator("select.documents option").count() == 2
    page.locator(".viewport").focus()
    press(page, "b")
    assert names(page) == [] and page.locator(".overlay .region").count() == 1
    assert page.get_by_role("tab", name="Text to layers").get_attribute("aria-selected") == "true"


def test_what_a_model_does_not_do_with_words_is_said_where_words_lead(visitor: Callable[..., Any]) -> None:
    page = visitor()
    page.evaluate("acetate.session.models[0].caveat = 'It does not follow prompts.'; acetate.tasks.model()")
    told = page.get_by_text("It does not follow prompts.")
    for task, shown in (("Image to layers", False), ("Text to layers", True), ("Add or replace", True)):
        page.get_by_role("tab", name=task).click()
        assert told.is_visible() == shown, task
    page.evaluate("Object.assign(acetate.tasks.facts, { tasks: ['generate'], able: 'stacks in boxes' })")
    page.evaluate("acetate.tasks.render()")
    for task, able in (("Lift an object", False), ("Text to layers", True)):
        page.get_by_role("tab", name=task).click()
        assert page.get_by_text("cannot do this: it makes stacks in boxes.").is_visible() != able, task
        assert page.locator(".run").is_enabled() == able, task


def test_no_more_boxes_than_the_model_makes_layers(visitor: Callable[..., Any]) -> None:
    page = visitor()
    page.get_by_role("tab", name="Text to layers").click()
    for _ in range(8):
        page.get_by_role("button", name="Add a layer without a box").click()
    assert "at most 8 layers" in page.locator(".note").inner_text()
    page.locator("textarea[name=prompt]").fill("the sea")
    page.locator(".run").click()
    assert "Take 1 away" in toasts(page)[0] and page.evaluate("acetate.job") is None
    page.get_by_role("button", name="Remove box 8").click()
    assert page.locator(".note").inner_text() == ""


def test_what_is_new_is_selected(visitor: Callable[..., Any], squares: Path) -> None:
    page = visitor()
    open_file(page, squares)
    chosen = (
        "[...acetate.selection].map((id) => document.querySelector(`[data-id='${id}'] .name`).textContent)"
    )
    row(page, "Red").click()
    press(page, "Control+d")
    assert page.evaluate(chosen) == ["Red copy"]
    row(page, "Green").click(modifiers=["Control"])
    press(page, "Control+g")
    assert page.evaluate(chosen) == ["Group"]
    row(page, "Blue").click()
    page.get_by_role("spinbutton", name="Number of layers").fill("2")
    page.evaluate("document.querySelector('[name=steps]').value = 1")
    for action, expected in (
        ("Redo this layer", "Blue"),
        ("Fill behind", "Background"),
        ("Split this", "Background"),
    ):
        done = page.evaluate("acetate.view.version")
        button(page, action).click()
        page.wait_for_function("done => acetate.view.version > done", arg=done)
        finish(page)
        assert page.evaluate(chosen) == [expected]
    take_apart(page)
    assert page.evaluate(chosen) == []
