"""A studio in a process of its own, for measurements and pictures of it. Knows the command line and HTTP, nothing inside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Where the studio answers (with a slash at the end), and its process."""

    address: str
    pid: int

    def resident_mib(self) -> float:
        """Memory that the process holds now (Linux)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def trial(*arguments: str) -> Iterator[Trial]:
    """``acetate ui`` with these arguments on a free port of 127.0.0.1; ended at the end.

    Raises RuntimeError when it does not start.
    """
    command = [sys.executable, "-P", "-m", "acetate", "ui", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[^ ]+/", process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the studio did not start: {' '.join(command)}")
        yield Trial(address=found.group(), pid=process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)
