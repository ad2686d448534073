"""The engine: gives jobs to workers and puts what they have staged in its place, one rename per result.

Only the engine renames, and only one engine runs per folder, so no result is ever half there or made by two. A result is
in place before the journal says so; whatever ends the engine between the two, the next one finds the receipt.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from ..errors import AcetateError, Cancelled, OutputError
from ..layers.io.atomic import output_error
from .copies import Copies
from .copying import Copier
from .events import Events, Watch
from .finding import open_inputs
from .group import GroupPool, Members
from .journal import Journal
from .lock import only_engine
from .messages import Failed, Lost, Message, Staged, Started, Task, WorkerSettings
from .places import INPUTS, STATE, check_results
from .plan import Plan, PlannedJob, check_list, make_plan
from .pool import LocalPool, Pool
from .queueing import JobQueue
from .settings import RenderSettings
from .summary import Run, write_summary

STOP_SECONDS = 1.4
"""How long running writes have to end once somebody wants to stop."""
_POLL_SECONDS = 0.1
_MOST_STILLBORN = 3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a render came to; counts of jobs."""

    made: int
    already_done: int
    failed: int
    rejected: int
    uncopied: int
    """Results that could not be copied to where copies were wanted."""
    left: int
    """Not done, since the render was stopped."""
    stopped: bool
    seconds: float
    busy_seconds: float
    """Of all models together; over ``seconds`` times workers it is the share in which they were not idle."""

    @property
    def exit_status(self) -> int:
        """0 when every job is done, 130 when stopped, 1 when jobs or copies failed, 2 when only rows were wrong."""
        if self.stopped:
            return 130
        return 1 if self.failed or self.uncopied else 2 if self.rejected else 0


def render(
    settings: RenderSettings,
    *,
    stop: threading.Event | None = None,
    watch: Watch | None = None,
    members: Members | None = None,
) -> Outcome:
    """Do every job of a list that is not done yet. ``stop``: set it from anywhere and the render ends within 2 seconds.
    ``members``: the other processes of a group, which work too.

    Raises InputError where nothing can begin (no list, no folder, another engine at work), and OutputError when results
    can no longer be written, the disk being full; what is done stays done then too.
    """
    check_results(settings.folder)
    _ = settings.root
    check_list(settings)  # both complain before a folder is made
    state = settings.folder / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(settings.folder, error) from error
    with only_engine(state / "lock"):
        engine = _Engine(settings, stop or threading.Event(), watch, members)
        try:
            return engine.run()
        finally:
            engine.close()


class _Engine:
    def __init__(
        self,
        settings: RenderSettings,
        stop: threading.Event,
        watch: Watch | None,
        members: Members | None,
    ) -> None:
        # First of all, since it may refuse. A pause between two tries ends when the render is to stop.
        copies = None if settings.copy_to is None else Copies(settings.copy_to, stop.wait)
        self._settings, self._workers = settings, settings.workers
        self._members = members
        self._folder = settings.folder.absolute()  # actors on a cluster work in folders of their own
        self._stop = stop
        self._events = Events(settings.folder / "events.jsonl", watch)
        self._journal = Journal(settings.folder / STATE / "journal.sqlite")
        self._staging = self._folder / STATE / "staging"
        self._replaced = self._folder / STATE / "replaced"
        self._running: dict[str, tuple[PlannedJob, int, int]] = {}  # attempt, worker
        self._made = self._failed = self._stillborn = self._places = 0
        self._busy = 0.0
        self._began = time.monotonic()
        self._pool: Pool | None = None
        self._copier = None if copies is None else Copier(copies, stop)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.stop(0.0)
        if self._copier is not None:
            self._copier.close()
        self._clear_staging()
        self._journal.close()
        self._events.close()

    def run(self) -> Outcome:
        self._recover()
        inputs = open_inputs(self._settings, self._folder / STATE / INPUTS, self._stop)
        plan = make_plan(self._settings, self._check_stop, inputs)
        if self._settings.cluster is None and self._members is None:  # idle ones are not begun
            self._workers = max(1, min(self._workers, len(plan.todo)))
        self._enter(plan)
        self._copy_done(plan)
        queue = JobQueue(plan.todo)
        if plan.todo and not self._stop.is_set():
            self._pool = self._make_pool()
            self._work(queue)
        left = bool(queue) or bool(self._running)
        copied, uncopied = self._end_copies()
        stopped = self._stop.is_set() and (left or not copied)
        outcome = Outcome(
            made=self._made,
            already_done=len(plan.done),
            failed=self._failed,
            rejected=len(plan.rejected),
            uncopied=uncopied,
            left=len(plan.todo) - self._made - self._failed,
            stopped=stopped,
            seconds=time.monotonic() - self._began,
            busy_seconds=self._busy,
        )
        if not stopped:
            self._events.tell("summary")
            run = Run(made=self._made, seconds=outcome.seconds, busy=self._busy, workers=self._workers)
            write_summary(self._folder, plan, self._journal.entries(), run)
        self._events.tell(
            "stopped" if stopped else "finished",
            made=outcome.made,
            already_done=outcome.already_done,
            failed=outcome.failed,
            rejected=outcome.rejected,
            uncopied=outcome.uncopied or None,
            left=outcome.left,
            seconds=round(outcome.seconds, 3),
            busy_seconds=round(outcome.busy_seconds, 3),
        )
        return outcome

    def _copy_done(self, plan: Plan) -> None:
        """Results of earlier renders that have no whole copy yet."""
        for planned, _ in plan.done:
            if self._copier is not None and not self._stop.is_set():
                self._copier.add(self._folder / planned.job.id)

    def _end_copies(self) -> tuple[bool, int]:
        """Whether every result had its turn to be copied, and how many could not be."""
        if self._copier is None:
            return True, 0
        through = self._copier.finish()
        failures = dict(self._copier.failures)
        for id, reason in failures.items():
            self._events.tell("copy_failed", id=id, reason=reason)
        return through, len(failures)

    def _make_pool(self) -> Pool:
        settings = self._settings
        worker = WorkerSettings(runner=settings.runner, threads=settings.threads, writers=settings.writers)
        if settings.cluster is not None:
            from .cluster import RayPool

            return RayPool(worker, self._workers, settings.cluster)
        if self._members is not None:
            return GroupPool(worker, self._members)
        return LocalPool(worker, self._workers)

    def _recover(self) -> None:
        """Put away what an engine that was killed left behind."""
        try:
            self._put_back()
            if self._staging.exists():
                shutil.rmtree(self._staging)
            self._staging.mkdir()
        except OSError as error:
            raise output_error(self._staging, error) from error
        if self._journal.rebuilt:
            found = self._journal.rebuild(self._folder)
            self._events.tell("journal_rebuilt", results=found)

    def _put_back(self) -> None:
        """Old results whose new ones did not get to their place: ended between two renames, they are still whole."""
        if not self._replaced.is_dir():
            return
        for old in self._replaced.iterdir():
            if not os.path.lexists(self._folder / old.name):
                os.replace(old, self._folder / old.name)
        shutil.rmtree(self._replaced)

    def _clear_staging(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        with suppress(OSError):  # the next engine tries again; nothing is removed that has no other place
            self._put_back()

    def _check_stop(self, row: int) -> None:
        if self._stop.is_set():
            raise Cancelled(f"stopped at row {row} of the list, before anything was rendered")

    def _enter(self, plan: Plan) -> None:
        self._events.tell(
            "started",
            todo=len(plan.todo),
            redo=len(plan.redo) or None,
            already_done=len(plan.done),
            rejected=len(plan.rejected),
            workers=self._workers,
        )
        for rejection in plan.rejected:
            self._events.tell("job_rejected", row=rejection.row, id=rejection.id, reason=rejection.reason)
        for id in self._journal.adopt(plan):
            self._events.tell("job_adopted", id=id)
        self._journal.forget_missing(self._folder, (one.job.id for one in plan.todo))

    def _work(self, queue: JobQueue) -> None:
        pool = self._pool
        assert pool is not None
        while (queue or self._running) and not self._stop.is_set():
            self._hand_out(pool, queue)
            for message in pool.poll(_POLL_SECONDS):
                self._hear(message, queue)
        if self._stop.is_set():
            for message in pool.stop(STOP_SECONDS):
                if isinstance(message, Staged):
                    self._hear(message, queue)
        else:
            pool.close()
            self._pool = None

    def _hand_out(self, pool: Pool, queue: JobQueue) -> None:
        for opening in pool.openings():
            due = queue.due(time.monotonic())
            if due is not None:
                if opening.empty:
                    queue.drop_due()
                    self._submit(pool, opening.worker, *due)
                continue  # this worker is left to run empty, for the job that is tried again
            planned = queue.take(opening.model)
            if planned is None:
                return
            self._submit(pool, opening.worker, planned, 1)

    def _submit(self, pool: Pool, worker: int, planned: PlannedJob, attempt: int) -> None:
        self._places += 1
        self._running[planned.job.id] = planned, attempt, worker
        staging = self._staging / f"{self._places:x}"
        pool.submit(worker, Task(planned=planned, staging=staging, attempt=attempt))

    def _hear(self, message: Message, queue: JobQueue) -> None:
        if isinstance(message, Started):
            _, attempt, worker = self._running[message.id]
            self._stillborn = 0
            self._events.tell(
                "job_started", id=message.id, worker=worker, attempt=attempt if attempt > 1 else None
            )
        elif isinstance(message, Staged):
            self._commit(message)
        elif isinstance(message, Failed):
            self._judge(message, queue)
        elif isinstance(message, Lost):
            self._replace_lost(message, queue)

    def _commit(self, staged: Staged) -> None:
        """The one place where a result appears."""
        planned, attempt, worker = self._running.pop(staged.id)
        target = self._folder / staged.id
        try:
            if os.path.lexists(target):
                self._replaced.mkdir(exist_ok=True)
                os.replace(target, self._replaced / staged.id)
                os.replace(staged.folder, target)
                shutil.rmtree(self._replaced / staged.id)
            else:
                os.replace(staged.folder, target)
        except OSError as error:
            raise output_error(target, error) from error
        if self._copier is not None:
            self._copier.add(target)
        self._made += 1
        self._busy += staged.seconds
        self._journal.done(staged.id, planned.digest, attempt, staged.seconds, staged.write_seconds)
        self._events.tell(
            "job_done",
            id=staged.id,
            row=planned.row,
            worker=worker,
            attempt=attempt if attempt > 1 else None,
            seconds=round(staged.seconds, 3),
            write_seconds=round(staged.write_seconds, 3),
            recomposition_error=staged.receipt.facts.get("recomposition_error"),
            peak_memory_mib=staged.peak_memory_mib,
        )

    def _judge(self, failed: Failed, queue: JobQueue) -> None:
        planned, attempt, _ = self._running.pop(failed.id)
        if failed.kind == "cancelled":
            queue.give_back(planned)
            return
        if failed.kind in ("passing", "place") and attempt <= self._settings.retries:
            seconds = queue.again(planned, attempt + 1, time.monotonic(), self._settings.backoff)
            self._journal.waiting(failed.id, attempt, failed.reason)
            self._events.tell(
                "job_retried",
                id=failed.id,
                attempt=attempt,
                reason=failed.reason,
                wait=seconds,
                trace=failed.trace,
            )
            return
        if failed.kind == "place":  # every other job would fail the same way
            self._journal.waiting(failed.id, attempt, failed.reason)
            raise OutputError(f"{failed.reason.rstrip('.')}; then give the same command again")
        self._failed += 1
        self._journal.failed(failed.id, attempt, failed.reason)
        self._events.tell(
            "job_failed",
            id=failed.id,
            row=planned.row,
            attempts=attempt,
            reason=failed.reason,
            trace=failed.trace,
        )

    def _replace_lost(self, lost: Lost, queue: JobQueue) -> None:
        self._events.tell("worker_lost", reason=lost.reason, jobs=len(lost.suspects) or None)
        for id in lost.innocent:
            planned, attempt, _ = self._running.pop(id)
            if attempt > 1:
                queue.again(planned, attempt, time.monotonic(), 0.0)
            else:
                queue.give_back(planned)
        for id in lost.suspects:
            self._judge(Failed(id=id, reason=lost.reason, kind="passing"), queue)
        self._stillborn = 0 if lost.suspects else self._stillborn + 1
        if self._stillborn >= _MOST_STILLBORN * self._workers:
            raise AcetateError(f"workers end before they begin ({lost.reason}): run `acetate doctor`")
