"""Measures the studio in a real browser: frames while a layer is dragged, first paint, cancel; optionally minutes of use.

    python -P scripts/benchmark_studio.py [--model FOLDER] [--minutes M] [--screenshots DIR]

Needs chromium and `pip install playwright`. Prints one line per figure. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from acetate.layers.document import Layer, LayeredImage
from acetate.ui.actions import Studio
from acetate.ui.settings import StudioSettings

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SIDE, LAYERS, FRAMES = 1024, 20, 120
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "poster.png"

DRAG = """async (frames) => {
  const { stage, view } = acetate, id = view.layers[10].id, gaps = [], work = [];
  const began = performance.now();
  stage.begin(id);
  const ready = performance.now() - began;
  const next = () => new Promise(requestAnimationFrame);
  let last = await next();
  for (let i = 0; i < frames; i++) {
    const start = performance.now();
    stage.moveBy(Math.round(200 * Math.sin(i / 9)), Math.round(150 * Math.cos(i / 7)));
    stage.context.getImageData(0, 0, 1, 1);
    work.push(performance.now() - start);
    const now = await next();
    gaps.push(now - last);
    last = now;
  }
  stage.end();
  const plain = document.createElement('canvas'), context = plain.getContext('2d');
  plain.width = plain.height = stage.size[0];
  const copies = view.layers.map((node) => stage.picture([node], [0, 0, ...stage.size])), bare = [];
  for (let i = 0; i < frames; i++) {
    const start = performance.now();
    context.clearRect(0, 0, plain.width, plain.height);
    for (const copy of copies) context.drawImage(copy, i % 7, 0);
    context.getImageData(0, 0, 1, 1);
    bare.push(performance.now() - start);
    await next();
  }
  return { gaps, work, bare, ready };
}"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help="a name or folder (default: the embedded model)")
    parser.add_argument(
        "--minutes", type=float, default=0, help="minutes of use by four visitors (default: none)"
    )
    parser.add_argument("--screenshots", type=Path, help="also write pictures of the page into this folder")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        settings = StudioSettings(port=0, models=(arguments.model,), store=Path(folder) / "store", hours=1)
        with served(settings) as (address, studio):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = arrive(browser, address)
            first_paint(browser, address)
            drag(page, Path(folder))
            cancel(page, studio)
            if arguments.screenshots:
                screenshots(browser, address, arguments.screenshots)
            browser.close()
            if arguments.minutes:
                use(studio, arguments.minutes)
    return 0


@contextmanager
def served(settings: StudioSettings) -> Iterator[tuple[str, Studio]]:
    from acetate.ui.app import build

    app, studio = build(settings)
    with running(app) as address:
        yield address, studio
    studio.shut()


@contextmanager
def running(app: Any) -> Iterator[str]:
    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=10)


def arrive(browser: Any, address: str, scheme: str = "dark", width: int = 1280, height: int = 800) -> Any:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("#acetate-studio[data-ready]")
    return page


def first_paint(browser: Any, address: str) -> None:
    """Median of three visits each with an empty cache, against a Gradio page with one text box."""
    import gradio as gr
    from fastapi import FastAPI

    with gr.Blocks() as blocks:
        gr.Textbox()
    bare = FastAPI()
    gr.mount_gradio_app(bare, blocks, path="/", run_history=False)
    times: dict[str, list[float]] = {"studio": [], "bare": []}
    with running(bare) as other:
        for _ in range(3):
            for name, url, ready in (
                ("studio", address, "#acetate-studio .bar"),
                ("bare", other, "textarea"),
            ):
                context = browser.new_context()
                page = context.new_page()
                page.goto(url)
                page.wait_for_selector(ready, timeout=60_000)
                times[name].append(page.evaluate(PAINT))
                context.close()
    studio, plain = (statistics.median(times[name]) for name in ("studio", "bare"))
    print(f"first paint: {studio:.0f} ms; a bare Gradio page {plain:.0f} ms; ratio {studio / plain:.2f}")


def test_document() -> LayeredImage:
    """1024 px, 20 layers: a background, soft full-size layers and smaller ones, all normal but a multiply below."""
    rng = np.random.default_rng(0)
    layers = []
    for number in range(LAYERS):
        side = SIDE if number % 4 == 0 else int(rng.integers(200, 700))
        pixels = np.empty((side, side, 4), np.uint8)
        pixels[...] = rng.integers(0, 256, 4, dtype=np.uint8)
        ramp = np.linspace(0, 255 if number else 510, side)
        pixels[..., 3] = 255 if number == 0 else np.minimum(ramp[None, :], ramp[::-1, None]).astype(np.uint8)
        offset = (0, 0) if side == SIDE else tuple(int(v) for v in rng.integers(0, SIDE - side, 2))
        blend = "multiply" if number == 5 else "normal"
        layers.append(Layer(pixels=pixels, name=f"Layer {number}", offset=offset, blend=blend))
    return LayeredImage(width=SIDE, height=SIDE, layers=tuple(layers))


def drag(page: Any, folder: Path) -> None:
    path = test_document().save(folder / "twenty.zip")
    page.set_input_files("input.file", path)
    page.wait_for_function("acetate.view?.layers.length === 20")
    page.evaluate("acetate.stage.settled")
    found = page.evaluate(DRAG, FRAMES)
    gaps, work, bare = (sorted(found[name]) for name in ("gaps", "work", "bare"))
    ratio = statistics.median(work) / statistics.median(bare)
    print(
        f"drag, {SIDE} px, {LAYERS} layers: frame {statistics.median(gaps):.1f} ms median, {at(gaps, 0.95):.1f} ms at 95 %; "
        f"drawing {statistics.median(work):.1f} ms median, {at(work, 0.95):.1f} ms at 95 %, "
        f"{ratio:.2f} x a plain drawImage of {LAYERS} canvases ({statistics.median(bare):.1f} ms); "
        f"{found['ready']:.0f} ms to begin"
    )


def at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def cancel(page: Any, studio: Studio) -> None:
    """From the click to the end of the run, beside the time of a step."""
    page.evaluate("acetate.closeDocument()")
    page.set_input_files("input.file", PICTURE)
    page.wait_for_function("acetate.view?.name === 'poster'")
    page.evaluate("document.querySelector('input[name=steps]').value = 50")
    page.locator(".run").click()
    page.wait_for_function("acetate.job?.step >= 2", timeout=300_000)
    first, began = page.evaluate("acetate.job.step"), time.perf_counter()
    page.wait_for_function("first => acetate.job?.step > first", arg=first, timeout=300_000)
    step = time.perf_counter() - began
    began = time.perf_counter()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_function("acetate.job === null")
    shown = time.perf_counter() - began
    job = next(job for job in studio.worker._last.values() if job.status == "cancelled")
    ended = (job.ended_at or 0) - (job.stopped_at or 0)
    print(
        f"cancel: {1000 * shown:.0f} ms from click to shown, {1000 * ended:.0f} ms in the worker; "
        f"a step takes {1000 * step:.0f} ms"
    )


def screenshots(browser: Any, address: str, folder: Path) -> None:
    """Light, dark, generating and regions, as documentation shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in ("dark", "light"):
        page = arrive(browser, address, scheme)
        page.get_by_role("button", name="stickers").click()
        page.wait_for_selector(".tree .row")
        page.locator(".run").click()
        if scheme == "dark":
            page.wait_for_selector(".live-row img", timeout=300_000)
            page.screenshot(path=folder / "studio_generating.png")
        page.wait_for_function("acetate.view?.undo && acetate.job === null", timeout=600_000)
        page.locator(".tree .row").nth(1).click()
        page.evaluate("acetate.stage.settled")
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"studio_{scheme}.png")
        page.context.close()
    page = arrive(browser, address)
    page.get_by_role("tab", name="Text to layers").click()
    frame = page.locator(".viewport").bounding_box()
    for x, y, prompt in ((0.28, 0.3, "a red circle"), (0.52, 0.45, "a yellow star")):
        page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        page.mouse.down()
        page.mouse.move(
            frame["x"] + (x + 0.2) * frame["width"], frame["y"] + (y + 0.3) * frame["height"], steps=4
        )
        page.wait_for_timeout(60)
        page.mouse.up()
        page.keyboard.type(prompt)
    page.locator("textarea[name=prompt]").fill("a red circle and a yellow star on a blue background")
    page.screenshot(path=folder / "studio_regions.png")
    page.context.close()


def use(studio: Studio, minutes: float) -> None:
    """Four visitors open, take apart, edit, export and close; memory of the process by thirds."""
    until = time.monotonic() + 60 * minutes
    errors: list[str] = []
    memory: list[float] = []
    rounds = [0] * 4

    def visit(number: int) -> None:
        while time.monotonic() < until:
            visitor = f"visitor {number}"
            try:
                view = studio.open_file(visitor, PICTURE, "poster.png")
                job = studio.decompose(visitor, view["id"], layers=3, steps=1)
                while not job.finished:
                    time.sleep(0.05)
                if job.error:
                    errors.append(job.error)
                layer = studio.document(visitor, view["id"])["layers"][-1]["id"]
                for operation in ("move:{},9,-7", "opacity:{},0.5", "duplicate:{}", "rename:{},星"):
                    studio.edit(visitor, view["id"], [operation.format(layer)])
                studio.undo(visitor, view["id"])
                studio.export(visitor, view["id"], ("psd", "ora", "zip", "png")[rounds[number] % 4])
                studio.close(visitor, view["id"])
                rounds[number] += 1
            except Exception as error:  # whatever happens is a finding
                errors.append(repr(error))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        memory.append(resident_mib())
        studio.tidy()
    third = max(1, len(memory) // 3)
    middle, last = statistics.mean(memory[third : 2 * third]), statistics.mean(memory[-third:])
    left = [record for number in range(4) for record in studio.store.owned_by(f"visitor {number}")]
    print(
        f"{minutes:g} minutes, 4 visitors: {sum(rounds)} rounds, {len(errors)} errors, memory {middle:.0f} MiB in the "
        f"middle third, {last:.0f} MiB in the last ({100 * (last / middle - 1):+.1f} %), {len(left)} documents left"
    )
    for error in errors[:5]:
        print(f"  {error}")


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    sys.exit(main())
