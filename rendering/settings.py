"""What a whole render is told: its list, its place, its workers. Checked where it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from .variables import Sweep

RUNNER = "acetate.rendering.tasks:open_runner"


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """Raises InputError, in the words of the command line, for values that cannot be."""

    jobs: Path
    """The list: .jsonl, .csv, or a folder of pictures."""
    folder: Path
    """Where results go, one folder each."""
    inputs: Path | None = None
    """Where relative inputs lie, and the only folder they may come from; by default the list's own."""
    inputs_url: str | None = None
    """A folder of an object store that inputs come from instead, as fsspec writes it."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Fields and variables for jobs that do not say them."""
    sweeps: tuple[Sweep, ...] = ()
    workers: int = 1
    threads: int = 1
    """CPU threads of a worker. The same whatever the number of workers, since sums may depend on it."""
    writers: int = 2
    """Threads of a worker that encode and write what the model has made."""
    retries: int = 2
    """How often a job is tried again after a failure that may pass."""
    backoff: float = 1.0
    """Seconds before the first new try; each next waits twice as long, at most a minute."""
    max_megapixels: int = 100
    """Larger inputs are rejected."""
    cluster: str | None = None
    """Address of a Ray cluster, or "auto"."""
    copy_to: str | None = None
    """A folder of an object store, as fsspec writes it, that gets a copy of every result."""
    runner: str = RUNNER
    """``module:function``: called in a worker with its threads and its number, it returns what makes the document of a
    planned job. Another one than the default serves to measure the engine by itself."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("workers", 1, 1024),
            ("threads", 1, 1024),
            ("writers", 1, 64),
            ("retries", 0, 100),
            ("max_megapixels", 1, 268),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must lie between {least} and {most}, not {value!r}")
        if self.inputs_url is not None and (self.inputs is not None or self.jobs.is_dir()):
            raise InputError("--inputs with a URL needs a list that names the inputs: a .jsonl or .csv file")
        names = [sweep.name for sweep in self.sweeps]
        if len(set(names)) < len(names):
            raise InputError("--vary names the same field twice: write all its values into one")

    @property
    def root(self) -> Path:
        """The folder that inputs may come from, resolved. Raises InputError when it is none."""
        chosen = self.inputs or (self.jobs if self.jobs.is_dir() else self.jobs.parent)
        if not chosen.is_dir():
            raise InputError(
                f"{self.jobs} does not exist: give a .jsonl or .csv file, or a folder of pictures"
                if self.inputs is None
                else f"--inputs {chosen} is not a folder"
            )
        return chosen.resolve()
