"""``events.jsonl``: everything that happens, one JSON object per line, appended and never rewritten, for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..layers.io.atomic import output_error

Watch = Callable[[str, dict[str, Any]], None]
"""Called as ``watch(event, facts)`` after each event is on file."""


class Events:
    """An open log. ``tell`` raises OutputError when it cannot be written."""

    def __init__(self, path: Path, watch: Watch | None = None) -> None:
        self._path = path
        self._watch = watch
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            self._descriptor = os.open(path, flags, 0o666)
            _cut_half_line(self._descriptor)
        except OSError as error:
            raise output_error(path, error) from error

    def tell(self, event: str, **facts: Any) -> None:
        known = {name: value for name, value in facts.items() if value is not None}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **known}, ensure_ascii=False) + "\n"
        data = line.encode("utf-8", "backslashreplace")
        try:
            if os.write(self._descriptor, data) < len(data):
                _cut_half_line(self._descriptor)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise output_error(self._path, error) from error
        if self._watch is not None:
            self._watch(event, known)

    def close(self) -> None:
        os.close(self._descriptor)


def _cut_half_line(descriptor: int) -> None:
    """Remove what a killed engine left of its last line."""
    end = size = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 4096)
        block = os.pread(descriptor, end - start, start)
        if (found := block.rfind(b"\n")) >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
