"""Draws the studio's pictures for the documentation: light, dark, generating, regions, and many layers.

    python -P scripts/picture_studio.py [FOLDER] [--only NAME]

Needs chromium and `pip install playwright`. The embedded model runs. Every picture stays below 1 MB.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from acetate.ui.trial import trial

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
MOST_BYTES = 1_000_000
WAIT_MS = 600_000
STEPS, LATE = 1000, 150
"""So many that a run outlasts the taking of its picture on any machine; and the step from which on it may be taken."""
PREVIEWED = """(step) => {
  window.seen ??= new Set();
  const last = acetate.job?.preview.at(-1), shown = [...document.querySelectorAll('.live img')];
  if (last) seen.add(last);
  const drawn = shown.length && shown.every((one) => one.complete && one.naturalWidth);
  return acetate.job?.step >= step && seen.size >= 3 && drawn;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument(
        "--only", choices=sorted(PICTURES), help="one picture (default: those shown in docs/)"
    )
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with trial() as studio, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name in [arguments.only] if arguments.only else DOCUMENTED:
            scheme, width, draw = PICTURES[name]
            context = browser.new_context(
                viewport={"width": width, "height": 800 if width < 1600 else 1080}, color_scheme=scheme
            )
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.goto(studio.address)
            page.wait_for_selector("#acetate-studio[data-ready]")
            draw(page)
            path = save(taken(page), arguments.folder / f"studio_{name}.png")
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB", flush=True)
            context.close()
        browser.close()
    return 0


def taken(page: Any) -> bytes:
    """The page as a PNG. A run that it shows must still be under way afterwards; then it is cancelled."""
    running = page.evaluate("acetate.job !== null")
    page.wait_for_timeout(300)  # hover effects and focus rings come to rest
    data = bytes(page.screenshot())
    if running:
        if page.evaluate("acetate.job === null || document.querySelector('.live').hidden"):
            raise RuntimeError("the run ended before its picture was taken: is the machine that busy?")
        page.keyboard.press("Escape")
        page.wait_for_function("acetate.job === null")
    return data


def save(data: bytes, path: Path) -> Path:
    """As it is where it is small enough, else in 256 colours."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        palette = picture.quantize(256)  # dithers to a given palette only
        picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise RuntimeError(f"{path} has {path.stat().st_size} bytes, more than {MOST_BYTES}")
    return path


def settle(page: Any) -> None:
    page.wait_for_function("acetate.pending === 0 && acetate.job === null")
    page.evaluate("acetate.stage.settled")


def example(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_selector(".tree .row")
    settle(page)


def take_apart(page: Any) -> None:
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function("acetate.view?.undo")
    settle(page)


def dark(page: Any) -> None:
    """A picture taken apart, one layer selected."""
    example(page, "stickers")
    page.locator("input[name=layers]").fill("5")
    take_apart(page)
    page.locator(".tree .row").nth(1).click()


def light(page: Any) -> None:
    """Before and after."""
    example(page, "poster")
    take_apart(page)
    page.locator(".tree .row").first.click()
    page.keyboard.press("c")


def generating(page: Any) -> None:
    """A run under way, its preview of a late step: the third at least, and every picture of it drawn."""
    example(page, "stickers")
    page.locator(".advanced summary").click()
    page.get_by_role("spinbutton", name="Steps").fill(str(STEPS))
    page.locator(".advanced summary").click()
    page.get_by_role("button", name="Take apart").click()
    page.wait_for_function(PREVIEWED, arg=LATE)


def regions(page: Any) -> None:
    """Boxes with prompts."""
    page.get_by_role("tab", name="Text to layers").click()
    frame = page.locator(".viewport").bounding_box()
    for x, y, prompt in ((0.26, 0.3, "a red circle"), (0.52, 0.42, "a yellow star")):
        page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        page.mouse.down()
        page.mouse.move(
            frame["x"] + (x + 0.2) * frame["width"], frame["y"] + (y + 0.3) * frame["height"], steps=4
        )
        page.mouse.up()
        page.wait_for_function(
            "words => acetate.regions.length > words", arg=page.evaluate("acetate.regions.length - 1")
        )
        page.keyboard.type(prompt)
    page.locator("textarea[name=prompt]").fill("a red circle and a yellow star on a blue background")


def many(page: Any) -> None:
    """A document of many layers in groups, some of them selected, on a wide screen."""
    example(page, "party")
    page.get_by_role("treeitem", name="Frog", exact=True).click()
    page.get_by_role("treeitem", name="Fox", exact=True).click(modifiers=["Shift"])


def empty(page: Any) -> None:
    """What a visitor sees first."""
    page.wait_for_function("[...document.querySelectorAll('.examples img')].every((one) => one.naturalWidth)")


PICTURES: dict[str, tuple[str, int, Callable[[Any], None]]] = {
    "dark": ("dark", 1280, dark),
    "light": ("light", 1280, light),
    "generating": ("dark", 1280, generating),
    "regions": ("light", 1280, regions),
    "many": ("dark", 1920, many),
    "empty": ("light", 1280, empty),
}
DOCUMENTED = ("dark", "light", "generating", "regions", "many")

if __name__ == "__main__":
    sys.exit(main())
