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
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from .holdings import Holdings, Opening
from .messages import Failed, Lost, Message, Task, WorkerSettings
from .oom import Epitaphs
from .process import FINISH, STOP, work


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
        self.holdings = Holdings()


class LocalPool:
    """:class:`Pool` on this machine. ``first``: the number of its first worker, which tells it its accelerator."""

    def __init__(self, settings: WorkerSettings, workers: int, first: int = 0) -> None:
        self._settings = settings
        self._first = first
        self._context = multiprocessing.get_context("spawn")
        self._epitaphs = Epitaphs()
        self._seats = [_Seat(index) for index in range(workers)]

    def openings(self) -> list[Opening]:
        seats = sorted(self._seats, key=lambda seat: len(seat.holdings.unmade))
        found = (seat.holdings.opening(seat.index) for seat in seats)
        return [opening for opening in found if opening is not None]

    def submit(self, worker: int, task: Task) -> None:
        seat = self._seats[worker]
        if seat.process is None:
            self._start(seat)
        seat.holdings.take(task)
        assert seat.connection is not None
        with suppress(OSError):  # where it has died, poll will find it and give the job back
            seat.connection.send(task)

    def connections(self) -> list[Connection]:
        """What to wait on for the next word of a worker."""
        return [seat.connection for seat in self._seats if seat.connection is not None]

    def _start(self, seat: _Seat) -> None:
        ours, theirs = self._context.Pipe()
        seat.process = self._context.Process(
            target=work,
            args=(theirs, self._settings, self._first + seat.index),
            name=f"acetate-worker-{self._first + seat.index}",
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
                seat.holdings.note(message)
                messages.append(message)
                if isinstance(message, Failed) and message.fresh:
                    messages.append(self._retire(seat, "it was replaced after an error"))
                    break
        except (EOFError, OSError):
            messages.append(self._retire(seat, None))
        return iter(messages)

    def _retire(self, seat: _Seat, reason: str | None) -> Lost:
        """End a seat's process, if it has not ended itself, and tell what it held."""
        process = seat.process
        assert process is not None and seat.connection is not None
        seat.connection.close()
        process.join(0.2)
        if process.is_alive():
            process.kill()
            process.join()
        lost = seat.holdings.lose(reason or self._epitaphs.of(process.exitcode), suspected=reason is None)
        self._seats[seat.index] = _Seat(seat.index)
        return lost

    def stop(self, seconds: float) -> list[Message]:
        deadline = time.monotonic() + seconds
        self.tell(STOP)
        found: list[Message] = []
        while any(seat.connection is not None for seat in self._seats):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            found += self.poll(min(left, 0.1))
        self.end()
        return found

    def close(self) -> None:
        self.tell(FINISH)
        deadline = time.monotonic() + 5
        for seat in self._seats:
            if seat.process is not None:
                seat.process.join(max(0.0, deadline - time.monotonic()))
        self.end()

    def tell(self, word: str) -> None:
        """Say ``STOP`` or ``FINISH`` to every worker."""
        for seat in self._seats:
            if seat.connection is not None:
                with suppress(OSError):  # it has ended already
                    seat.connection.send(word)

    def end(self) -> None:
        """End every process that is left."""
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()
                seat.process.join()
            if seat.connection is not None:
                seat.connection.close()
        self._seats = [_Seat(seat.index) for seat in self._seats]


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
