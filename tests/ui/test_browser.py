"""What a designer does in a session, in a real browser. Run: pytest tests/ui -m ui"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_browser import (
    CANVAS,
    EXACT,
    TEXT,
    Served,
    canvas,
    difference,
    document,
    finish,
    names,
    on_stage,
    open_file,
    pixels_from,
    row,
    settle,
    take_apart,
)  # fmt: skip
from studio_scenes import twenty_layers

from acetate.layers.blend import BlendMode
from acetate.layers.composite import flatten_array
from acetate.layers.document import LayeredImage
from acetate.layers.edit import set_blend

pytestmark = [pytest.mark.ui, pytest.mark.slow]


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
    """Take apart, hide, reorder, blend, rename, move, undo and redo ten steps, export, open in a new tab."""
    page = visitor()
    open_file(page, poster_file)
    flat = canvas(page)
    page.get_by_role("spinbutton", name="Number of layers").fill("3")
    take_apart(page)
    assert names(page) == ["Layer 2", "Layer 1", "Background"]
    assert difference(canvas(page), flat) <= 1  # the layers add up to the poster
    assert "recomposition before exact solve:" in page.locator(".badge").inner_text()
    assert difference(canvas(page), flatten_array(document(page, served))) <= 2

    row(page, "Layer 2").get_by_role("button", name="Hide").click()
    settle(page)
    assert not document(page, served).find("Layer 2").visible
    assert difference(canvas(page), flatten_array(document(page, served))) <= 2
    assert difference(canvas(page), flat) > 2  # something is gone
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
    settle(page)
    assert document(page, served).find("红色的圆").offset[0] >= 30  # type: ignore[union-attr]
    page.keyboard.press("Control+d")
    settle(page)
    page.keyboard.press("Control+g")  # the copy, which is selected now
    settle(page)
    assert names(page)[:2] == ["Group", "红色的圆 copy"] and page.locator(".row[aria-level='2']").count() == 1
    after = [node.name for _, node in document(page, served).walk()]
    picture = canvas(page)
    assert difference(picture, flatten_array(document(page, served))) <= 2

    for _ in range(10):
        assert page.locator("[data-action=undo]").is_enabled()
        page.keyboard.press("Control+z")
        settle(page)
    assert names(page) == ["poster"] and page.locator("[data-action=undo]").is_disabled()
    assert difference(canvas(page), flat) == 0
    for _ in range(10):
        page.keyboard.press("Control+Shift+z")
        settle(page)
    assert page.locator("[data-action=redo]").is_disabled()
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
    page.wait_for_function(
        "document.querySelector('canvas.document').getContext('2d').getImageData(60, 50, 1, 1).data[0] === 220"
    )
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


def test_cancel_keeps_the_document_and_a_new_run_starts(
    visitor: Callable[..., Any], served: Served, poster_file: Path, pause: Callable[[int], None]
) -> None:
    """Cancelled at step 2 of 50: the step that is under way ends, no other begins, and the next run starts."""
    page = visitor()
    open_file(page, poster_file)
    before = page.evaluate("acetate.view.version")
    page.locator(".advanced summary").click()
    page.locator("input[name=steps]").fill("50")
    pause(2)
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("acetate.job?.step === 2 && acetate.job.preview.length === 4")
    page.wait_for_selector(".live-row img >> nth=3")
    page.get_by_role("button", name="Cancel").click()
    finish(page)
    job = [j for j in served[1].worker._last.values() if j.status == "cancelled"][-1]
    assert job.step in (2, 3) and job.steps == 50
    assert page.evaluate("acetate.view.version") == before and names(page) == ["poster"]
    assert "Cancelled" in page.locator(".phase").inner_text()
    page.locator("input[name=steps]").fill("1")
    take_apart(page)
    assert len(names(page)) == 4


def test_a_second_visitor_waits_with_a_position(
    visitor: Callable[..., Any], poster_file: Path, pause: Callable[[int], None]
) -> None:
    first, second = visitor(), visitor()
    open_file(first, poster_file)
    open_file(second, poster_file)
    pause(1)
    first.get_by_role("button", name="Take apart").click()
    first.wait_for_function("acetate.job?.status === 'running' && acetate.job.step === 1")
    second.get_by_role("button", name="Take apart").click()
    second.wait_for_function("document.querySelector('.phase').textContent === 'Waiting: 1 before you'")
    second.reload()
    second.wait_for_selector("#acetate-studio[data-ready]")
    second.wait_for_function("document.querySelector('.phase').textContent === 'Waiting: 1 before you'")
    first.keyboard.press("Escape")
    finish(first)
    assert names(first) == ["poster"]
    second.wait_for_function("acetate.view.layers.length === 4")
    finish(second)


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
