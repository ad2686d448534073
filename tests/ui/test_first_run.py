"""The first run of a studio that has only just started: a server in a process of its own, asked at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from acetate.ui.trial import trial

pytestmark = [pytest.mark.ui, pytest.mark.slow]


SLOW_DISK = """
import importlib.machinery, pathlib, sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name != "diffusers.image_processor":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def slowly(module):
            pathlib.Path(__file__).with_name("inside").touch()
            time.sleep(6)
            load(module)

        spec.loader.exec_module = slowly
        return spec

sys.meta_path.insert(0, Slow())
"""
"""Loading stands still inside ``diffusers.utils``: another thread that begins to load then brings both to their end."""


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that is there once loading stands still."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK, encoding="utf-8")
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "inside"


def states(http: httpx.Client, name: str, *values: Any) -> list[Any]:
    """Every answer of an endpoint, the last one too."""
    call = f"gradio_api/call/{name}"
    started = http.post(call, json={"data": list(values)}).raise_for_status().json()
    text = http.get(f"{call}/{started['event_id']}").raise_for_status().text
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [found[0] for found in map(json.loads, lines) if found and found[0]]


def opened(address: str) -> tuple[httpx.Client, str]:
    """A visitor with a document, as soon as the server answers."""
    http = httpx.Client(base_url=address, timeout=300)
    http.get("").raise_for_status()
    return http, states(http, "open_example", "poster")[-1]["id"]


def test_a_run_asked_for_at_once(inside: Path, tmp_path: Path) -> None:
    with trial("--store", str(tmp_path / "store")) as studio:
        http, document = opened(studio.address)
        until = time.monotonic() + 120
        while not inside.exists() and time.monotonic() < until:
            time.sleep(0.02)
        seen = states(http, "decompose", document, 2, None, None, None, None, 1, 0)
        assert (seen[-1]["status"], seen[-1]["error"]) == ("done", None)
        assert (seen[0]["status"], seen[0]["phase"]) == ("queued", "load")
        assert len(states(http, "document", document)[-1]["layers"]) == 2
