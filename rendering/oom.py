"""Whether memory ran out: in an error that a job raised, or in the way a worker ended.

A process that the system kills for want of memory says nothing any more; Linux counts such kills, and a count that rose
while a worker died of SIGKILL tells. Elsewhere the reason says that it may be so.
"""

from __future__ import annotations

import signal
from pathlib import Path

REMEDY = "use a smaller picture, fewer layers or fewer workers"
OUT_OF_MEMORY = f"out of memory: {REMEDY}"
MEMORY_STATUS = 71
"""The exit status of a worker that could not even say that its memory ran out."""
_COUNTER = Path("/proc/vmstat")
_NAMES = frozenset({"OutOfMemoryError", "OutOfMemory"})
# torch's CPU allocator raises a RuntimeError; only its words tell.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that memory ran out, of the machine or of an accelerator."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return False
        if isinstance(seen, MemoryError) or type(seen).__name__ in _NAMES:
            return True
        if isinstance(seen, RuntimeError | OSError) and any(word in str(seen).lower() for word in _WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


class Epitaphs:
    """Why workers ended. Made before the first of them starts."""

    def __init__(self) -> None:
        self._kills = _kills()

    def of(self, code: int | None) -> str:
        """A sentence for a process that ended with ``code``, as multiprocessing tells it: a status, or minus a signal."""
        before, self._kills = self._kills, _kills()
        if code == MEMORY_STATUS:
            return OUT_OF_MEMORY
        if code is None or code >= 0:
            return f"its worker ended with status {code}"
        name = signal.Signals(-code).name
        if name != "SIGKILL":
            return f"its worker was killed by {name}"
        if before is not None and self._kills is not None and self._kills > before:
            return f"out of memory: the system killed its worker; {REMEDY}"
        return f"its worker was killed by SIGKILL, perhaps out of memory; if so, {REMEDY}"


def _kills() -> int | None:
    """How many processes Linux has killed for want of memory since it started; None where nobody counts."""
    try:
        lines = _COUNTER.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
