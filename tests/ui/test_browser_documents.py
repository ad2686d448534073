"""Documents that are opened, chosen and closed while edits and runs are under way; two tabs; a server that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studio_browser import (
    Served,
    button,
    document,
    drag,
    finish,
    names,
    on_stage,
    open_file,
    press,
    row,
    settle,
    toasts,
)  # fmt: skip

from acetate.ui.previews import Previews

pytestmark = [pytest.mark.ui, pytest.mark.slow]

SLOW = """([part, ms]) => { const fetch = window.fetch; window.fetch = async (...all) => {
  if (String(all[0]).includes(part)) await new Promise((done) => setTimeout(done, ms));
  return fetch(...all); }; }"""


def chosen(page: Any) -> str:
    return page.locator("select.documents option:checked").inner_text()


def choose(page: Any, name: str) -> None:
    page.locator("select.documents").select_option(label=name)
    settle(page)


def close(page: Any) -> None:
    button(page, "Close this document").click()


def start(page: Any, step: int = 2) -> None:
    """A run that the fixture ``pause`` holds after its step."""
    button(page, "Take apart").click()
    page.wait_for_function("step => acetate.job?.step === step && acetate.job.preview.length", arg=step)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """``release = hold()``: the next run waits after its second step until ``release()``, or until it is cancelled."""
    import threading

    show, gates = Previews.__call__, []

    def wait(self: Previews, progress: Any) -> None:
        show(self, progress)
        if gates and progress.done == 2:
            gate = gates.pop()
            while not gate.wait(0.02) and not self._job.cancel.is_set():
                pass

    def arm() -> Any:
        gates.append(threading.Event())
        return gates[-1].set

    monkeypatch.setattr(Previews, "__call__", wait)
    return arm


@pytest.fixture
def other(squares: Path) -> Path:
    """The same picture once more, and so the same ids of layers."""
    path = squares.with_name("other.zip")
    path.write_bytes(squares.read_bytes())
    return path


def test_a_document_with_work_in_it_is_not_closed_without_a_word(
    visitor: Callable[..., Any], squares: Path
) -> None:
    page = visitor()
    open_file(page, squares)
    close(page)
    page.wait_for_function("!acetate.view")  # nothing in it that the file has not
    open_file(page, squares)
    row(page, "Red").click()
    press(page, "Delete")
    close(page)
    dialog = page.get_by_role("dialog", name="Close the document")
    dialog.wait_for()
    assert "squares" in dialog.inner_text() and page.evaluate("document.activeElement.value") == "keep"
    page.keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    close(page)
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    settle(page)
    assert names(page) == ["Blue", "Green", "Ground"] and chosen(page) == "squares"
    close(page)
    dialog.get_by_role("button", name="Close and delete").click()
    page.wait_for_function("!acetate.view")
    assert page.locator(".empty").is_visible() and toasts(page) == []


def test_the_document_that_gives_way_is_named(visitor: Callable[..., Any], squares: Path) -> None:
    page = visitor()
    for number in range(8):
        path = squares.with_name(f"page {number}.zip")
        path.write_bytes(squares.read_bytes())
        open_file(page, path)
    gone = page.evaluate("acetate.session.documents.at(-1)")
    assert gone["name"] == "page 0"
    open_file(page, squares)
    page.get_by_text("“page 0” was closed").wait_for()
    listed = page.locator("select.documents option").all_inner_texts()
    assert len(listed) == 8 and "page 0" not in listed and chosen(page) == "squares"
    # As it stands in the list of another tab: the list comes back to what there is.
    page.evaluate("id => document.querySelector('.documents').append(new Option('stale', id))", gone["id"])
    page.locator("select.documents").select_option(label="stale")
    page.get_by_text("There is no such document").wait_for()
    page.wait_for_function("document.querySelector('.documents').value === acetate.view.id")
    assert page.locator("select.documents option").count() == 8 and names(page)[0] == "Blue"


def test_closing_a_document_ends_its_run(
    visitor: Callable[..., Any], served: Served, squares: Path, hold: Callable[[], Any]
) -> None:
    page = visitor()
    open_file(page, squares)
    hold()
    start(page)
    assert page.locator(".live").is_visible()
    close(page)
    page.wait_for_function("!acetate.view && !acetate.job")
    assert page.locator(".live").is_hidden() and page.locator(".empty").is_visible() and toasts(page) == []
    assert "Cancelled" in page.locator(".phase").inner_text()


def test_edits_during_a_run_and_a_look_at_another_document(
    visitor: Callable[..., Any], squares: Path, poster_file: Path, hold: Callable[[], Any]
) -> None:
    """The preview stays with its document, the end of the run too; what was edited meanwhile is one undo away."""
    page = visitor()
    open_file(page, poster_file)
    open_file(page, squares)
    release = hold()
    start(page)
    choose(page, "poster")
    assert page.locator(".live").is_hidden()
    release()
    finish(page)
    assert chosen(page) == "poster" and names(page) == ["poster"]
    assert "Image to layers: “squares” is done" in toasts(page)[0]
    choose(page, "squares")
    assert names(page)[-1] == "Background"
    press(page, "Control+z")
    release = hold()
    start(page)
    row(page, "Red").click()
    press(page, "Delete")
    assert page.locator(".live").is_visible()
    release()
    finish(page)
    assert "Undo brings your changes back" in toasts(page)[-1] and names(page)[-1] == "Background"
    press(page, "Control+z")
    assert names(page) == ["Blue", "Green", "Ground"]


def test_a_drag_stays_with_the_document_it_began_on(
    visitor: Callable[..., Any], served: Served, squares: Path, other: Path
) -> None:
    page = visitor()
    open_file(page, other)
    open_file(page, squares)
    page.mouse.move(*on_stage(page, 20, 20))
    page.mouse.down()
    page.mouse.move(*on_stage(page, 40, 60), steps=3)
    page.evaluate(
        "acetate.documents.choose(acetate.session.documents.find(({ name }) => name === 'other').id)"
    )
    settle(page)
    page.mouse.up()
    settle(page)
    for name in ("other", "squares"):
        choose(page, name)
        assert document(page, served).find("Red").offset == (10, 10)  # type: ignore[union-attr]
    drag(page, (20, 20), (30, 60))
    assert document(page, served).find("Red").offset == (20, 50)  # type: ignore[union-attr]


def test_lifting_draws_boxes_after_another_picture_is_opened(
    visitor: Callable[..., Any], served: Served, squares: Path, other: Path
) -> None:
    page = visitor()
    open_file(page, squares)
    page.get_by_role("tab", name="Lift an object").click()
    drag(page, (5, 5), (40, 40))
    assert page.evaluate("acetate.regions.length") == 1
    open_file(page, other)
    assert page.evaluate("acetate.regions.length") == 0
    assert page.get_by_role("radio", name="Draw boxes").get_attribute("aria-checked") == "true"
    drag(page, (8, 8), (36, 36))
    assert page.evaluate("acetate.regions[0].box") == [8, 8, 36, 36]
    assert document(page, served).find("Red").offset == (10, 10)  # type: ignore[union-attr]


def test_arrow_keys_meet_another_document(
    visitor: Callable[..., Any], served: Served, squares: Path, other: Path
) -> None:
    """Chosen, opened or closed right after: the nudge reaches the document it was made in, and no other."""
    page = visitor()
    open_file(page, other)
    open_file(page, squares)
    row(page, "Red").click()
    page.locator(".viewport").focus()
    page.keyboard.press("ArrowRight")
    choose(page, "other")
    page.wait_for_timeout(400)  # the time after which a nudge is told
    settle(page)
    assert document(page, served).find("Red").offset == (10, 10)  # type: ignore[union-attr]
    choose(page, "squares")
    assert document(page, served).find("Red").offset == (11, 10)  # type: ignore[union-attr]
    for _ in range(2):
        if names(page):
            row(page, "Red").click()
            page.locator(".viewport").focus()
            page.keyboard.press("ArrowRight")
            page.evaluate("void (acetate.closing = acetate.closeDocument())")
            page.get_by_role("button", name="Close and delete").click()
            page.evaluate("acetate.closing")
    page.wait_for_timeout(400)
    settle(page)
    assert page.evaluate("acetate.view") is None and toasts(page) == []


def test_answers_that_come_late(
    visitor: Callable[..., Any], served: Served, squares: Path, poster_file: Path
) -> None:
    """A slow server: an edit, then another file; an edit made while a file is opened; an edit, then close."""
    page = visitor()
    open_file(page, squares)
    page.evaluate(SLOW, ["gradio_api/call/edit", 300])
    row(page, "Red").click()
    page.keyboard.press("Control+d")
    open_file(page, poster_file)
    page.wait_for_timeout(400)
    settle(page)
    assert names(page) == ["poster"] and chosen(page) == "poster"
    choose(page, "squares")
    assert names(page) == ["Blue", "Green", "Red copy", "Red", "Ground"]
    page.evaluate(SLOW, ["gradio_api/upload", 300])
    page.set_input_files("input.file", poster_file)
    row(page, "Blue").click()
    page.keyboard.press("Delete")
    page.wait_for_function("acetate.view?.name === 'poster'")
    settle(page)
    assert names(page) == ["poster"]
    choose(page, "squares")
    assert names(page) == ["Green", "Red copy", "Red", "Ground"]
    row(page, "Green").click()
    page.keyboard.press("Delete")
    close(page)
    page.get_by_role("button", name="Close and delete").click()
    page.wait_for_function("acetate.view?.name === 'poster'")
    settle(page)
    assert toasts(page) == [] and names(page) == ["poster"]


def test_two_tabs(visitor: Callable[..., Any], squares: Path, hold: Callable[[], Any]) -> None:
    """A run of the other tab is followed once it is in the way; a document closed there is left here."""
    page = visitor()
    open_file(page, squares)
    tab = visitor(tab_of=page)
    hold()
    start(page)
    button(tab, "Take apart").click()
    tab.get_by_text("A run of yours is under way").wait_for()
    tab.wait_for_function("acetate.job?.step === 2")
    button(tab, "Cancel").click()
    finish(tab)
    finish(page)
    page.evaluate("acetate.closeDocument()")
    page.wait_for_function("!acetate.view")
    row(tab, "Green").click()
    tab.keyboard.press("Delete")
    tab.get_by_text("There is no such document").wait_for()
    tab.wait_for_function("!acetate.view")
    assert tab.locator(".empty").is_visible()


def test_a_server_that_is_gone_is_said(
    visitor: Callable[..., Any], squares: Path, hold: Callable[[], Any]
) -> None:
    page = visitor()
    open_file(page, squares)
    hold()
    page.evaluate("""() => { const fetch = window.fetch; window.fetch = async (...all) => {
      if (window.gone) throw new TypeError("network error");
      const answer = await fetch(...all);
      if (String(all[0]).includes("decompose/")) {
        const reader = answer.body.getReader();
        return new Response(new ReadableStream({ async start(stream) {
          window.kill = () => { window.gone = true; stream.error(new TypeError("network error")); };
          while (!window.gone) stream.enqueue((await reader.read()).value);
        } }));
      }
      return answer; }; }""")
    start(page)
    page.evaluate("kill()")
    page.wait_for_function("!acetate.job")
    assert "The server does not answer. See whether it still runs, then reload the page." in toasts(page)[0]
    assert page.locator(".phase").inner_text() == "The server does not answer"
    row(page, "Red").click()
    page.keyboard.press("Delete")
    settle(page)
    assert len(toasts(page)) == 1
    page.evaluate("gone = false")
    page.request.post(page.url + "acetate/cancel")


def test_keys_on_the_empty_page(visitor: Callable[..., Any]) -> None:
    page = visitor()
    press(page, "1", "f", "+", "-", "c", "ArrowRight")
    assert page.locator(".empty").is_visible()
