"""Runs of a model: one worker, a queue that says its positions, progress, previews, cancel.

Knows nothing of pictures or models: a job is a function that gets its job to report to.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import Cancelled, InputError
from .failures import explained

log = logging.getLogger(__name__)

Status = Literal["queued", "running", "done", "cancelled", "failed"]
FINISHED = frozenset({"done", "cancelled", "failed"})


@dataclass(eq=False)
class Job:
    """A run: what it does, how far it is, and the event that stops it. Written by the worker, read by anyone."""

    owner: str
    task: str
    work: Callable[[Job], str]
    """Does it and returns the id of the document that was made or changed."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    cancel: threading.Event = field(default_factory=threading.Event)
    status: Status = "queued"
    phase: str = "queued"
    step: int = 0
    steps: int = 0
    remaining: float | None = None
    preview: list[str] = field(default_factory=list)
    """Data URLs of the layers as the model sees them now, bottom to top."""
    document: str | None = None
    """The one it works on, known from the start; a new one at the end."""
    note: str | None = None
    """A sentence for the visitor about how it ended."""
    error: str | None = None
    version: int = 0
    on_end: list[Callable[[], None]] = field(default_factory=list)
    """Called when it has ended, from whatever thread ends it; see ``Worker.when_ended``."""
    stopped_at: float | None = None
    ended_at: float | None = None

    def report(self, phase: str, step: int, steps: int, remaining: float | None) -> None:
        """The signature of ``acetate.progress.OnProgress``."""
        self.phase, self.step, self.steps, self.remaining = phase, step, steps, remaining
        self.version += 1

    def show(self, preview: list[str]) -> None:
        self.preview = preview
        self.version += 1

    def check(self) -> None:
        """Raise Cancelled where the run was stopped too late for the model to notice: what it made is not wanted."""
        if self.cancel.is_set():
            raise Cancelled("The run was stopped.")

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


class Worker:
    """Runs jobs one after the other in a thread of its own, in the order they came."""

    def __init__(self, max_waiting: int = 32) -> None:
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._last: dict[str, Job] = {}
        self._first: Callable[[], None] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="acetate-studio-worker", daemon=True)
        self._thread.start()

    def prepare(self, first: Callable[[], None]) -> None:
        """Have ``first`` done before the next job, in the worker's own thread: jobs that come meanwhile wait."""
        with self._changed:
            self._first = first
            self._changed.notify_all()

    def submit(self, job: Job) -> Job:
        """Queue a job. Raises InputError while the same visitor has one, or when the queue is full."""
        with self._changed:
            current = self.current(job.owner)
            if current is not None:
                raise InputError("A run of yours is under way: wait for it or cancel it first.")
            if len(self._waiting) >= self._max_waiting:
                raise InputError("Too many runs are waiting: try again in a few minutes.")
            self._waiting.append(job)
            self._last.pop(job.owner, None)  # the latest stand last
            self._last[job.owner] = job
            while len(self._last) > 1000:  # visitors of long ago; their jobs are finished
                self._last.pop(next(iter(self._last)))
            self._touch_queue()
            self._changed.notify_all()
        return job

    def current(self, owner: str) -> Job | None:
        """The visitor's job that waits or runs."""
        job = self._last.get(owner)
        return job if job is not None and not job.finished else None

    def busy(self) -> set[str]:
        """Visitors with a job that waits or runs."""
        with self._changed:
            return {owner for owner, job in self._last.items() if not job.finished}

    def documents(self) -> set[str]:
        """Documents that jobs work on or wait to work on."""
        with self._changed:
            return {
                job.document for job in self._last.values() if job.document is not None and not job.finished
            }

    def find(self, owner: str, job: object) -> Job:
        """The visitor's last job by its id; InputError for any other."""
        found = self._last.get(owner)
        if found is None or not isinstance(job, str) or found.id != job:
            raise InputError("There is no such run.")
        return found

    def when_ended(self, job: Job, call: Callable[[], None]) -> None:
        """Have ``call`` made as soon as the job ends, at once where it has."""
        with self._changed:
            if not job.finished:
                job.on_end.append(call)
                return
        call()

    def cancel(self, owner: str) -> bool:
        """Stop the visitor's job; False when there was none. A running one ends before its next block."""
        with self._changed:
            job = self.current(owner)
            if job is None:
                return False
            job.stopped_at = time.monotonic()
            job.cancel.set()
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
                self._touch_queue()
        return True

    def snapshot(self, job: Job) -> dict[str, Any]:
        """What is known of a job now, JSON-able. ``position``: runs before it, 0 for the running one."""
        with self._changed:
            waits = job in self._waiting
            ahead = self._waiting.index(job) + (self._running is not None) if waits else 0
            loading = waits and ahead == 0 and self._first is not None
            return {
                "job": job.id,
                "task": job.task,
                "status": job.status,
                "position": ahead,
                "phase": "load" if loading else job.phase,
                "step": job.step,
                "steps": job.steps,
                "remaining": job.remaining,
                "stopping": job.cancel.is_set() and not job.finished,
                "preview": list(job.preview),
                "document": job.document,
                "note": job.note,
                "error": job.error,
            }

    def close(self) -> None:
        """Stop everything; waits for the running job to end."""
        with self._changed:
            self._closing = True
            for job in list(self._waiting):
                self._end(job, "cancelled")
            self._waiting.clear()
            if self._running is not None:
                self._running.cancel.set()
            self._changed.notify_all()
            preparing = self._first is not None
        if not preparing:  # that cannot be stopped, and holds nothing of a visitor's
            self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._first and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                first = self._first
                if first is None:
                    job = self._waiting.popleft()
                    self._running = job
                    job.status = "running"
                    self._touch_queue()
            if first is not None:
                self._prepare(first)
                continue
            self._run(job)
            with self._changed:
                self._running = None
                self._touch_queue()

    def _prepare(self, first: Callable[[], None]) -> None:
        try:
            first()
        except Exception:
            log.exception("what runs need could not be prepared; the first run tries again")
        with self._changed:
            self._first = None
            self._touch_queue()

    def _run(self, job: Job) -> None:
        try:
            job.document = job.work(job)
        except Cancelled:
            self._end(job, "cancelled")
        except Exception as error:
            self._end(job, "failed", explained(error, f"the run {job.task}"))
        else:
            self._end(job, "done")

    def _end(self, job: Job, status: Status, error: str | None = None) -> None:
        with self._changed:
            job.error = error
            job.preview = []
            job.work = _over  # it holds a document with its history, which may long be gone otherwise
            job.ended_at = time.monotonic()
            job.status = status
            job.version += 1
            calls, job.on_end = job.on_end, []
        for call in calls:
            call()

    def _touch_queue(self) -> None:
        """Those who watch a waiting job see its new position."""
        for job in self._waiting:
            job.version += 1


def _over(job: Job) -> str:
    raise RuntimeError("a run that has ended does not begin again")
