"""The run log: one JSON object a line, appended as training goes, never rewritten."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class RunLog:
    """Appends records to ``path``; each gets the seconds since this process began training."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.began = path, time.monotonic()

    def write(self, **record: Any) -> None:
        """Append one record and print it."""
        record = {"seconds": round(time.monotonic() - self.began, 1), **record}
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in record.items()})
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)
