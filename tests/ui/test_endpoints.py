"""The named endpoints through ``gradio_client``, and what happens to those who send nonsense."""

from __future__ import annotations

import errno
import io
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from acetate.layers.composite import flatten_array
from acetate.layers.document import LayeredImage
from acetate.ui.actions import Studio
from acetate.ui.endpoints import PLAIN, RUNS

Served = tuple[str, Studio]


@pytest.fixture
def client(served: Served, tmp_path: Path) -> Iterator[Any]:
    from gradio_client import Client

    client = Client(
        served[0], verbose=False, download_files=str(tmp_path / "downloads"), analytics_enabled=False
    )
    yield client
    client.close()


def test_open_take_apart_edit_export(client: Any, poster_file: Path) -> None:
    from gradio_client import handle_file

    view = client.predict(handle_file(str(poster_file)), api_name="/open")
    job = client.submit(document=view["id"], layers=3, steps=2, api_name="/decompose")
    job.result(timeout=120)
    states = job.outputs()
    assert states[-1]["status"] == "done" and any(state["preview"] for state in states)
    pictures = [state["preview"] for state in states if state["preview"] is not None]
    assert all(one != other for one, other in itertools.pairwise(pictures))
    view = client.predict(document=view["id"], api_name="/document")
    layer = view["layers"][1]["id"]
    view = client.predict(document=view["id"], operations=[f"move:{layer},5,6"], api_name="/edit")
    path = client.predict(document=view["id"], format="psd", api_name="/export")
    doc = LayeredImage.open(path)
    assert len(doc.layers) == 3 and flatten_array(doc).shape == (64, 80, 4)


def test_a_full_disk_is_told_without_the_servers_paths(
    client: Any, poster_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gradio_client import handle_file

    view = client.predict(handle_file(str(poster_file)), api_name="/open")

    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr("acetate.layers.io.atomic.os.replace", full)
        with pytest.raises(Exception, match="could not write its files") as told:
            client.predict(document=view["id"], format="psd", api_name="/export")
    assert "/" not in str(told.value) and "the disk is full" in caplog.text
    assert client.predict(document=view["id"], format="psd", api_name="/export").endswith(".psd")


def test_every_endpoint_is_named_and_typed(client: Any) -> None:
    api = client.view_api(return_format="dict")["named_endpoints"]
    assert set(api) == {f"/{name}" for name in (*PLAIN, *RUNS, "open", "export")}
    types = {p["parameter_name"]: p["python_type"]["type"] for p in api["/decompose"]["parameters"]}
    assert (
        types["layers"] in ("int | None", "None | int")
        and types["document"] == "str"
        and "visitor" not in types
    )


def test_another_session_has_no_access(client: Any, served: Served, poster_file: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    view = client.predict(handle_file(str(poster_file)), api_name="/open")
    other = Client(served[0], verbose=False, analytics_enabled=False)
    for name in ("/document", "/undo", "/close"):
        with pytest.raises(AppError, match="no such document"):
            other.predict(document=view["id"], api_name=name)
    other.close()


def test_the_pages_own_cancel_stops_only_whose_cookie_it_is(served: Served, poster_file: Path) -> None:
    import httpx

    from acetate.ui.endpoints import COOKIE, visitor_of

    address, studio = served
    with httpx.Client(base_url=address) as http, httpx.Client(base_url=address) as other:
        http.get("")
        other.get("")
        visitor = visitor_of(SimpleNamespace(cookies=dict(http.cookies), session_hash=None))
        view = studio.open_file(visitor, poster_file, "poster.png")
        job = studio.decompose(visitor, view["id"], 2, steps=1000)
        assert COOKIE in http.cookies and http.get("acetate/cancel").status_code == 404
        assert other.post("acetate/cancel").json() == {"cancelled": False}
        assert httpx.post(f"{address}acetate/cancel").json() == {"cancelled": False}
        assert not job.cancel.is_set()
        assert http.post("acetate/cancel").json() == {"cancelled": True}
        ended = threading.Event()
        studio.worker.when_ended(job, ended.set)
        assert ended.wait(60) and job.status == "cancelled"


def test_examples_show_what_they_are(served: Served) -> None:
    import httpx
    from PIL import Image

    for name in served[1].session("nobody")["examples"]:
        answer = httpx.get(f"{served[0]}acetate/examples/{name}")
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert max(picture.size) == 256 and picture.format == "JPEG" and answer.status_code == 200
    for wrong in ("nothing", "..%2fpyproject", "poster.png"):
        assert httpx.get(f"{served[0]}acetate/examples/{wrong}").status_code == 404


def test_hostile_files_are_refused_and_leave_nothing(studio_files: Studio, tmp_path: Path) -> None:
    """1000 damaged and invented files through the action that opens uploads."""
    from studio_scenes import twenty_layers

    from acetate.errors import InputError

    rng = np.random.default_rng(0)
    doc = twenty_layers()
    small = doc.replace(layers=tuple(layer.replace(blend="normal") for layer in doc.leaves()[:3]))
    seeds = []
    for suffix in ("psd", "ora", "zip", "png"):
        seeds.append(bytearray(small.save(tmp_path / f"seed.{suffix}").read_bytes()))
    refused = 0
    for number in range(1000):
        data = bytearray(seeds[number % 4])
        kind = number % 3
        if kind == 0:
            data = data[: int(rng.integers(0, len(data)))]
        else:
            for _ in range(8 if kind == 1 else 200):
                data[int(rng.integers(0, min(len(data), 400 if kind == 1 else len(data))))] = int(
                    rng.integers(0, 256)
                )
        path = tmp_path / "upload.bin"
        path.write_bytes(data)
        try:
            view = studio_files.open_file("fuzz", path, "upload.bin")
            studio_files.close("fuzz", view["id"])
        except InputError as error:
            refused += 1
            assert str(tmp_path) not in str(error)
    assert refused > 500
    assert [path for path in studio_files.store.root.rglob("*") if path.is_file()] == []


@pytest.fixture
def studio_files(tmp_path: Path) -> Iterator[Studio]:
    from acetate.ui.settings import StudioSettings

    studio = Studio(StudioSettings(store=tmp_path / "store"))
    yield studio
    studio.shut()


def test_calls_leave_no_sessions_behind(served: Served) -> None:
    """Gradio makes a session of some 90 KB for every call, and would keep 10000 of them."""
    import gc

    import httpx
    from gradio.state_holder import SessionState

    from acetate.ui.app import SESSIONS

    with httpx.Client(base_url=served[0], timeout=60) as http:
        for _ in range(SESSIONS + 20):
            event = http.post("gradio_api/call/cancel", json={"data": []}).json()["event_id"]
            assert "complete" in http.get(f"gradio_api/call/cancel/{event}").text
    gc.collect()
    assert sum(isinstance(one, SessionState) for one in gc.get_objects()) <= SESSIONS + 8


def test_login_closes_page_api_and_pixels(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from acetate.ui.app import build
    from acetate.ui.settings import StudioSettings

    app, studio = build(StudioSettings(store=tmp_path, auth=(("anna", "secret"),)))
    with TestClient(app) as http:
        assert http.get("/config").status_code == 401
        assert http.post("/gradio_api/call/session", json={"data": []}).status_code == 401
        pixels = f"/acetate/pixels/{'a' * 24}/{'0' * 32}"
        assert http.get(pixels).status_code == 401
        assert http.post("/login", data={"username": "anna", "password": "wrong"}).status_code >= 400
        assert http.post("/login", data={"username": "anna", "password": "secret"}).status_code == 200
        assert http.get("/config").status_code == 200 and http.get(pixels).status_code == 404
    studio.shut()


def test_the_page_may_not_be_left(served: Served) -> None:
    """No path of this machine is served, no other host is named by the page's own files."""
    import httpx

    from acetate.ui.routes import FILES, VERSION

    with httpx.Client(base_url=served[0]) as http:
        for path in ("acetate/%2e%2e/settings.py", f"acetate/{VERSION}/%2e%2e%2fapp.py", f"acetate/{VERSION}/page.py",
                     "gradio_api/file=/etc/hostname", "gradio_api/file=pyproject.toml"):  # fmt: skip
            assert http.get(path).status_code in (403, 404), path
        assert http.get("").headers["set-cookie"].endswith("HttpOnly; SameSite=Strict")
    for name, data in FILES.items():
        assert (
            b"http://" not in data.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in data
        ), name


def test_the_documented_example_runs(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).resolve().parents[2]
    block = (root / "docs" / "studio.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    block = block.replace("http://127.0.0.1:7860/", served[0]).replace(
        "docs/pictures", str(root / "docs/pictures")
    )
    exec(compile(block, "docs/studio.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "done" in printed and "poster.psd\n" in printed
    assert printed.rstrip().endswith("['Background', 'Layer 1', 'Layer 2']")
