"""What a designer does in a session, in a real browser. Run: pytest tests/ui -m ui"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_scenes import twenty_layers

from acetate.layers.blend import BlendMode
from acetate.layers.composite import flatten_array
from acetate.layers.document import LayeredImage
from acetate.layers.edit import set_blend
from acetate.ui.actions import Studio

pytestmark = [pytest.mark.ui, pytest.mark.slow]
Served = tuple[str, Studio]

# Bytes travel as text: a list of numbers takes a hundred times as long.
TEXT = "(bytes) => { let t = ''; for (const b of bytes) t += String.fromCharCode(b); return btoa(t); }"
CANVAS = f"""() => {{ const c = document.querySelector('canvas.document');
  return ({TEXT})(c.getContext('2d').getImageData(0, 0, c.width, c.height).data); }}"""
EXACT = f"() => ({TEXT})(acetate.stage.compositor.render(acetate.stage.nodes, [0, 0, ...acetate.stage.size]))"


def open_file(page: Any, path: Path) -> None:
    before = page.evaluate("acetate.view?.id ?? null")
    page.set_input_files("input.file", path)
    page.wait_for_function("before => acetate.view && acetate.view.id !== before", arg=before)
    settle(page)


def settle(page: Any) -> None:
    """Every edit is told to the server and everything is drawn."""
    page.wait_for_function("acetate.pending === 0 && !acetate.gestures.nudged")
    page.evaluate("acetate.stage.settled")


def finish(page: Any) -> None:
    page.wait_for_function("acetate.job === null")
    settle(page)


def row(page: Any, name: str) -> Any:
    return page.get_by_role("treeitem", name=name, exact=True)


def names(page: Any) -> list[str]:
    return page.locator(".tree .name").all_text_contents()


def canvas(page: Any, script: str = CANVAS) -> np.ndarray:
    settle(page)
    width, height = page.evaluate("acetate.stage.size")
    return pixels_from(page.evaluate(script), height, width)


def pixels_from(text: str, height: int, width: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def document(page: Any, served: Served) -> LayeredImage:
    """The server's side of what a page shows."""
    found = page.evaluate("acetate.view.id")
    return served[1].store._records[found].state.doc


def difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def on_stage(page: Any, x: float, y: float) -> tuple[float, float]:
    """The place on the screen of a point of the document."""
    frame = page.locator(".viewport").bounding_box()
    dx, dy = page.evaluate("([x, y]) => acetate.stage.toViewport(x, y)", [x, y])
    return frame["x"] + dx, frame["y"] + dy


def drag(page: Any, start: tuple[float, float], end: tuple[float, float], *, steps: int = 4) -> None:
    page.mouse.move(*on_stage(page, *start))
    page.mouse.down()
    page.mouse.move(*on_stage(page, *end), steps=steps)
    page.wait_for_timeout(60)
    page.mouse.up()
    settle(page)


@pytest.mark.parametrize("number", [0, 1])
def test_the_canvas_equals_our_compositor(
    visitor: Callable[..., Any], served: Served, twenty: list[tuple[LayeredImage, Path]], number: int
) -> None:
    doc, path = twenty[number]
    page = visitor()
    open_file(page, path)
    assert difference(canvas(page), flatten_array(doc)) <= 2
    assert difference(canvas(page, EXACT), flatten_array(doc)) <= 2


def test_transparency_and_each_mode_alone(visitor: Callable[..., Any], tmp_path: Path) -> None:
    """The same layer in every mode over a half transparent backdrop; straight pixels compared."""
    base = twenty_layers(5)
    page = visitor()
    leaves = base.leaves()
    plain = LayeredImage(
        width=96, height=96, layers=(leaves[2].replace(blend="normal"), leaves[3].replace(mask=None))
    )
    open_file(page, plain.save(tmp_path / "plain.zip"))
    modes = [mode.value for mode in BlendMode if mode is not BlendMode.PASS_THROUGH]
    drawn = page.evaluate(
        f"""modes => modes.map(mode => {{ const [below, above] = acetate.stage.nodes;
          return ({TEXT})(acetate.stage.compositor.render([below, {{...above, blend: mode}}], [0, 0, 96, 96])); }})""",
        modes,
    )
    worst = {}
    for mode, data in zip(modes, drawn, strict=True):
        found = pixels_from(data, 96, 96)
        expected = flatten_array(set_blend(plain, "#1", mode))
        seen = expected[..., 3] > 0
        worst[mode] = difference(found[seen], expected[seen])
        assert difference(found[..., 3], expected[..., 3]) == 0
    assert max(worst.values()) <= 2, worst


def test_an_editing_session(
    visitor: Callable[..., Any], served: Served, poster_file: Path, tmp_path: Path
) -> None:
    """Take apart, hide, drag, reorder, blend, rename, undo and redo ten steps, export, open in a new tab."""
    page = visitor()
    open_file(page, poster_file)
    page.get_by_role("spinbutton", name="Number of layers").fill("3")
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("acetate.job !== null")
    finish(page)
    assert names(page) == ["Layer 2", "Layer 1", "Background"]
    assert "recomposition: model alone" in page.locator(".badge").inner_text()
    assert difference(canvas(page), flatten_array(document(page, served))) <= 2

    row(page, "Layer 2").get_by_role("button", name="Hide").click()
    assert difference(canvas(page), flatten_array(document(page, served))) <= 2
    row(page, "Layer 2").get_by_role("button", name="Show").click()
    settle(page)

    row(page, "Layer 1").click()
    page.locator(".opacity input[type=number]").fill("50")
    page.keyboard.press("Tab")
    page.select_option("select.blend", "vivid-light")
    settle(page)
    row(page, "Layer 1").drag_to(row(page, "Layer 2"), target_position={"x": 90, "y": 4})
    settle(page)
    assert names(page) == ["Layer 1", "Layer 2", "Background"]

    row(page, "Layer 1").locator(".name").dblclick()
    page.keyboard.type("红色的圆")
    page.keyboard.press("Enter")
    settle(page)
    assert names(page)[0] == "红色的圆"
    row(page, "红色的圆").click()
    page.keyboard.press("ArrowUp")  # moves the selection: the row has the focus
    page.locator(".viewport").focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.wait_for_timeout(400)
    settle(page)
    assert document(page, served).find("红色的圆").offset[0] >= 30  # type: ignore[union-attr]
    page.keyboard.press("Control+d")
    settle(page)
    page.keyboard.press("Control+g")
    settle(page)
    page.keyboard.press("Control+z")
    settle(page)
    after = [node.name for _, node in document(page, served).walk()]
    picture = canvas(page)
    assert difference(picture, flatten_array(document(page, served))) <= 2

    for _ in range(9):
        page.keyboard.press("Control+z")
        settle(page)
    assert names(page) == ["poster"]
    for _ in range(9):
        page.keyboard.press("Control+Shift+z")
        settle(page)
    assert [node.name for _, node in document(page, served).walk()] == after
    assert difference(canvas(page), picture) == 0

    page.select_option("select.format", "psd")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "poster.psd"
    again, here = LayeredImage.open(path), document(page, served)
    assert [node.name for _, node in again.walk()] == [node.name for _, node in here.walk()]
    for one, other in zip(again.leaves(), here.leaves(), strict=True):
        assert one.offset == other.offset and one.blend is other.blend
        shown = other.pixels[..., 3] > 0
        assert difference(one.pixels[shown], other.pixels[shown]) == 0
    assert difference(flatten_array(again), flatten_array(here)) <= 2

    tab = visitor(tab_of=page)
    open_file(tab, path)
    assert names(tab) == names(page)
    assert difference(canvas(tab), picture) <= 2


def test_dragging_moves_the_pixels_without_the_server(
    visitor: Callable[..., Any], served: Served, tmp_path: Path
) -> None:
    from acetate.layers.document import Layer

    ground = np.full((100, 120, 4), 255, np.uint8)
    square = np.zeros((20, 20, 4), np.uint8)
    square[...] = (220, 30, 40, 255)
    layers = (Layer(pixels=ground, name="Ground"), Layer(pixels=square, name="Square", offset=(10, 10)))
    page = visitor()
    open_file(page, LayeredImage(width=120, height=100, layers=layers).save(tmp_path / "square.zip"))
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url))
    page.mouse.move(*on_stage(page, 20, 20))
    page.mouse.down()
    page.mouse.move(*on_stage(page, 60, 50), steps=5)
    page.wait_for_timeout(80)
    assert calls == []
    pixels = pixels_from(page.evaluate(CANVAS), 100, 120)
    assert tuple(pixels[50, 60]) == (220, 30, 40, 255) and tuple(pixels[15, 15]) == (255, 255, 255, 255)
    page.mouse.up()
    settle(page)
    assert document(page, served).find("Square").offset == (50, 40)  # type: ignore[union-attr]
    assert difference(canvas(page), flatten_array(document(page, served))) == 0

    handle = page.locator("[data-handle='4']").bounding_box()
    page.mouse.move(handle["x"] + 4, handle["y"] + 4)
    page.mouse.down()
    page.mouse.move(*on_stage(page, 80, 70), steps=4)
    page.mouse.up()
    settle(page)
    assert document(page, served).find("Square").width == pytest.approx(40, abs=1)  # type: ignore[union-attr]
    assert difference(canvas(page), flatten_array(document(page, served))) <= 1


def test_boxes_with_prompts_become_layers(visitor: Callable[..., Any], served: Served) -> None:
    page = visitor()
    page.get_by_role("tab", name="From text").click()
    drag(page, (4, 4), (30, 40))
    page.get_by_label("Prompt of box 1").fill("a red circle")
    drag(page, (32, 20), (60, 60))
    page.get_by_label("Prompt of box 2").fill("a blue fish")
    page.locator("textarea[name=prompt]").fill("a red circle and a blue fish on the sky")
    page.locator(".run").click()
    finish(page)
    page.wait_for_function("acetate.view !== null")
    doc = document(page, served)
    assert [layer.provenance.prompt for layer in doc.leaves()][1:] == ["a red circle", "a blue fish"]
    x0, y0, x1, y1 = doc.leaves()[1].provenance.box or (0, 0, 0, 0)
    assert abs(x0 - 4) <= 1 and abs(y0 - 4) <= 1 and abs(x1 - 30) <= 1 and abs(y1 - 40) <= 1
    assert difference(canvas(page, EXACT), flatten_array(doc)) <= 2


def test_cancel_keeps_the_document_and_a_new_run_starts(
    visitor: Callable[..., Any], served: Served, poster_file: Path
) -> None:
    page = visitor()
    open_file(page, poster_file)
    before = page.evaluate("acetate.view.version")
    page.locator("summary").click()
    page.locator("input[name=steps]").fill("50")
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("acetate.job?.step >= 2")
    assert page.locator(".live-row img").count() == 4
    page.get_by_role("button", name="Cancel").click()
    finish(page)
    job = next(iter(j for j in served[1].worker._last.values() if j.status == "cancelled"))
    assert job.step < 50 and job.ended_at is not None and job.stopped_at is not None
    assert job.ended_at - job.stopped_at < 1.2  # a step of this model takes well under a second
    assert page.evaluate("acetate.view.version") == before and names(page) == ["poster"]
    assert "Cancelled" in page.locator(".phase").inner_text()
    page.locator("input[name=steps]").fill("1")
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("acetate.job !== null")
    finish(page)
    assert len(names(page)) == 4


def test_two_visitors_do_not_see_each_other(
    visitor: Callable[..., Any], served: Served, poster_file: Path
) -> None:
    one, other = visitor(), visitor(scheme="light", width=1920)
    open_file(one, poster_file)
    assert other.evaluate("acetate.session.documents") == []
    secret = one.evaluate("acetate.view.id")
    answer = other.evaluate(
        """id => import(document.querySelector('link[rel=modulepreload][href^="acetate"]').href.replace('main', 'api'))
          .then(api => api.call('document', id)).then(() => 'seen', error => error.message)""",
        secret,
    )
    assert "There is no such document" in answer
    digest = one.evaluate("acetate.view.layers[0].pixels.digest")
    url = f"{served[0]}acetate/pixels/{secret}/{digest}"
    assert one.request.get(url).status == 200 and other.request.get(url).status == 404
    one.reload()
    one.wait_for_selector("#acetate-studio[data-ready]")
    assert names(one) == ["poster"]
