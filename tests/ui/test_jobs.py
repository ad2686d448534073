"""The worker: order, positions, progress, cancel, failure."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator

import pytest

from acetate.errors import Cancelled, InputError, OutputError
from acetate.ui.failures import NO_DISK
from acetate.ui.jobs import Job, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(max_waiting=2)
    yield worker
    worker.close()


class Slow:
    """Work that waits until it is told to end, or is cancelled."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> str:
        self.started.set()
        while not self.release.wait(0.005):
            if job.cancel.is_set():
                raise Cancelled("stopped")
            job.report("denoise", 1, 50, 9.0)
        return "document"


def wait(job: Job) -> Job:
    for _ in range(1000):
        if job.finished:
            return job
        threading.Event().wait(0.005)
    raise AssertionError(f"the job did not end: {job.status}")


def test_one_after_the_other_with_positions(worker: Worker) -> None:
    works = [Slow() for _ in range(3)]
    jobs = [worker.submit(Job(owner="0", task="t", work=works[0]))]
    assert works[0].started.wait(5)
    jobs += [worker.submit(Job(owner=str(n), task="t", work=works[n])) for n in (1, 2)]
    assert [worker.snapshot(job)["position"] for job in jobs] == [0, 1, 2] and worker.busy() == {
        "0",
        "1",
        "2",
    }
    with pytest.raises(InputError, match="Too many"):
        worker.submit(Job(owner="4", task="t", work=Slow()))
    with pytest.raises(InputError, match="under way"):
        worker.submit(Job(owner="0", task="t", work=Slow()))
    works[0].release.set()
    assert wait(jobs[0]).status == "done" and jobs[0].document == "document"
    assert works[1].started.wait(5)
    assert [worker.snapshot(job)["position"] for job in jobs[1:]] == [0, 1] and worker.busy() == {"1", "2"}
    for work in works:
        work.release.set()
    assert wait(jobs[2]).status == "done"


def test_cancel_while_running_and_while_waiting(worker: Worker) -> None:
    first, second = Slow(), Slow()
    running = worker.submit(Job(owner="a", task="t", work=first))
    waiting = worker.submit(Job(owner="b", task="t", work=second))
    assert first.started.wait(5)
    assert worker.cancel("b") and waiting.status == "cancelled" and not second.started.is_set()
    assert worker.cancel("a") and wait(running).status == "cancelled"
    assert not worker.cancel("a") and not worker.cancel("nobody")
    again = worker.submit(Job(owner="a", task="t", work=lambda job: "fresh"))
    assert wait(again).document == "fresh"


def test_failures_are_told_in_words_and_the_worker_lives(worker: Worker) -> None:
    def wrong(job: Job) -> str:
        raise InputError("The picture is empty.")

    def broken(job: Job) -> str:
        raise RuntimeError("secret detail")

    assert wait(worker.submit(Job(owner="a", task="t", work=wrong))).error == "The picture is empty."
    failed = wait(worker.submit(Job(owner="a", task="t", work=broken)))
    assert failed.status == "failed" and "secret" not in str(failed.error)

    def full(job: Job) -> str:
        raise OutputError("secret/place: the disk is full")

    failed = wait(worker.submit(Job(owner="a", task="t", work=full)))
    assert failed.status == "failed" and failed.error == NO_DISK
    assert wait(worker.submit(Job(owner="a", task="t", work=lambda job: "x"))).status == "done"


def test_a_job_is_found_by_its_owner_only(worker: Worker) -> None:
    job = worker.submit(Job(owner="a", task="t", work=lambda job: "x"))
    assert worker.find("a", job.id) is job
    for owner, name in (("b", job.id), ("a", "x"), ("a", None)):
        with pytest.raises(InputError):
            worker.find(owner, name)


def test_whoever_waits_is_told_of_the_end_at_once(worker: Worker) -> None:
    """When it ends by itself, when it is cancelled before it began, and when it has ended already."""
    work, told = Slow(), [threading.Event() for _ in range(3)]
    running = worker.submit(Job(owner="a", task="t", work=work))
    assert work.started.wait(5)
    waiting = worker.submit(Job(owner="b", task="t", work=Slow()))
    worker.when_ended(running, told[0].set)
    worker.when_ended(waiting, told[1].set)
    assert worker.cancel("b") and told[1].is_set() and not told[0].is_set()
    work.release.set()
    assert told[0].wait(5) and running.finished
    worker.when_ended(running, told[2].set)
    assert told[2].is_set() and running.on_end == []


def test_what_was_cancelled_too_late_for_the_model_is_not_kept(worker: Worker) -> None:
    kept, stop = [], threading.Event()

    def work(job: Job) -> str:
        stop.set()
        assert job.cancel.wait(5)  # the model is done and did not notice
        job.check()
        kept.append(job)
        return "document"

    job = worker.submit(Job(owner="a", task="t", work=work))
    assert stop.wait(5) and worker.cancel("a")
    assert wait(job).status == "cancelled" and job.document is None and kept == []


def test_a_run_that_has_ended_holds_nothing_of_its_document(worker: Worker) -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch calls its own."""

    class Work:
        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def __call__(self, job: Job) -> str:
            if self.fails:
                raise OutOfMemoryError("CUDA")
            return "document"

    for fails, status in ((False, "done"), (True, "failed")):
        work = Work(fails)
        gone = weakref.ref(work)
        job = worker.submit(Job(owner="0", task="t", work=work))
        del work
        assert wait(job).status == status and worker.find("0", job.id) is job
        for _ in range(400):  # the worker's own frame lets go a moment later
            if gone() is None:
                break
            threading.Event().wait(0.005)
        assert gone() is None
    assert job.error is not None and job.error.startswith("The memory ran out")


def test_jobs_wait_for_what_is_prepared(worker: Worker) -> None:
    """In one thread, and so one after the other; who waits is told what for, and can give up."""
    ready, release, threads = threading.Event(), threading.Event(), []

    def first() -> None:
        threads.append(threading.current_thread())
        ready.set()
        assert release.wait(5)

    def work(job: Job) -> str:
        threads.append(threading.current_thread())
        return "document"

    worker.prepare(first)
    assert ready.wait(5)
    jobs = [worker.submit(Job(owner=owner, task="t", work=work)) for owner in "ab"]
    seen = [worker.snapshot(job) for job in jobs]
    assert [(one["status"], one["position"], one["phase"]) for one in seen] == [
        ("queued", 0, "load"),
        ("queued", 1, "queued"),
    ]
    assert worker.cancel("a") and jobs[0].status == "cancelled"
    assert worker.snapshot(jobs[1])["phase"] == "load" and worker.snapshot(jobs[0])["phase"] == "queued"
    release.set()
    assert wait(jobs[1]).status == "done" and len(threads) == 2 and threads[0] is threads[1]


def test_what_cannot_be_prepared_is_logged_and_runs_go_on(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def first() -> None:
        raise ImportError("half a library")

    worker.prepare(first)
    assert wait(worker.submit(Job(owner="a", task="t", work=lambda job: "x"))).status == "done"
    assert "could not be prepared" in caplog.text and "half a library" in caplog.text


def test_the_end_does_not_wait_for_what_is_prepared() -> None:
    worker, release, ready = Worker(), threading.Event(), threading.Event()

    def first() -> None:
        ready.set()
        release.wait(20)

    worker.prepare(first)
    assert ready.wait(5)
    job = worker.submit(Job(owner="a", task="t", work=lambda job: "x"))
    worker.close()
    assert job.status == "cancelled" and not release.is_set()
    release.set()
    worker._thread.join(timeout=5)
    assert not worker._thread.is_alive()
