"""What the page asks beside the API: its own files, the pixels of layers, small pictures of the examples, a quick
cancel; and the cookie that tells visitors apart.

Knows HTTP; every route is scoped to the visitor and closed to those who have not logged in.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..errors import InputError
from .actions import Studio
from .endpoints import COOKIE, visitor_of
from .settings import LOCAL_HOSTS
from .view import pixels_of

STAGE = Path(__file__).resolve().parent / "stage"
TYPES = {".js": "text/javascript", ".css": "text/css"}
FILES = {path.name: path.read_bytes() for path in sorted(STAGE.iterdir()) if path.suffix in TYPES}
VERSION = hashlib.blake2b(b"".join(FILES.values()), digest_size=6).hexdigest()
"""Changes with the files of the page, so that no browser mixes old and new ones."""

Scope = MutableMapping[str, Any]
_DIGEST = re.compile(r"[0-9a-f]{32}")


def add_routes(app: Any, studio: Studio, is_known: Callable[[Any], bool]) -> None:
    """Routes of the page; ``is_known`` says whether a request may enter."""
    from fastapi import Request, Response

    def files(request: Any) -> Any:
        name = request.path_params["name"]
        data = FILES.get(name)
        if data is None or request.path_params["version"] != VERSION:
            return Response("There is no such file.", 404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(data, media_type=TYPES[Path(name).suffix], headers=headers)

    def pixels(request: Any) -> Any:
        if not is_known(request):
            return Response("Log in first.", 401)
        wanted = request.path_params["digest"]
        visitor = visitor_of(
            SimpleNamespace(cookies=request.cookies, session_hash=request.headers.get("x-session"))
        )
        try:
            record = studio.store.get(visitor, request.path_params["document"])
        except InputError as error:
            return Response(str(error), 404)
        data = pixels_of(record.states(), wanted) if _DIGEST.fullmatch(wanted) else None
        if data is None:
            return Response("There are no such pixels.", 404)
        headers = {"Cache-Control": "private, max-age=3600, immutable", "Vary": "Cookie, Accept-Encoding"}
        far = request.client is not None and request.client.host not in LOCAL_HOSTS
        if far and "gzip" in request.headers.get("accept-encoding", ""):
            data, headers["Content-Encoding"] = gzip.compress(data, 1), "gzip"
        return Response(data, media_type="application/octet-stream", headers=headers)

    def example(request: Any) -> Any:
        if not is_known(request):
            return Response("Log in first.", 401)
        try:
            data = studio.example_picture(request.path_params["name"])
        except InputError as error:
            return Response(str(error), 404)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    def cancel(request: Any) -> Any:
        """``/cancel`` without the queue of the API in between: whoever cancels does not want to wait."""
        if not is_known(request):
            return Response("Log in first.", 401)
        visitor = visitor_of(SimpleNamespace(cookies=request.cookies, session_hash=None))
        return studio.cancel(visitor)

    for endpoint in (files, pixels, example, cancel):
        endpoint.__annotations__ = {"request": Request}
    app.add_api_route("/acetate/examples/{name}", example, methods=["GET"], include_in_schema=False)
    app.add_api_route("/acetate/cancel", cancel, methods=["POST"], include_in_schema=False)
    app.add_api_route("/acetate/pixels/{document}/{digest}", pixels, methods=["GET"], include_in_schema=False)
    app.add_api_route("/acetate/{version}/{name}", files, methods=["GET"], include_in_schema=False)


class VisitorCookie:
    """Gives every browser a secret of its own with the page; scripts cannot read it, other sites cannot use it."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or self._has_secret(scope):
            await self._app(scope, receive, send)
            return

        async def with_cookie(message: Any) -> None:
            if message["type"] == "http.response.start":
                secure = "; Secure" if scope.get("scheme") == "https" else ""
                value = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Strict{secure}"
                message["headers"] = [*message["headers"], (b"set-cookie", value.encode())]
            await send(message)

        await self._app(scope, receive, with_cookie)

    @staticmethod
    def _has_secret(scope: Scope) -> bool:
        cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
        return re.search(rb"(^|;\s*)" + COOKIE.encode() + rb"=[A-Za-z0-9_-]{32,64}", cookies) is not None
