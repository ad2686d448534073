"""What the browser tests do with a page: open, settle, drag, read the canvas, ask the server. Waits on conditions only."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from acetate.layers.composite import flatten_array
from acetate.layers.document import LayeredImage
from acetate.ui.actions import Studio

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


def toasts(page: Any) -> list[str]:
    """The messages that are shown, the oldest first."""
    found: list[str] = page.locator(".toast").all_text_contents()
    return found


def finish(page: Any) -> None:
    page.wait_for_function("acetate.job === null")
    settle(page)


def take_apart(page: Any) -> None:
    done = page.evaluate("acetate.view.version")
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("done => acetate.view.version > done", arg=done)
    finish(page)


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
    page.mouse.up()
    settle(page)


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
        settle(page)


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name)


def agree(page: Any, served: Served) -> None:
    """The canvas shows what the server has."""
    assert difference(canvas(page), flatten_array(document(page, served))) <= 1
