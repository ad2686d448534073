"""Scripted use of a studio by several visitors for a while: does it stay up, does its memory stay bounded, is anything left?

    python -P scripts/soak_studio.py [--minutes 30] [--visitors 4] [--model FOLDER]

Every visitor, over HTTP as a browser does it: reload the page, drop a file (a picture, the file of the round before,
sometimes a broken one), take apart, edit, undo and redo, fetch pixels, export, fetch the file, start a run and cancel it.
Every second document is closed, the others are left to their time. Prints what was done, errors, the server's memory by
thirds, and how long after the last visitor the last file was gone. Leaves with 1 on errors, growth of 5 % or more, or
files left.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from acetate.ui.trial import trial

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "poster.png"
FORMATS = ("psd", "ora", "zip", "png", "pptx")
HOURS = 0.05
GROWTH = 0.05
PATIENCE = 1500.0
"""Seconds after which a file counts as left behind: longer than any of the studio's times."""


class Refused(Exception):
    """An answer in words: what a page shows."""


class Visitor:
    """One browser: a cookie, a document, the file exported last."""

    def __init__(self, number: int, address: str) -> None:
        self.number, self.rounds, self.calls = number, 0, 0
        self.http = httpx.Client(base_url=address, timeout=300)
        self.exported: tuple[str, bytes] | None = None

    def call(self, name: str, *values: Any) -> Any:
        self.calls += 1
        answer = self.http.post(f"gradio_api/call/{name}", json={"data": list(values)})
        answer.raise_for_status()
        last: Any = None
        with self.http.stream("GET", f"gradio_api/call/{name}/{answer.json()['event_id']}") as events:
            kind = ""
            for line in events.iter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: "):
                    last = json.loads(line[6:]) or last
                    if kind == "error":
                        raise Refused(str(last))
                    if kind == "complete":
                        return last[0]
        raise RuntimeError(f"/{name} ended without an answer")

    def drop(self, name: str, data: bytes) -> Any:
        (path,) = self.http.post("gradio_api/upload", files={"files": (name, data)}).raise_for_status().json()
        return self.call("open", {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}})

    def round(self, picture: bytes) -> None:
        self.http.get("").raise_for_status()
        self.call("session")
        name, data = (
            self.exported if self.exported and self.rounds % 3 == 2 else (f"v{self.number}.png", picture)
        )
        if self.rounds % 5 == 4:
            with contextlib.suppress(Refused):
                self.drop("broken.psd", data[: len(data) // 2])
        view = self.drop(name, data)
        document = view["id"]
        state = self.call("decompose", document, 3, None, None, None, None, 2, self.rounds)
        if state["status"] != "done":
            raise RuntimeError(f"decompose: {state['error']}")
        view = self.call("document", document)
        top = view["layers"][-1]["id"]
        for operation in (f"move:{top},9,-7", f"opacity:{top},0.5", f"rename:{top},星 {self.rounds}",
                          f"duplicate:{top}", f"scale:{top},1.5", f"blend:{top},multiply"):  # fmt: skip
            view = self.call("edit", document, [operation])
        for name in ("undo", "undo", "redo"):
            view = self.call(name, document)
        for layer in view["layers"]:
            if layer["kind"] == "layer":
                url = f"acetate/pixels/{document}/{layer['pixels']['digest']}"
                size = len(self.http.get(url).raise_for_status().content)
                if size != 4 * layer["pixels"]["width"] * layer["pixels"]["height"]:
                    raise RuntimeError(f"{url}: {size} bytes")
        kind = FORMATS[self.rounds % len(FORMATS)]
        file = self.call("export", document, kind)
        content = self.http.get(file["url"]).raise_for_status().content
        self.exported = (f"again.{kind}", content) if kind != "pptx" else None
        if self.rounds % 4 == 3:
            self.cancelled(document)
        if self.rounds % 2:
            self.call("close", document)
        self.rounds += 1

    def cancelled(self, document: str) -> None:
        """A long run, stopped by its visitor after a second."""
        timer = threading.Timer(1.0, lambda: self.call("cancel"))
        timer.start()
        state = self.call("decompose", document, 4, None, None, None, None, 500, 0)
        timer.join()
        if state["status"] not in ("cancelled", "done"):
            raise RuntimeError(f"cancel: {state}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument("--model", default="tiny")
    arguments = parser.parse_args()
    small = Image.open(PICTURE).resize((300, 400))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    errors: list[str] = []
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        with trial("--store", folder, "--hours", str(HOURS), "--model", arguments.model) as studio:
            until = time.monotonic() + 60 * arguments.minutes
            visitors = [Visitor(number, studio.address) for number in range(arguments.visitors)]

            def visit(visitor: Visitor) -> None:
                while time.monotonic() < until:
                    try:
                        visitor.round(buffer.getvalue())
                    except Exception as error:  # whatever happens is a finding
                        errors.append(f"visitor {visitor.number}, round {visitor.rounds}: {error!r}")
                        visitor.rounds += 1

            threads = [threading.Thread(target=visit, args=(visitor,)) for visitor in visitors]
            for thread in threads:
                thread.start()
            most = 0
            while any(thread.is_alive() for thread in threads):
                time.sleep(1)
                memory.append(studio.resident_mib())
                most = max(most, len(files(store)))
                if len(memory) % 60 == 0:
                    rounds = sum(visitor.rounds for visitor in visitors)
                    print(f"{len(memory) // 60} min: {rounds} rounds, {memory[-1]:.0f} MiB, "
                          f"{len(files(store))} files, {len(errors)} errors {errors[-1:]}", flush=True)  # fmt: skip
            print(f"the visitors have left; {len(files(store))} files, {len(errors)} errors", flush=True)
            began = time.monotonic()
            while files(store) and time.monotonic() - began < PATIENCE:
                time.sleep(2)
            gone = time.monotonic() - began
            left = files(store)
        after = files(store)
    third = max(1, len(memory) // 3)
    middle, last = (statistics.mean(part) for part in (memory[third : 2 * third], memory[-third:]))
    print(
        f"{arguments.minutes:g} minutes, {len(visitors)} visitors: {sum(v.rounds for v in visitors)} rounds, "
        f"{sum(v.calls for v in visitors)} calls, {len(errors)} errors; server memory {middle:.0f} MiB in the middle third, "
        f"{last:.0f} MiB in the last ({100 * (last / middle - 1):+.1f} %), peak {max(memory):.0f}; at most {most} files; "
        f"{len(left)} left {gone:.0f} s after the last visitor, {len(after)} after the server's end"
    )
    for line in [*errors[:10], *map(str, left[:10])]:
        print(f"  {line}")
    return 1 if errors or left or after or last / middle - 1 >= GROWTH else 0


def files(folder: Path) -> list[Path]:
    return [Path(inside, name) for inside, _, names in os.walk(folder) for name in names]


if __name__ == "__main__":
    sys.exit(main())
