"""Little room: low and narrow windows, a run in a narrow status bar, long names, the same message again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import open_file, row
from studio_scenes import squares
from test_browser_page import OUTSIDE

pytestmark = [pytest.mark.ui, pytest.mark.slow]

RUNNING = """() => {
  acetate.view.facts = { seed: 7, recomposition: {
    before: { psnr: 31.2, max: 40 }, after: { max: 0 }, colour_change: { share: 0.1 } } };
  acetate.runs.progress({
    status: 'running', phase: 'denoise', position: 0, step: 10, steps: 50, remaining: 80, preview: [] });
}"""


def whole(page: Any, selector: str) -> bool:
    """Nothing of its text is cut off."""
    found: bool = page.locator(selector).evaluate("one => one.scrollWidth <= one.clientWidth")
    return found


def test_low_and_narrow_windows(visitor: Callable[..., Any], tmp_path: Path) -> None:
    page = visitor()
    long = squares().layers[1].replace(name="The large red square at the upper left")  # type: ignore[call-arg]
    doc = squares()
    doc = doc.with_layers((doc.layers[0], long, *doc.layers[2:]))
    checker = page.locator("select.backdrop").bounding_box()["width"]
    page.set_viewport_size({"width": 1280, "height": 560})
    # The button sticks to the lower edge, and fields pass beneath it.
    style = page.locator(".run:disabled").evaluate(
        "one => [getComputedStyle(one).opacity, getComputedStyle(one).position]"
    )
    assert style == ["1", "sticky"]
    open_file(page, doc.save(tmp_path / "square.zip"))
    page.mouse.move(640, 300)
    label, item = row(page, long.name).locator(".label").bounding_box(), row(page, long.name).bounding_box()
    assert (
        label["x"] + label["width"] >= item["x"] + item["width"] - 12
    )  # no room is kept for tools that do not show
    row(page, "Green").hover()
    assert row(page, "Green").get_by_role("button", name="Lock").is_visible()

    page.set_viewport_size({"width": 800, "height": 560})
    assert page.evaluate(OUTSIDE) == [] and page.locator(".brand").bounding_box()["height"] < 30
    assert page.locator("select.backdrop").bounding_box()["width"] == checker
    page.set_viewport_size({"width": 1024, "height": 640})
    page.evaluate(RUNNING)
    assert page.locator(".phase").inner_text() == "Painting, step 10 of 50" and whole(page, ".phase")
    assert not page.locator(".badge").is_visible() and page.locator(".remaining").is_visible()
    page.evaluate("acetate.job = null; acetate.changed('job')")
    assert page.locator(".badge").is_visible()


def test_the_same_message_again(visitor: Callable[..., Any]) -> None:
    page = visitor()
    page.evaluate("for (const text of ['no', 'no', 'not so', 'no']) acetate.toast(text)")
    assert page.locator(".toast").all_text_contents() == ["not so✕", "no✕"]
