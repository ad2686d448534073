"""What one worker holds, as its pool sees it: jobs handed over, jobs being made, jobs that wait for a writer.

The same bookkeeping for a process of this one and for one of another in the group; knows neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from .messages import Failed, Lost, Made, Message, Staged, Started, Task

WAITING = 1
"""Jobs that may wait in a worker while it makes another."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A worker that would take a job now."""

    worker: int
    model: str | None
    """What it has loaded, None before its first job."""
    empty: bool
    """Whether it holds no job at all."""


class Holdings:
    """The jobs of one worker. ``alone``: it has a job that was tried before and gets nothing else meanwhile."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.clear()

    def clear(self) -> None:
        """Another process is the worker now."""
        self.model = None
        self.held: dict[str, Task] = {}
        self.unmade: set[str] = set()
        self.started: set[str] = set()
        self.alone = False

    def opening(self, worker: int) -> Opening | None:
        """Whether it would take a job."""
        if self.alone or len(self.unmade) > WAITING:
            return None
        return Opening(worker=worker, model=self.model, empty=not self.held)

    def take(self, task: Task) -> None:
        """A task that was tried before is to go to an empty worker, which gets nothing else meanwhile: if it kills the
        worker again, no other job suffers."""
        id = task.planned.job.id
        self.held[id] = task
        self.unmade.add(id)
        self.model = task.planned.model or self.model
        self.alone = task.attempt > 1

    def note(self, message: Message) -> None:
        """What the worker says changes what it holds."""
        if isinstance(message, Started):
            self.started.add(message.id)
        elif isinstance(message, Made):
            self.unmade.discard(message.id)
        elif isinstance(message, Staged | Failed):
            for jobs in (self.unmade, self.started):
                jobs.discard(message.id)
            self.held.pop(message.id, None)
            self.alone = self.alone and bool(self.held)
        elif isinstance(message, Lost):
            self.clear()

    def lose(self, reason: str, suspected: bool) -> Lost:
        """The worker is gone with all it holds; where ``suspected``, what it had started may be why."""
        suspects = self.started if suspected else set()
        lost = Lost(
            reason=reason,
            suspects=tuple(sorted(suspects)),
            innocent=tuple(sorted(set(self.held) - suspects)),
        )
        self.clear()
        return lost
