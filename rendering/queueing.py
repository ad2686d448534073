"""Which job comes next: by model, so that a worker keeps what it has loaded; tried-again jobs when their time has come.

Only durations count here, measured by a clock that nobody can set.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from .plan import PlannedJob

MOST_SECONDS = 60.0


class JobQueue:
    """Jobs that wait, in the order they are to be done. ``now`` is a time of ``time.monotonic``."""

    def __init__(self, jobs: Iterable[PlannedJob]) -> None:
        self._fresh: dict[str, deque[PlannedJob]] = {}
        for planned in jobs:
            self._fresh.setdefault(planned.model, deque()).append(planned)
        self._later: list[tuple[float, int, PlannedJob, int]] = []

    def __bool__(self) -> bool:
        return bool(self._later) or any(self._fresh.values())

    def take(self, model: str | None) -> PlannedJob | None:
        """A job that was never tried, one for ``model`` where there is one."""
        order = [self._fresh.get(model, deque())] if model is not None else []
        for jobs in (*order, *self._fresh.values()):
            if jobs:
                return jobs.popleft()
        return None

    def give_back(self, planned: PlannedJob) -> None:
        """A job whose worker went away before it began."""
        self._fresh.setdefault(planned.model, deque()).appendleft(planned)

    def again(self, planned: PlannedJob, attempt: int, now: float, backoff: float) -> float:
        """Put a job off for its next try; returns the seconds it waits."""
        seconds = min(MOST_SECONDS, backoff * 2 ** max(0, attempt - 2))
        heapq.heappush(self._later, (now + seconds, planned.order, planned, attempt))
        return seconds

    def due(self, now: float) -> tuple[PlannedJob, int] | None:
        """The job whose next try is due longest, with the number of that try; it stays until ``drop_due``."""
        if self._later and self._later[0][0] <= now:
            return self._later[0][2], self._later[0][3]
        return None

    def drop_due(self) -> None:
        heapq.heappop(self._later)
