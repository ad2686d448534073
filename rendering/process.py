"""A worker's process: takes tasks from a pipe, makes documents one at a time, has them written by a few threads.

The queue before the writers is short: when they cannot keep up, the model waits, and memory stays bounded. When the
engine is gone the process goes too; what it had staged is nobody's and is cleared by the next engine.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from ..layers.document import LayeredImage
from .messages import Made, Message, Started, Task, WorkerSettings
from .oom import MEMORY_STATUS
from .renderer import Renderer, failure

STOP, FINISH = "stop", "finish"
_Work = tuple[Task, LayeredImage, float]


def work(connection: Connection, settings: WorkerSettings, index: int) -> None:
    """The process's main function; returns when the engine says so."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes; the engine tells what it means
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(settings.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _or_end(_Worker(connection, settings, index).run)


class _Worker:
    def __init__(self, connection: Connection, settings: WorkerSettings, index: int) -> None:
        self._connection = connection
        self._renderer = Renderer(settings, index)
        self._sending = threading.Lock()
        self._inbox: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._outbox: queue.Queue[_Work | None] = queue.Queue(maxsize=settings.writers)
        self._cancel = threading.Event()
        self._writers = [
            threading.Thread(target=_or_end, args=(self._write,), name=f"writer-{number}", daemon=True)
            for number in range(settings.writers)
        ]

    def run(self) -> None:
        for writer in self._writers:
            writer.start()
        threading.Thread(target=_or_end, args=(self._listen,), name="listener", daemon=True).start()
        while (task := self._inbox.get()) is not None:
            if not self._cancel.is_set():
                self._make(task)
        for _ in self._writers:
            self._outbox.put(None)
        for writer in self._writers:
            writer.join()
        self._connection.close()
        os._exit(0)  # torch takes its time to unload, and nothing is left to do

    def _listen(self) -> None:
        while True:
            try:
                word = self._connection.recv()
            except (EOFError, OSError):  # the engine is gone
                os._exit(1)
            if isinstance(word, Task):
                self._inbox.put(word)
                continue
            if word == STOP:
                self._cancel.set()
            self._inbox.put(None)
            return

    def _send(self, message: Message) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:  # the engine is gone
            os._exit(1)

    def _make(self, task: Task) -> None:
        id = task.planned.job.id
        self._send(Started(id=id))
        made = self._guarded(task, lambda: self._renderer.make(task, _unseen, self._cancel))
        if made is not None:
            self._outbox.put((task, *made))
            self._send(Made(id=id))

    def _write(self) -> None:
        while (work := self._outbox.get()) is not None:
            task, document, seconds = work
            staged = self._guarded(task, lambda: self._renderer.stage(task, document, seconds))  # noqa: B023
            if staged is not None:
                self._send(staged)
            del work, document

    def _guarded(self, task: Task, step):  # type: ignore[no-untyped-def]
        """The result of ``step``, or None after its failure was reported."""
        try:
            return step()
        # The wall between one job and all the others: whatever a job raises is that job's failure, with its trace.
        except Exception as error:
            self._send(failure(task.planned.job.id, error, task.staging))
            return None


def _or_end(step: Callable[[], None]) -> None:
    """Run a thread's main function. Where it fails the whole process ends, and the engine gives its jobs to another:
    a worker with a thread less would keep them for ever."""
    try:
        step()
    except MemoryError:
        os._exit(MEMORY_STATUS)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _unseen(phase: str, step: int, steps: int, remaining: float | None) -> None:
    return None
