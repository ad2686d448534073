"""A thousand hostile rows among good ones: each rejected with its row and a reason, nothing outside the folder touched."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acetate.rendering import RenderSettings

from .conftest import audit, made_jobs, run

COUNT = 1000
BRACES = "{{x}} {y}"


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises far more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(10)))
        + chunk(b"IEND", b"")
    )


def hostile_rows(folder: Path, outside: Path) -> list[bytes]:
    (folder / "bomb.png").write_bytes(bomb(200_000, 200_000))
    (folder / "wide.png").write_bytes(bomb(30_000, 8_000))
    (folder / "bomb.psd").write_bytes(b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 250_000, 250_000, 8, 3))
    (folder / "short.psd").write_bytes(b"8BPS\x00\x01")
    (folder / "words.png").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "heap").mkdir()
    os.mkfifo(folder / "pipe.png")
    decompose = {"task": "decompose", "input": "picture.png"}
    made = {"task": "generate", "prompt": "x"}
    bad: list[dict[str, Any]] = [
        *({**made, "id": id} for id in ("../up", "/abs", "a/../../b", "..", ".acetate", "x\u0000y", "con", "a" * 500)),
        *({**made, "outputs": [name]} for name in ("../../x.psd", "/tmp/x", "psd/../..", "..", "x" * 99, "")),
        *(
            {**decompose, "input": name}
            for name in (
                "../secret.png", str(outside / "secret.png"), "link.png", "loop.png", "pipe.png", "/dev/zero", "heap",
                "missing.png", "bomb.png", "wide.png", "bomb.psd", "short.psd", "words.png", "empty.png", "a\u0000b",
                "x" * 5000, "/proc/self/environ", "https://example.org/a.png", "~/secret.png",
            )
        ),
        *({**decompose, "layers": value} for value in (-1, 10**20, "4", [], {}, [1], 1e308, "auto ", [{"box": [0] * 4}])),
        *({**made, "size": value} for value in ("1e9x1e9", [10**9, 10**9], [-1, 5], "0x0", {}, [1, 2, 3], "native", 2**70)),
        *({**made, "seed": value} for value in (-5, 2**64, 1.5, "1", [], True, {"a": 1})),
        *({**made, "steps": value} for value in (0, -1, 10**12, "many", [3])),
        *({**made, "model": value} for value in ("../..", "/", "tinny", 5, "\ud800", "https://x/m")),
        *({**made, "prompt": value} for value in ("", 5, ["x"], "x" * 20_000, "\ud83d", BRACES)),
        *({"task": "edit", "input": "picture.png", "edits": value} for value in ("move", ["explode:a"], [3], [])),
        {"task": "__import__('os').system('touch pwned')"}, {"task": ["decompose"]}, {}, {"id": "x"},
        {**made, "vars": {"__class__": {}}}, {**made, "vars": {"a b": 1}}, {**made, "vars": [1]}, {**made, "unknown": 1},
    ]  # fmt: skip
    for job in bad:  # a brace without variables is a brace: give this one variables
        if job.get("prompt") == BRACES:
            job["vars"] = {"x": 1}
    raw = [
        b"{",
        b"nonsense",
        b"[]",
        b'"x"',
        b"\xff\xfe\xfa",
        b'{"id": "a", "id": "b"}',
        b"[" * 9999,
        b"NaN",
        b"\x00",
    ]
    random.seed(0)
    rows = [json.dumps(job).encode() for job in bad] + raw
    return [rows[index % len(rows)] for index in range(COUNT)]


def test_a_thousand_hostile_rows(
    settings: Callable[..., RenderSettings], tmp_path: Path, picture: Path, stub_log: Path
) -> None:
    folder, outside = tmp_path / "lists", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    picture.rename(folder / "picture.png")
    (outside / "secret.png").write_bytes((folder / "picture.png").read_bytes())
    (tmp_path / "secret.png").write_bytes((folder / "picture.png").read_bytes())
    rows = hostile_rows(folder, outside)
    good = made_jobs(10)
    for place, job in enumerate(good):
        rows.insert(place * 101, json.dumps(job).encode())
    (folder / "jobs.jsonl").write_bytes(b"\n".join(rows))

    def seen() -> dict[str, tuple[int, int]]:
        skip = (tmp_path / "out", stub_log)
        return {
            str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in tmp_path.rglob("*")
            if not any(path == one or path.is_relative_to(one) for one in skip) and not path.is_dir()
        }

    hostile = settings([], jobs=folder / "jobs.jsonl", workers=2)
    before = seen()
    outcome, told = run(hostile)
    rejected = [facts for event, facts in told if event == "job_rejected"]
    assert (outcome.made, outcome.failed, outcome.rejected) == (10, 0, COUNT)
    assert {facts["row"] for facts in rejected} == set(range(1, len(rows) + 1)) - {
        place * 101 + 1 for place in range(10)
    }
    assert all(10 < len(facts["reason"]) < 600 for facts in rejected)
    assert seen() == before and sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["jobs.jsonl", "lists", "out", "outside", "secret.png", "starts"]
    )
    audit(tmp_path / "out", 10)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.count("<tr>") == COUNT + 1 and report.count('<div class="card">') == 10
