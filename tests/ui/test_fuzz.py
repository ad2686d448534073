"""Nonsense and malice at every endpoint, over HTTP: an answer in words, never a 500, a traceback, an unforeseen error, or a
file outside the store. ``ACETATE_FUZZ_FILES=1000 ACETATE_FUZZ_CALLS=60 pytest tests/ui/test_fuzz.py`` is the long version.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from studio_scenes import twenty_layers

from acetate.ui.actions import TRANSIT_SECONDS, Studio
from acetate.ui.endpoints import PLAIN, RUNS
from acetate.ui.failures import UNKNOWN

Served = tuple[str, Studio]
ROOT = Path(__file__).resolve().parents[2]
FILES = int(os.environ.get("ACETATE_FUZZ_FILES", "60"))
CALLS = int(os.environ.get("ACETATE_FUZZ_CALLS", "6"))
EVERY = (*PLAIN, *RUNS, "open", "export")
NONSENSE: list[Any] = [
    None, True, -1, 0, 2**70, 10**300, 1e-300, 0.5, "", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "x" * 9000,
    "\0", "\ud83d", [], [[[]]], {}, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, "A" * 24, "#0", "#0.0.0",
    ["rename:#0,x"], ["scale:#0,nan"], ["scale:#0,1e400,1"], ["move:#0,9e99,0"], ["rotate:#0,inf"], ["crop:0,0,0,0"],
    ["opacity:#0,nan"], ["delete:#0"], ["group:,#0"], ["blend:#0,../x"], ["recolour:#0,#gg"], ["nonsense"], [""], [":"],
    [0, 0, 0, 0], [-5, -5, 10**9, 10**9], [1, 2, 3], [10, 10, 20, 20], "zip", "psd", "above", "behind",
]  # fmt: skip


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """A browser of its own: it has the cookie of the page."""
    with httpx.Client(base_url=served[0], timeout=120) as http:
        http.get("")
        yield http


def told(http: httpx.Client, name: str, data: list[Any]) -> tuple[str, Any]:
    """("complete" or "error", the answer) of a call, after checking that nothing leaks."""
    body = json.dumps({"data": data}).encode("utf-8", "surrogatepass")
    answer = http.post(f"gradio_api/call/{name}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500, (name, data, answer.text[:300])
    kind, last = "refused", None
    text = answer.text
    if answer.status_code == 200:
        with http.stream("GET", f"gradio_api/call/{name}/{answer.json()['event_id']}") as events:
            for line in events.iter_lines():
                text += line + "\n"
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: ") and kind in ("error", "complete", "generating"):
                    last = json.loads(line[6:])
                    if kind != "generating":
                        break
    for leak in ("Traceback", "root:", 'File \\"', str(ROOT), UNKNOWN, "log of the server"):
        assert leak not in text, (name, data, text[-600:])
    return kind, last


def opened(http: httpx.Client, name: str, data: bytes) -> tuple[str, Any]:
    answer = http.post("gradio_api/upload", files={"files": (name, data)})
    assert answer.status_code < 500, answer.text[:300]
    if answer.status_code != 200:
        return "refused", None
    (path,) = answer.json()
    return told(http, "open", [{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}])


def valid(document: str) -> dict[str, list[Any]]:
    """Arguments that each endpoint takes."""
    run = [None, 1, 0]
    return {
        "session": [], "open_example": ["poster"], "document": [document], "edit": [document, ["hide:#0"]],
        "place": [document, ["#0"], None, 0], "undo": [document], "redo": [document], "close": ["A" * 24], "cancel": [],
        "decompose": [document, 2, None, None, ["the sky", None], *run],
        "generate": ["a fish", 2, ["a"], [None], 64, 64, *run],
        "complete": [document, "a", "#0", "above", None, None, *run], "extract": [document, [2, 2, 30, 30], None, *run],
        "watch": ["A" * 24], "open": [None], "export": [document, "png"],
    }  # fmt: skip


def document_of(http: httpx.Client, poster_file: Path) -> str:
    kind, answer = opened(http, "poster.png", poster_file.read_bytes())
    assert kind == "complete"
    return str(answer[0]["id"])


def machine(store: Path) -> set[Path]:
    """Files that no visitor should be able to make."""
    found = {path for path in Path("/etc").iterdir()}
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        if not inside[0].startswith(".") and "__pycache__" not in inside:
            found.add(path)
    return {path for path in found if not path.is_relative_to(store)}


@pytest.mark.slow
def test_nonsense_is_refused_in_words(http: httpx.Client, served: Served, poster_file: Path) -> None:
    rng = random.Random(0)
    before = machine(served[1].store.root)
    for name in EVERY:
        document = document_of(http, poster_file)
        for number in range(CALLS):
            data: list[Any] = [rng.choice(NONSENSE) for _ in range(rng.randint(0, 9))]
            if number % 2:  # all is well but one value
                data = valid(document)[name]
                if data:
                    data[rng.randrange(len(data))] = rng.choice(NONSENSE)
            told(http, name, data)
    assert machine(served[1].store.root) == before
    assert told(http, "session", [])[0] == "complete"


def test_foreign_documents_get_no_answer(http: httpx.Client, served: Served, poster_file: Path) -> None:
    document = document_of(http, poster_file)
    with httpx.Client(base_url=served[0], timeout=120) as other:
        other.get("")
        for name, data in valid(document).items():
            if document in data:
                kind, _ = told(other, name, data)
                assert kind == "error", name
    assert told(http, "document", [document])[0] == "complete"


@pytest.mark.slow
def test_hostile_uploads_are_refused_and_leave_nothing(
    http: httpx.Client, served: Served, tmp_path: Path
) -> None:
    studio = served[1]
    long_ago = time.time() - 2 * TRANSIT_SECONDS
    for path in studio.transit.rglob("*"):  # of other tests
        os.utime(path, (long_ago, long_ago))
    studio.tidy()
    before = files(studio.store.root)
    kinds: dict[str, int] = {}
    for number, (name, data) in enumerate(hostile(tmp_path, FILES)):
        kind, answer = opened(http, name, data)
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind == "complete":
            assert told(http, "close", [answer[0]["id"]])[0] == "complete", number
    assert kinds.get("error", 0) > FILES // 2, kinds
    left = files(studio.store.root) - before
    assert all(path.is_relative_to(studio.transit) for path in left)
    for path in left:
        os.utime(path, (long_ago, long_ago))
    studio.tidy()
    assert files(studio.store.root) <= before


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def hostile(folder: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Files of every format, cut short, damaged, renamed, under names that are paths."""
    rng = np.random.default_rng(0)
    doc = twenty_layers()
    small = doc.replace(layers=tuple(layer.replace(blend="normal", mask=None) for layer in doc.leaves()[:3]))
    seeds = [small.save(folder / f"seed.{suffix}").read_bytes() for suffix in ("psd", "ora", "zip", "png")]
    names = (
        "a.psd",
        "../../x.ora",
        "/etc/passwd.zip",
        "a.png",
        "海报.psd",
        "a" * 300 + ".png",
        ".zip",
        "a.svg",
    )
    for number in range(count):
        data = bytearray(seeds[number % 4])
        if number % 3 == 0:
            data = data[: int(rng.integers(0, len(data)))]
        else:
            head = min(len(data), 400) if number % 3 == 1 else len(data)
            for place in rng.integers(0, head, 8 if number % 3 == 1 else 200):
                data[int(place)] = int(rng.integers(0, 256))
        yield names[number % len(names)], bytes(data)
