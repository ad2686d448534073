"""The process group of `accelerate launch`: every process keeps one worker on its own accelerator, rank 0 has the engine.

accelerate brings the processes together and tells each its place; torch.distributed carries the address at which rank 0
listens, and from then on they speak as engine and worker do on one machine. A member renders in a child of its own, so that
a job that kills its worker costs the group nothing: launchers end a whole group when one of its processes ends.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any

from .holdings import Holdings, Opening
from .messages import Message, Task, WorkerSettings
from .pool import LocalPool
from .process import FINISH, STOP

STOP_SECONDS = 1.2
"""How long a member's worker may go on writing; a little less than the engine waits for the member."""
_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "MASTER_ADDR")
_LAUNCHERS = ("TORCHELASTIC_", "GROUP_", "ROLE_", "LOCAL_WORLD_SIZE", *_VARIABLES)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which process of the group this one is. ``local`` counts the processes of one machine and names its accelerator."""

    rank: int
    local: int
    size: int
    one_machine: bool


def find_place() -> Place | None:
    """The place that a launcher gave this process, None where it runs by itself or alone."""
    values = {name: os.environ.get(name, "") for name in _VARIABLES}
    numbers = {name: int(values[name]) for name in _VARIABLES if values[name].isdecimal()}
    if not values["MASTER_ADDR"] or len(numbers) < 4 or numbers["WORLD_SIZE"] < 2:
        return None
    return Place(
        rank=numbers["RANK"],
        local=numbers["LOCAL_RANK"],
        size=numbers["WORLD_SIZE"],
        one_machine=os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"],
    )


@dataclass(frozen=True, kw_only=True)
class Members:
    """The group as rank 0 sees it: its own place, and a connection to every other process in the order of their ranks."""

    place: Place
    connections: tuple[Connection, ...]


@contextmanager
def open_group(place: Place) -> Iterator[Members]:
    """Rank 0: the others, once all of them are there."""
    address = None if place.one_machine else (os.environ["MASTER_ADDR"], 0)
    key = secrets.token_bytes(32)
    members: dict[int, Connection] = {}
    try:
        with Listener(address, backlog=place.size, authkey=key) as listener, _joined() as tell:
            tell([listener.address, key])
            while len(members) < place.size - 1:
                with suppress(AuthenticationError, EOFError, OSError):  # somebody who is not of the group
                    connection = listener.accept()
                    members[connection.recv()] = connection
        yield Members(place=place, connections=tuple(members[rank] for rank in sorted(members)))
    finally:
        for connection in members.values():
            with suppress(OSError):  # it has ended already
                connection.send(FINISH)
            connection.close()


def serve(place: Place) -> int:
    """Every other rank: keep a worker for the engine until it says that all is done; the exit status."""
    with _joined() as tell:
        address, key = tell([None, None])
    connection = Client(address, authkey=key)
    connection.send(place.rank)
    for number in (signal.SIGINT, signal.SIGTERM):  # the engine hears them too, and tells what they mean
        signal.signal(number, signal.SIG_IGN)
    try:
        return _serve(connection, place.local)
    except (EOFError, OSError):  # the engine is gone
        return 1
    finally:
        connection.close()


def _serve(connection: Connection, index: int) -> int:
    word: Any = connection.recv()
    if not isinstance(word, WorkerSettings):  # it had nothing to do
        return 0
    pool = LocalPool(word, 1, first=index)
    try:
        while True:
            wait([connection, *pool.connections()])
            while connection.poll(0):
                word = connection.recv()
                if word == FINISH:
                    pool.close()
                    return 0
                if word == STOP:
                    for message in pool.stop(STOP_SECONDS):
                        connection.send(message)
                    return 0
                pool.submit(0, word)
            for message in pool.poll(0):
                connection.send(message)
    finally:
        pool.stop(0.0)


@contextmanager
def _joined() -> Iterator[Any]:
    """Be in the process group; yields a function that every rank calls once with a list and gets that of rank 0."""
    from datetime import timedelta

    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # Words alone are exchanged, so that no rank needs to wake its accelerator: its worker does.
    patience = timedelta(hours=24)
    if restart := os.environ.get("TORCHELASTIC_RESTART_COUNT"):
        # The launcher's store outlives a group that it starts again, the addresses of the dead ranks included.
        import torch.distributed as dist

        store, rank, size = next(dist.rendezvous("env://", timeout=patience))
        own = dist.PrefixStore(f"acetate/{restart}", store)
        dist.init_process_group("gloo", store=own, rank=rank, world_size=size, timeout=patience)
    state = PartialState(cpu=True, timeout=patience)
    try:
        yield broadcast_object_list
    finally:
        state.destroy_process_group()
        for name in [name for name in os.environ if name.startswith(_LAUNCHERS)]:
            del os.environ[name]  # a worker is no member: nothing that it calls may wait for a group


class _Member:
    """Another process of the group, None once it is gone, and what its worker holds."""

    def __init__(self, connection: Connection) -> None:
        self.connection: Connection | None = connection
        self.holdings = Holdings()


class GroupPool:
    """:class:`~acetate.rendering.pool.Pool` of a process group: worker 0 is this process's own, worker r that of rank r."""

    def __init__(self, settings: WorkerSettings, members: Members) -> None:
        self._own = LocalPool(settings, 1, first=members.place.local)
        self._members = [_Member(connection) for connection in members.connections]
        self._tell(settings)

    def openings(self) -> list[Opening]:
        found = self._own.openings()
        for worker, member in enumerate(self._members, start=1):
            opening = member.holdings.opening(worker)
            if opening is not None and member.connection is not None:
                found.append(opening)
        return sorted(found, key=lambda opening: not opening.empty)

    def submit(self, worker: int, task: Task) -> None:
        if worker == 0:
            self._own.submit(0, task)
            return
        member = self._members[worker - 1]
        assert member.connection is not None
        member.holdings.take(task)
        with suppress(OSError):  # where it has died, poll will find it and give the job back
            member.connection.send(task)

    def poll(self, seconds: float) -> list[Message]:
        there = {member.connection: member for member in self._members if member.connection is not None}
        ready = wait([*self._own.connections(), *there], seconds)
        found: list[Message] = self._own.poll(0) if self._own.connections() else []
        for connection in ready:
            if (member := there.get(connection)) is not None:  # type: ignore[call-overload]
                found += self._hear(member)
        return found

    def _hear(self, member: _Member) -> list[Message]:
        assert member.connection is not None
        found: list[Message] = []
        try:
            while member.connection.poll(0):
                message = member.connection.recv()
                member.holdings.note(message)
                found.append(message)
        except (EOFError, OSError):
            member.connection.close()
            member.connection = None
            # Jobs run in a child of that process: whatever ended it was not one of them.
            found.append(member.holdings.lose("a process of the group is gone", suspected=False))
        return found

    def stop(self, seconds: float) -> list[Message]:
        deadline = time.monotonic() + seconds
        self._tell(STOP)
        self._own.tell(STOP)
        found: list[Message] = []
        while self._own.connections() or any(member.connection is not None for member in self._members):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            found += self.poll(min(left, 0.1))
        self._own.end()
        return found

    def close(self) -> None:
        self._tell(FINISH)
        self._own.close()

    def _tell(self, word: object) -> None:
        for member in self._members:
            if member.connection is not None:
                with suppress(OSError):  # it has ended already
                    member.connection.send(word)
