"""Builds the studio on Gradio and serves it. Knows Gradio's switches: no analytics, no history, files that do not stay."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from typing import Any

from ..errors import InputError
from ..session import load_libraries
from .actions import Studio
from .endpoints import add_endpoints
from .routes import VERSION, VisitorCookie, add_routes
from .settings import StudioSettings

log = logging.getLogger(__name__)

TITLE = "acetate studio"
TIDY_SECONDS = 30.0
SESSIONS = 64
"""Sessions that Gradio remembers. It makes one of 90 KB for every call and by default keeps 10000; ours hold nothing."""
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # nothing is told to others
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # and no statistics are kept of every call ...
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",  # ... or computed with pandas after each
}


def build(settings: StudioSettings) -> tuple[Any, Studio]:
    """The whole web application (FastAPI) and the studio inside. Raises InputError when gradio is missing."""
    os.environ.update(QUIET)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import gradio as gr
    except ModuleNotFoundError as error:
        raise InputError("The studio needs gradio: pip install 'acetate[ui]' brings it.") from error
    from fastapi import FastAPI

    studio = Studio(settings)
    os.environ["GRADIO_TEMP_DIR"] = str(studio.transit)
    blocks = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True)
    blocks.state_session_capacity = SESSIONS
    with blocks:
        gr.HTML(
            html_template='<div id="acetate-studio" role="application" aria-label="acetate studio"></div>',
            js_on_load=f"import(new URL('acetate/{VERSION}/main.js', document.baseURI).href)"
            ".then((studio) => studio.start(element.querySelector('#acetate-studio')));",
            apply_default_css=False,
            padding=False,
        )
        add_endpoints(studio)
    blocks.queue(default_concurrency_limit=8, max_size=256, api_open=False)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(VisitorCookie)
    add_routes(app, studio, lambda request: _may_enter(app, request))
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        auth=list(settings.auth) or None,
        max_file_size=f"{settings.max_upload_mib}mb",
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        head=f'<link rel="stylesheet" href="acetate/{VERSION}/studio.css">'
        f'<link rel="modulepreload" href="acetate/{VERSION}/main.js">',
    )
    app.state.gradio = app.router.routes[-1].app  # type: ignore[attr-defined]
    return app, studio


def _may_enter(app: Any, request: Any) -> bool:
    """Whether a request carries the token that Gradio's own login gives."""
    gradio = app.state.gradio
    if gradio.auth is None:
        return True
    names = (f"access-token-{gradio.cookie_id}", f"access-token-unsecure-{gradio.cookie_id}")
    return any(gradio.tokens.get(request.cookies.get(name)) is not None for name in names)


def launch(settings: StudioSettings) -> int:
    """Serve until interrupted; then everything that visitors left is removed. Returns the exit status."""
    import scipy.ndimage  # noqa: F401 - edits ask for it in other threads while the worker loads what is made with it
    import uvicorn

    listener = _listen(settings)
    app, studio = build(settings)
    port = listener.getsockname()[1]
    stop = threading.Event()

    threading.Thread(target=tidy_often, args=(studio, stop), name="acetate-studio-tidy", daemon=True).start()
    studio.worker.prepare(lambda: _warm_up(studio))
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    print(f"acetate studio: http://{shown}:{port}/ (Ctrl+C ends it)", flush=True)
    if settings.public and not settings.auth:
        print(
            "acetate: everybody who reaches this port may use it; --auth NAME:PASSWORD closes it.",
            file=sys.stderr,
        )
    try:
        uvicorn.Server(
            uvicorn.Config(
                app, log_level="warning", timeout_graceful_shutdown=2, ws="none", server_header=False
            )
        ).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        studio.shut()
    return 0


def tidy_often(studio: Studio, stop: threading.Event, seconds: float = TIDY_SECONDS) -> None:
    """Tidies until ``stop`` is set. A round that fails, on a full disk for instance, is logged and the next one tries again:
    without them nothing of what visitors leave would ever go."""
    while not stop.wait(seconds):
        try:
            studio.tidy()
        except Exception:
            log.exception("tidying failed; it is tried again in %g s", seconds)


def _warm_up(studio: Studio) -> None:
    """Loads what the first visitor would wait for: the libraries, not the model. For the worker's thread, since a run that
    began meanwhile in another one would meet libraries that are half loaded."""
    for example in studio.session("warm-up")["examples"]:
        studio.example_picture(example)
    load_libraries()


def _listen(settings: StudioSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"The studio cannot listen on {settings.host}:{settings.port} ({error.strerror}): choose another --port"
        ) from error
    listener.listen(128)
    return listener
