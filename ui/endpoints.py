"""The named endpoints: every action of the studio as ``/name`` of the Gradio API, typed, checked, with errors in words.

Knows Gradio and who asks; what an action does is the studio's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import re
import typing
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from .actions import Studio
from .checks import checked
from .failures import explained
from .jobs import Job

COOKIE = "acetate_visitor"
PLAIN = ("session", "open_example", "document", "edit", "place", "undo", "redo", "close", "cancel")
RUNS = ("decompose", "generate", "complete", "extract", "watch")
WATCH_SECONDS = 0.05
"""How often a run is looked at while it lasts; its end is told at once."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,64}")


def visitor_of(request: Any) -> str:
    """Who asks: the browser by its cookie, a client of the API by its session."""
    secret = (request.cookies or {}).get(COOKIE, "")
    if _SECRET.fullmatch(secret):
        return "browser " + hashlib.sha256(secret.encode()).hexdigest()
    return "session " + hashlib.sha256(str(request.session_hash).encode()).hexdigest()


def add_endpoints(studio: Studio) -> None:
    """Define every endpoint inside the ``gr.Blocks`` that is being built."""
    import gradio as gr

    for name in PLAIN:
        gr.api(_plain(getattr(studio, name)), api_name=name, concurrency_limit=None)
    for name in RUNS:
        gr.api(_run(studio, getattr(studio, name)), api_name=name, concurrency_limit=None)
    with gr.Column(visible=False):
        upload = gr.File(label="document", type="filepath")
        opened = gr.JSON(label="document")
        document, kind = gr.Textbox(label="document"), gr.Textbox("psd", label="format")
        exported = gr.File(label="file")
        trigger = gr.Button()
    trigger.click(_open(studio), upload, opened, api_name="open", concurrency_limit=None)
    trigger.click(_export(studio), [document, kind], exported, api_name="export", concurrency_limit=4)


def _told(error: Exception) -> Exception:
    """What the visitor reads."""
    import gradio as gr

    # The title tells the page that the sentence is ours; other errors of the server are not for visitors.
    return gr.Error(explained(error, "an endpoint"), title="acetate", print_exception=False)


def _signature(action: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the wrapper the name, words and typed parameters of the action, and a request instead of the visitor."""
    import gradio as gr

    hints = {**typing.get_type_hints(action), "return": dict[str, Any]}
    parameters = list(inspect.signature(action).parameters.values())[1:]
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    wrapper.__name__ = action.__name__
    wrapper.__doc__ = action.__doc__
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [request, *(p.replace(annotation=hints[p.name]) for p in parameters)],
        return_annotation=dict[str, Any],
    )
    wrapper.__annotations__ = {"request": gr.Request, **{p.name: hints[p.name] for p in parameters}}
    return wrapper


def _named(action: Callable[..., Any], values: tuple[Any, ...]) -> dict[str, Any]:
    names = list(inspect.signature(action).parameters)[1:]
    return checked(action, dict(zip(names, values, strict=False)))


def _plain(action: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def endpoint(request: Any, *values: Any) -> dict[str, Any]:
        try:
            return action(visitor_of(request), **_named(action, values))
        except Exception as error:
            raise _told(error) from None

    return _signature(action, endpoint)


def _run(studio: Studio, action: Callable[..., Job]) -> Callable[..., AsyncIterator[dict[str, Any]]]:
    async def endpoint(request: Any, *values: Any) -> AsyncIterator[dict[str, Any]]:
        try:
            job = await asyncio.to_thread(lambda: action(visitor_of(request), **_named(action, values)))
        except Exception as error:
            raise _told(error) from None
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended before the run: nobody listens
                loop.call_soon_threadsafe(ended.set)

        studio.worker.when_ended(job, end)
        seen, shown = -1, None
        while True:
            finished = job.finished
            if finished or job.version != seen:
                seen = job.version
                state = studio.worker.snapshot(job)
                # The pictures are nearly all of a state: they go out once.
                state["preview"] = None if state["preview"] == shown else (shown := state["preview"])
                yield state
            if finished:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), WATCH_SECONDS)

    return _signature(action, endpoint)


def _open(studio: Studio) -> Callable[..., Any]:
    import gradio as gr

    def open(upload: str | None, request: gr.Request) -> dict[str, Any]:
        path = Path(upload or "")
        try:
            return studio.open_file(visitor_of(request), path, path.name)
        except Exception as error:
            raise _told(error) from None
        finally:
            if upload and path.is_file():
                path.unlink()

    open.__annotations__["request"] = gr.Request
    open.__doc__ = "Open an uploaded PSD, PSB, OpenRaster, zip or flat picture as a new document."
    return open


def _export(studio: Studio) -> Callable[..., Any]:
    import gradio as gr

    def export(document: str, format: str, request: gr.Request) -> str:
        try:
            arguments = checked(studio.export, {"document": document, "format": format})
            return str(studio.export(visitor_of(request), **arguments))
        except Exception as error:
            raise _told(error) from None

    export.__annotations__["request"] = gr.Request
    export.__doc__ = studio.export.__doc__
    return export
