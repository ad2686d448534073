"""A studio with a tiny random model on a free port, visitors in a real browser, and documents to open.

Every browser test ends with: no error on the page, no request to another host.
"""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # makes studio_scenes importable by the tests beside it

import studio_scenes
from studio_scenes import poster, twenty_layers

from acetate.layers.document import LayeredImage
from acetate.ui.actions import Studio
from acetate.ui.settings import StudioSettings

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@pytest.fixture(scope="session")
def settings(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> StudioSettings:
    return StudioSettings(
        port=0, models=(str(tiny_checkpoint),), store=tmp_path_factory.mktemp("studio"), max_upload_mib=64
    )


@pytest.fixture(scope="session")
def served(settings: StudioSettings) -> Iterator[tuple[str, Studio]]:
    """(address, studio) of a server in this process."""
    import uvicorn

    from acetate.ui.app import build

    app, studio = build(settings)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", studio
        server.should_exit = True
        thread.join(timeout=10)
    studio.shut()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Any, served: tuple[str, Studio]) -> Iterator[Callable[..., Any]]:
    """Opens the studio as a new visitor (or, given a page, in another tab of that visitor's browser)."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def arrive(tab_of: Any = None, width: int = 1280, scheme: str = "dark") -> Any:
        if tab_of is None:
            context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            contexts.append(context)
        else:
            context = tab_of.context
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: outside(request.url))
        page.goto(served[0])
        page.wait_for_selector("#acetate-studio[data-ready]")
        return page

    def outside(url: str) -> None:
        if not url.startswith((served[0], "data:", "blob:")):
            wrong.append(f"request to another host: {url}")

    yield arrive
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``pause(n)``: the next run waits after step ``n`` until it is cancelled (a minute at most)."""
    from acetate.ui.previews import Previews

    show = Previews.__call__
    armed: list[int] = []

    def wait(self: Previews, progress: Any) -> None:
        show(self, progress)
        if armed and progress.done == armed[0]:
            armed.clear()
            self._job.cancel.wait(60)

    monkeypatch.setattr(Previews, "__call__", wait)
    return armed.append


@pytest.fixture(scope="session")
def poster_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "poster.png"
    poster().save(path)
    return path


@pytest.fixture(scope="session")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[LayeredImage, Path]]:
    """Two documents of 20 layers that together use every blend mode, with their files."""
    folder = tmp_path_factory.mktemp("twenty")
    documents = [twenty_layers(first) for first in (0, 13)]
    return [(doc, doc.save(folder / f"twenty-{n}.zip")) for n, doc in enumerate(documents)]


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Three squares on a ground, 120 x 100."""
    return studio_scenes.squares().save(tmp_path / "squares.zip")
