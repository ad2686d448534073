"""Measures the studio in a real browser: frames while a layer is dragged, first paint, how soon a cancelled run ends.

    python -P scripts/benchmark_studio.py [--model FOLDER]

Needs chromium and `pip install playwright`. Servers run in processes of their own; the browser draws as fast as it can, not
at the screen's rate, so that a frame's time is the time it takes. Prints one line per figure with its bar. Nothing leaves
the machine. Long use is measured by scripts/soak_studio.py.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from acetate.layers.document import Layer, LayeredImage
from acetate.ui.trial import trial

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
UNHURRIED = ["--disable-frame-rate-limit", "--disable-gpu-vsync"]
SIDE, LAYERS, FRAMES, ROUNDS = 1024, 20, 240, 4
VISITS, CANCELS = 5, 10
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "poster.png"

# The layer follows real pointer events, one a frame; then 20 canvases of the same layers are drawn, one picture a frame.
DRAG = """async ([x, y, frames, what, start]) => {
  const viewport = document.querySelector('.viewport'), { stage, view } = acetate;
  const next = () => new Promise(requestAnimationFrame);
  const measure = async (step) => {
    const gaps = [], first = [];
    for (let i = -10, last = await next(); i < frames; i++) {
      step(i);
      const now = await next();
      (i >= 0 ? gaps : first).push(now - last);
      last = now;
    }
    return { gaps, first: Math.max(...first) };
  };
  const zoom = stage.zoom, before = stage.context.getImageData(0, 0, ...stage.size).data.slice();
  if (what === 'drag') {
    const drag = await measure((i) => viewport.dispatchEvent(new PointerEvent('pointermove', { bubbles: true,
      clientX: x + zoom * 200 * Math.sin((start + i) / 9), clientY: y + zoom * 150 * Math.sin((start + i) / 7) })));
    const after = stage.context.getImageData(0, 0, ...stage.size).data;
    return { ...drag, moved: before.some((value, i) => value !== after[i]) };
  }
  const plain = document.createElement('canvas'), context = plain.getContext('2d');
  [plain.width, plain.height] = stage.size;
  plain.style.cssText = stage.canvas.style.cssText + 'position:absolute;inset:0;width:100%;height:100%';
  stage.sheet.append(plain);
  const copies = view.layers.map((node) => stage.picture([{ ...node, blend: 'normal' }], [0, 0, ...stage.size]));
  const bare = await measure((i) => {
    context.clearRect(0, 0, plain.width, plain.height);
    for (const copy of copies) context.drawImage(copy, i % 7, 0);
  });
  plain.remove();
  return bare;
}"""
# The milliseconds between the click on Cancel and the frame after the page says that the run has ended.
CANCELLED = """() => { window.cancelled = new Promise((resolve) => {
  document.querySelector('.cancel').addEventListener('click', (event) => {
    const began = event.timeStamp, look = () => {
      if (acetate.job === null && document.querySelector('.phase').textContent.startsWith('Cancelled')) {
        requestAnimationFrame((now) => resolve(Math.max(now, performance.now()) - began));
      } else setTimeout(look, 2);
    };
    look();
  }, { once: true, capture: true });
}); }"""
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
RENDERER = """() => {
  const gl = document.createElement('canvas').getContext('webgl'), names = gl?.getExtension('WEBGL_debug_renderer_info');
  return names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : 'no WebGL';
}"""
SOFTWARE = ("SwiftShader", "llvmpipe", "softpipe", "no WebGL")
"""Names of renderers that use no graphics card."""
BARE = """
import socket, gradio as gr, uvicorn
from fastapi import FastAPI
with gr.Blocks() as blocks:
    gr.Textbox()
app = FastAPI()
gr.mount_gradio_app(app, blocks, path="/", run_history=False)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none")).run(sockets=[listener])
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help="a name or folder (default: the embedded model)")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        trial("--model", arguments.model) as studio,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        first_paint(browser, studio.address)
        cancel(arrive(browser, studio.address))
        browser.close()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *UNHURRIED])
        drag(arrive(browser, studio.address), Path(folder))
        browser.close()
    print(
        f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: other work on the machine counts into every figure"
    )
    return 0


def arrive(browser: Any, address: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(300_000)
    page.goto(address)
    page.wait_for_selector("#acetate-studio[data-ready]")
    return page


@contextmanager
def bare_gradio() -> Iterator[str]:
    """A Gradio page with one text box, in a process of its own."""
    process = subprocess.Popen([sys.executable, "-P", "-c", BARE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=60)


def first_paint(browser: Any, address: str) -> None:
    """Median of visits with an empty cache, turn about; the very first of each is not counted."""
    times: dict[str, list[float]] = {"studio": [], "bare": []}
    with bare_gradio() as other:
        for _ in range(VISITS + 1):
            for name, url, ready in (
                ("studio", address, "#acetate-studio .bar"),
                ("bare", other, "textarea"),
            ):
                context = browser.new_context()
                page = context.new_page()
                page.goto(url, timeout=120_000)
                page.wait_for_selector(ready, timeout=120_000)
                times[name].append(page.evaluate(PAINT))
                context.close()
    studio, plain = (statistics.median(times[name][1:]) for name in ("studio", "bare"))
    told("first paint", studio <= 2 * plain, f"{studio:.0f} ms, a bare Gradio page {plain:.0f} ms; "
         f"ratio {studio / plain:.2f}, bar 2")  # fmt: skip


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
    """The whole way of a frame: pointer event, gesture, canvas, handles, the browser's own compositing."""
    page.set_input_files("input.file", test_document().save(folder / "twenty.zip"))
    page.wait_for_function("acetate.view?.layers.length === 20")
    page.evaluate("acetate.stage.settled")
    page.get_by_role("treeitem", name="Layer 10", exact=True).click()
    frame = page.locator(".viewport").bounding_box()
    box = page.evaluate("(() => { const p = acetate.selected().pixels; "
                        "return acetate.stage.toViewport(p.x + p.width / 2, p.y + p.height / 2); })()")  # fmt: skip
    x, y = frame["x"] + box[0], frame["y"] + box[1]
    page.mouse.move(x, y)
    page.mouse.down()
    gaps: dict[str, list[float]] = {"drag": [], "bare": []}
    spent, first = {"drag": 0.0, "bare": 0.0}, []
    for number in range(ROUNDS):  # turn about, so that other work on the machine meets both alike
        for what in gaps:
            began = processor_seconds()
            found = page.evaluate(DRAG, [x, y, FRAMES // ROUNDS, what, number * FRAMES // ROUNDS])
            spent[what] += 1000 * (processor_seconds() - began) / FRAMES
            gaps[what] += found["gaps"]
            if what == "drag":
                first.append(found["first"])
                if not found["moved"]:
                    raise RuntimeError("the layer did not follow the pointer")
    page.mouse.up()
    frames = sorted(gaps["drag"])
    middle, slow, plain = (
        statistics.median(frames),
        frames[int(0.95 * len(frames))],
        statistics.median(gaps["bare"]),
    )
    renderer = page.evaluate(RENDERER)
    software = any(name in renderer for name in SOFTWARE)
    ratio, work = middle / plain, spent["drag"] / spent["bare"]
    told(f"drag, {SIDE} px, {LAYERS} layers", software or (middle <= 16 and slow <= 33),
         f"{middle:.1f} ms a frame in the median (bar 16), {slow:.1f} ms at 95 % (bar 33), the first {first[0]:.0f} ms; "
         f"drawn by {renderer}{': no graphics card, so the ratio counts' if software else ''}")  # fmt: skip
    told("beside a plain drawImage", ratio <= 1.5, f"{plain:.1f} ms for {LAYERS} canvases; ratio {ratio:.2f}, bar 1.5; "
         f"processor time, all processes, {spent['drag']:.1f} against {spent['bare']:.1f} ms, ratio {work:.2f}")  # fmt: skip


def processor_seconds() -> float:
    """What this process and all that it started and still runs have used (Linux)."""
    times: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            times[int(path.parent.name)] = (int(fields[1]), used)
    ours = {os.getpid()}
    while more := {pid for pid, (parent, _) in times.items() if parent in ours} - ours:
        ours |= more
    return sum(times[pid][1] for pid in ours if pid in times)


def cancel(page: Any) -> None:
    """From the click to the frame in which the page says so, at different moments of a step, against the time of one step of
    the same runs and 200 ms. Both ends are taken inside the page: the robot that clicks is not part of it."""
    page.set_input_files("input.file", PICTURE)
    page.wait_for_function("acetate.view?.name === 'poster'")
    page.locator(".advanced summary").click()
    page.locator("input[name=steps]").fill("200")
    steps, shown = [], []
    for number in range(CANCELS):
        page.locator(".run").click()
        page.wait_for_function("acetate.job?.step >= 2")
        first, began = page.evaluate("acetate.job.step"), time.perf_counter()
        page.wait_for_function("first => acetate.job?.step >= first + 4", arg=first)
        steps.append((time.perf_counter() - began) / (page.evaluate("acetate.job.step") - first))
        page.evaluate(CANCELLED)
        time.sleep(steps[-1] * number / CANCELS)
        page.get_by_role("button", name="Cancel", exact=True).click()
        shown.append(page.evaluate("cancelled"))
    step, worst = 1000 * statistics.median(steps), max(shown)
    told("cancel", worst <= step + 200, f"{statistics.median(shown):.0f} ms from click to shown in the median of {CANCELS}, "
         f"at most {worst:.0f} ms; bar {step + 200:.0f} ms, a step ({step:.0f} ms) and 200 ms")  # fmt: skip


def told(what: str, holds: bool, figures: str) -> None:
    print(f"{what}: {figures}{'' if holds else '  <- MISSED'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
