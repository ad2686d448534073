"""Workers in processes of this machine: start them, hand them tasks, hear what they say, notice when they die.

Every worker holds at most one job that is being made and one that waits, so that it never idles and a lost one costs
little. Knows nothing of results, journals or retries.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from .messages import Failed, Lost, Made, Message, Staged, Started, Task, WorkerSettings
from .process import FINISH, STOP, work

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


class Pool(Protocol):
    """Workers somewhere. All methods are called by one thread."""

    def openings(self) -> list[Opening]:
        """Who would take a job, the idlest first."""

    def submit(self, worker: int, task: Task) -> None: ...

    def poll(self, seconds: float) -> list[Message]:
        """What workers have said, waiting up to ``seconds`` for the first word."""

    def stop(self, seconds: float) -> list[Message]:
        """Cancel what is being made, let writes end, and return the last words; after ``seconds`` all is ended."""

    def close(self) -> None:
        """Let idle workers go; those that do not are ended."""


class _Seat:
    """One worker's place: the process that has it now and the jobs it holds."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: SpawnProcess | None = None
        self.connection: Connection | None = None
        self.held: dict[str, Task] = {}
        self.unmade: set[str] = set()
        self.started: set[str] = set()
        self.alone = False
        self.model: str | None = None


class LocalPool:
    """:class:`Pool` on this machine."""

    def __init__(self, settings: WorkerSettings, workers: int) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self._seats = [_Seat(index) for index in range(workers)]

    def openings(self) -> list[Opening]:
        return [
            Opening(worker=seat.index, model=seat.model, empty=not seat.held)
            for seat in sorted(self._seats, key=lambda seat: len(seat.unmade))
            if not seat.alone and len(seat.unmade) <= WAITING
        ]

    def submit(self, worker: int, task: Task) -> None:
        """A task that was tried before is to go to an empty worker, which gets nothing else meanwhile: if it kills the
        worker again, no other job suffers."""
        seat = self._seats[worker]
        if seat.process is None:
            self._start(seat)
        id = task.planned.job.id
        seat.held[id] = task
        seat.unmade.add(id)
        seat.model = task.planned.model or seat.model
        seat.alone = task.attempt > 1
        assert seat.connection is not None
        with suppress(OSError):  # where it has died, poll will find it and give the job back
            seat.connection.send(task)

    def _start(self, seat: _Seat) -> None:
        ours, theirs = self._context.Pipe()
        seat.process = self._context.Process(
            target=work,
            args=(theirs, self._settings, seat.index),
            name=f"acetate-worker-{seat.index}",
            daemon=True,
        )
        with _deaf_to_interrupts():
            seat.process.start()
        theirs.close()
        seat.connection = ours

    def poll(self, seconds: float) -> list[Message]:
        found: list[Message] = []
        open_seats = {id(seat.connection): seat for seat in self._seats if seat.connection is not None}
        if not open_seats:
            time.sleep(seconds)
            return found
        for ready in wait([seat.connection for seat in open_seats.values()], seconds):  # type: ignore[misc]
            seat = open_seats[id(ready)]
            found += self._hear(seat)
        return found

    def _hear(self, seat: _Seat) -> Iterator[Message]:
        assert seat.connection is not None
        messages: list[Message] = []
        try:
            while seat.connection.poll(0):
                message = seat.connection.recv()
                self._note(seat, message)
                messages.append(message)
                if isinstance(message, Failed) and message.fresh:
                    messages.append(self._retire(seat, "it was replaced after an error"))
                    break
        except (EOFError, OSError):
            messages.append(self._retire(seat, None))
        return iter(messages)

    def _note(self, seat: _Seat, message: Message) -> None:
        if isinstance(message, Started):
            seat.started.add(message.id)
        elif isinstance(message, Made):
            seat.unmade.discard(message.id)
        elif isinstance(message, Staged | Failed):
            for jobs in (seat.unmade, seat.started):
                jobs.discard(message.id)
            seat.held.pop(message.id, None)
            seat.alone = seat.alone and bool(seat.held)

    def _retire(self, seat: _Seat, reason: str | None) -> Lost:
        """End a seat's process, if it has not ended itself, and tell what it held."""
        process = seat.process
        assert process is not None and seat.connection is not None
        seat.connection.close()
        process.join(0.2)
        if process.is_alive():
            process.kill()
            process.join()
        lost = Lost(
            reason=reason or _epitaph(process.exitcode),
            suspects=tuple(sorted(seat.started)) if reason is None else (),
            innocent=tuple(sorted(set(seat.held) - (seat.started if reason is None else set()))),
        )
        self._seats[seat.index] = _Seat(seat.index)
        return lost

    def stop(self, seconds: float) -> list[Message]:
        deadline = time.monotonic() + seconds
        self._tell(STOP)
        found: list[Message] = []
        while any(seat.connection is not None for seat in self._seats):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            found += self.poll(min(left, 0.1))
        self._end()
        return found

    def close(self) -> None:
        self._tell(FINISH)
        deadline = time.monotonic() + 5
        for seat in self._seats:
            if seat.process is not None:
                seat.process.join(max(0.0, deadline - time.monotonic()))
        self._end()

    def _tell(self, word: str) -> None:
        for seat in self._seats:
            if seat.connection is not None:
                with suppress(OSError):  # it has ended already
                    seat.connection.send(word)

    def _end(self) -> None:
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()
                seat.process.join()
            if seat.connection is not None:
                seat.connection.close()
        self._seats = [_Seat(seat.index) for seat in self._seats]


def _epitaph(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"its worker was killed by {name}{memory}"
    return f"its worker ended with status {code}"


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process started inside never sees Ctrl-C, not even before it can say so itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
