"""Workers on a Ray cluster: actors that keep a model each, wherever Ray puts them.

Ray places actors, carries tasks and notices lost nodes; what an actor does is the same :class:`Renderer` as on one machine.
Inputs and the folder of results must be the same paths on every node (a shared disk): an actor stages its files there and
the engine, alone, renames them into place.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from typing import Any

from ..errors import InputError
from .holdings import WAITING, Opening
from .messages import Failed, Lost, Message, Staged, Started, Task, WorkerSettings
from .oom import REMEDY
from .renderer import Renderer, failure

_KEPT_VARIABLES = ("ACETATE_", "HF_")
_MOST_NODES = 3


class Craftsman:
    """The actor: makes one document at a time, and writes those made before in the meantime."""

    def __init__(self, settings: WorkerSettings, index: int) -> None:
        self._renderer = Renderer(settings, index)
        self._making = threading.Lock()
        self._cancel = threading.Event()

    def ready(self) -> bool:
        """Answers once the actor is there."""
        return True

    def cancel(self) -> None:
        """Whatever is being made ends soon; writes go on."""
        self._cancel.set()

    def run(self, task: Task) -> Message:
        """The staged result of a task, or why there is none."""
        try:
            with self._making:
                document, seconds = self._renderer.make(task, _unseen, self._cancel)
            return self._renderer.stage(task, document, seconds)
        # The wall between one job and all the others, as in process.py.
        except Exception as error:
            return failure(task.planned.job.id, error, task.staging)


def _unseen(phase: str, step: int, steps: int, remaining: float | None) -> None:
    return None


class _Seat:
    """One actor's place: the actor that has it now and the jobs it holds, in the order they came."""

    def __init__(self, index: int, actor: Any, ready: Any) -> None:
        self.index = index
        self.actor = actor
        self.ready: Any = ready
        self.held: dict[str, Any] = {}
        self.alone = False
        self.model: str | None = None


class RayPool:
    """:class:`~acetate.rendering.pool.Pool` on Ray. ``address``: "local" for a cluster of this machine alone, "auto" for
    the one it belongs to, or ``ray://HOST:PORT``. Raises InputError without Ray or cluster."""

    def __init__(self, settings: WorkerSettings, workers: int, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ModuleNotFoundError as error:
            raise InputError("--cluster needs Ray: `pip install 'acetate[cluster]'` brings it") from error
        self._ray = ray
        self._settings = settings
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address, workers * settings.threads)
        gpus = 1 if ray.cluster_resources().get("GPU", 0) else 0
        threads = {
            name: str(settings.threads)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT_VARIABLES)}
        self._kind = ray.remote(Craftsman).options(
            num_cpus=settings.threads,
            num_gpus=gpus,
            max_concurrency=settings.writers + WAITING + 2,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {**threads, **kept, "TOKENIZERS_PARALLELISM": "false"}},
        )
        self._seats = [self._seat(index) for index in range(workers)]
        self._said: list[Message] = []
        self._losses: Counter[str] = Counter()

    def _seat(self, index: int) -> _Seat:
        actor = self._kind.remote(self._settings, index)
        return _Seat(index, actor, actor.ready.remote())

    def openings(self) -> list[Opening]:
        """Actors that Ray has found a place for."""
        most = self._settings.writers + WAITING
        return [
            Opening(worker=seat.index, model=seat.model, empty=not seat.held)
            for seat in sorted(self._seats, key=lambda seat: len(seat.held))
            if seat.ready is None and not seat.alone and len(seat.held) <= most
        ]

    def submit(self, worker: int, task: Task) -> None:
        seat = self._seats[worker]
        id = task.planned.job.id
        seat.held[id] = seat.actor.run.remote(task)
        seat.model = task.planned.model or seat.model
        seat.alone = task.attempt > 1
        self._said.append(Started(id=id))

    def poll(self, seconds: float) -> list[Message]:
        found, self._said = self._said, []
        pending = {seat.ready: (seat, None) for seat in self._seats if seat.ready is not None}
        pending |= {future: (seat, id) for seat in self._seats for id, future in seat.held.items()}
        if not pending:
            time.sleep(seconds)
            return found
        done, _ = self._ray.wait(list(pending), num_returns=len(pending), timeout=0 if found else seconds)
        if not done and not found:
            done, _ = self._ray.wait(list(pending), num_returns=1, timeout=0)
        for future in done:
            seat, id = pending[future]
            if seat in self._seats:  # it may have been replaced a moment ago
                found += self._hear(seat, id, future)
        return found

    def _hear(self, seat: _Seat, id: str | None, future: Any) -> list[Message]:
        try:
            message = self._ray.get(future)
        except self._ray.exceptions.RayError as error:
            return [self._replace(seat, error)]
        if id is None:
            seat.ready = None
            return []
        assert isinstance(message, Staged | Failed)
        del seat.held[id]
        seat.alone = seat.alone and bool(seat.held)
        found: list[Message] = [message]
        if isinstance(message, Failed) and message.fresh:
            self._ray.kill(seat.actor)
            found.append(self._replace(seat, None))
        return found

    def _replace(self, seat: _Seat, error: Exception | None) -> Lost:
        """Another actor for a seat whose actor is gone. The job it had longest is suspected, unless its node went; one
        that saw three nodes go is suspected too."""
        reason, fault = ("it was replaced after an error", False) if error is None else why_lost(error)
        held = list(seat.held)
        if error is not None and held:
            self._losses[held[0]] += 1
            fault = fault or self._losses[held[0]] >= _MOST_NODES
        self._seats[seat.index] = self._seat(seat.index)
        suspects = tuple(held[:1]) if fault else ()
        return Lost(reason=reason, suspects=suspects, innocent=tuple(id for id in held if id not in suspects))

    def stop(self, seconds: float) -> list[Message]:
        deadline = time.monotonic() + seconds
        for seat in self._seats:
            if seat.ready is None:
                seat.actor.cancel.remote()
        found: list[Message] = []
        while any(seat.held for seat in self._seats) and (left := deadline - time.monotonic()) > 0:
            found += self.poll(min(left, 0.1))
        self._end()
        return found

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._seats = []
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()


def why_lost(error: Exception) -> tuple[str, bool]:
    """What ended an actor, in words, and whether its job may be to blame."""
    words = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError" or "low on memory" in words.lower():
        return f"out of memory: Ray ended its worker; {REMEDY}", True
    return f"its worker on the cluster is gone ({words[:200]})", "node" not in words.lower()


def _knock(address: str) -> None:
    """Raises InputError at once where nobody answers; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--cluster {address} must be auto, local, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise InputError(
            f"--cluster {address} cannot be reached ({error.strerror or error}): start it with `ray start --head`"
        ) from error


def _connect(ray: Any, address: str, cpus: int) -> None:
    local = address == "local"
    if address not in ("local", "auto"):
        _knock(address)
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    where: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if local else {"address": address}
    try:
        ray.init(logging_level="error", log_to_driver=False, **where)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(
            f"--cluster {address} cannot be reached ({reason}): start it with `ray start --head`"
        ) from error
    finally:
        if main:
            for number, handler in handlers.items():  # Ray puts its own in their place
                signal.signal(number, handler)
