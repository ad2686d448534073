"""What engine and workers say to each other; plain values that travel between processes and machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .plan import PlannedJob
from .receipts import Receipt

Kind = Literal["final", "passing", "place", "cancelled"]
"""final: the same again would fail again. passing: it may pass. place: results cannot be written. cancelled: stopped."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job for a worker, and the empty place for its files."""

    planned: PlannedJob
    staging: Path
    attempt: int


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker must know before its first job."""

    runner: str
    threads: int
    writers: int


@dataclass(frozen=True, kw_only=True)
class Started:
    id: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """The model has done its part; the document waits for a writer."""

    id: str


@dataclass(frozen=True, kw_only=True)
class Staged:
    """All files of a result are complete and on disk in ``folder``, waiting to be put in their place."""

    id: str
    folder: Path
    receipt: Receipt
    seconds: float
    """Of the model."""
    write_seconds: float
    peak_memory_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    id: str
    reason: str
    kind: Kind
    fresh: bool = False
    """Whether the worker should be replaced before it does anything else."""
    trace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker is gone. ``suspects`` had been started, ``innocent`` jobs only waited there."""

    reason: str
    suspects: tuple[str, ...] = field(default=())
    innocent: tuple[str, ...] = field(default=())


Message = Started | Made | Staged | Failed | Lost
