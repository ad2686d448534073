"""What surrounds the studio: enlarged pages, the reader's colours, dropped folders, other tabs, the server's end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import Served, names, open_file, row, settle
from test_browser_documents import SLOW, choose, toasts

pytestmark = [pytest.mark.ui, pytest.mark.slow]

SAID = """() => { window.said = []; const phase = document.querySelector('.phase');
  new MutationObserver(() => said.push(phase.textContent)).observe(phase, { childList: true }); }"""


def drop(page: Any, *paths: Path) -> None:
    """As from a file manager: with what only real files and folders have."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 640, "y": 400, "data": data})


def colour(page: Any, selector: str) -> str:
    found: str = page.locator(selector).first.evaluate("one => getComputedStyle(one).backgroundColor")
    return found


@pytest.mark.parametrize("width, height", [(640, 360), (800, 600)])
def test_an_enlarged_page(visitor: Callable[..., Any], squares: Path, width: int, height: int) -> None:
    """640 x 360 is a window of 1280 x 720 at 200 %."""
    page = visitor()
    open_file(page, squares)
    page.set_viewport_size({"width": width, "height": height})
    stage = page.locator(".middle").bounding_box()
    assert stage["width"] >= 300 and stage["height"] >= height - 110
    for selector in ("select.documents", "select.format"):
        box = page.locator(selector).bounding_box()
        assert box["width"] >= 60 and box["x"] >= 0 and box["x"] + box["width"] <= width
    row(page, "Red").click()
    parts = (".bar [data-action]", ".task :is(button, select, textarea)", ".layers :is(button, select, .row)")
    for part in page.locator(", ".join(parts)).all():
        if not part.is_visible():
            continue
        part.evaluate("one => one.scrollIntoView({ block: 'nearest' })")
        within = part.evaluate("""one => { const { x, y, width, height } = one.getBoundingClientRect();
          return [[x + 1, y + 2], [x + width - 1, y + height - 2]].every(([x, y]) => {
            const hit = document.elementFromPoint(x, y); return one.contains(hit) || hit?.contains(one); }); }""")
        assert within, part.evaluate("one => one.outerHTML")
    assert page.locator(".middle").bounding_box() == stage  # the panes scroll past it
    page.get_by_role("button", name="Delete (Del)").click()
    settle(page)
    assert names(page) == ["Blue", "Green", "Ground"]


def test_usual_windows_have_three_columns(visitor: Callable[..., Any]) -> None:
    page = visitor()
    for width, sides in ((1280, (288, 296)), (1920, (320, 350)), (1000, (288, 296))):
        page.set_viewport_size({"width": width, "height": 800})
        task, middle, layers = (
            page.locator(one).bounding_box() for one in (".pane.task", ".middle", ".pane.layers")
        )
        assert (task["width"], layers["width"]) == sides and middle["width"] == width - sum(sides) - 2
        assert task["height"] == middle["height"] == layers["height"] == 800 - 44 - 28 - 2


def test_the_readers_own_colours(visitor: Callable[..., Any], squares: Path) -> None:
    page = visitor()
    page.emulate_media(forced_colors="active")
    open_file(page, squares)
    row(page, "Red").click()
    page.evaluate("acetate.toggleSolo(acetate.view.layers[0].id)")
    settle(page)
    for chosen, other in (
        (".row.selected", ".row:not(.selected)"),
        ('[role="tab"][aria-selected="true"]', '[role="tab"][aria-selected="false"]'),
        ('[data-action="tool-move"]', '[data-action="tool-region"]'),
        ('.toggle.on[data-toggle="solo"]', '.row:not(.selected) .toggle[data-toggle="visible"]'),
    ):
        assert colour(page, chosen) != colour(page, other), chosen
    assert page.locator(".sheet").evaluate("one => getComputedStyle(one).outlineStyle") == "solid"


def test_a_folder_is_dropped(visitor: Callable[..., Any], squares: Path, tmp_path: Path) -> None:
    page = visitor()
    folder = tmp_path / "holiday"
    folder.mkdir()
    drop(page, folder, squares)
    page.get_by_text("“holiday” is a folder: drop the files in it.").wait_for()
    page.wait_for_function("acetate.view?.name === 'squares'")
    settle(page)
    assert len(toasts(page)) == 1


def test_a_file_that_cannot_be_read(visitor: Callable[..., Any]) -> None:
    page = visitor()
    page.evaluate("""() => { const file = new File(['x'], 'gone.png');
      file.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException('gone', 'NotFoundError')) });
      return acetate.openFile(file); }""")
    assert "“gone.png” cannot be read" in toasts(page)[0] and len(toasts(page)) == 1


@pytest.mark.parametrize(
    "data, told",
    [
        ('"Cancelled via cancel scope 7f2a by <Task coro=<secret/x.py>>"', "The server has ended this"),
        ('{"error": "No such file: secret/x.py", "visible": true}', "The server could not do that."),
        (None, "The server has ended this"),
    ],
)
def test_nothing_of_the_servers_inside_is_shown(
    visitor: Callable[..., Any], squares: Path, data: str | None, told: str
) -> None:
    """An error of the server's own, and answers that end in the middle."""
    page = visitor()
    open_file(page, squares)
    page.evaluate(
        """(data) => { const fetch = window.fetch; window.fetch = async (...all) =>
      String(all[0]).includes("call/decompose/")
        ? new Response('event: generating\\ndata: [{"status": "running", "phase": "load", "preview": []}]\\n\\n'
          + (data ? `event: error\\ndata: ${data}\\n\\n` : "")) : fetch(...all); }""",
        data,
    )
    page.get_by_role("button", name="Take apart").click()
    page.locator(".toast").wait_for()
    page.wait_for_function("!acetate.job")
    assert toasts(page)[0].startswith(told) and "secret/" not in page.locator("body").inner_text()
    page.request.post(page.url + "acetate/cancel")
    # Sentences of ours still come through.
    page.evaluate("acetate.edit(['blend:nothing,normal'])")
    settle(page)
    assert "nothing" in toasts(page)[-1]


def test_a_double_click_opens_an_example_once(visitor: Callable[..., Any]) -> None:
    page = visitor()
    page.evaluate(SLOW, ["call/open_example", 500])
    page.locator("[data-example]").first.dblclick()
    page.wait_for_function("acetate.view")
    settle(page)
    page.wait_for_timeout(700)
    settle(page)
    assert page.evaluate("acetate.session.documents.length") == 1


def test_documents_of_another_tab(visitor: Callable[..., Any], squares: Path, poster_file: Path) -> None:
    page = visitor()
    open_file(page, squares)
    tab = visitor(tab_of=page)
    row(tab, "Red").click()
    open_file(page, poster_file)
    assert tab.locator("select.documents option").count() == 1
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait_for_function("document.querySelector('select.documents').options.length === 2")
    shown = tab.evaluate(
        "[acetate.view.name, acetate.selected().name, document.querySelector('.documents').value]"
    )
    assert shown == ["squares", "Red", tab.evaluate("acetate.view.id")]
    choose(tab, "poster")
    page.evaluate("acetate.closeDocument()")
    page.wait_for_function("acetate.view?.name === 'squares'")
    tab.evaluate("window.dispatchEvent(new Event('focus'))")
    tab.get_by_text("“poster” was closed in another tab.").wait_for()
    tab.wait_for_function("acetate.view?.name === 'squares'")


def test_what_is_said_while_a_document_comes(
    visitor: Callable[..., Any], served: Served, twenty: list[tuple[Any, Path]]
) -> None:
    page = visitor()
    page.evaluate(SAID)
    open_file(page, twenty[0][1])
    said = page.evaluate("said")
    assert said[0].startswith("Opening twenty-0.zip") and said[-1] == "Ready"
    counts = [text for text in said if text.startswith("Fetching pixels, ")]
    assert len(counts) > 10 and all(" of " in text for text in counts)
    assert set(said[said.index(counts[-1]) + 1 :]) == {"Ready"}
