"""Where a render finds its inputs: in one folder of a disk, or in one of an object store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .places import find_input
from .plan import Find
from .settings import RenderSettings


def open_inputs(settings: RenderSettings, cache: Path, stop: threading.Event | None = None) -> Find:
    """The way from an input's name to its file. ``cache``: where what a store has is kept. Raises InputError."""
    if settings.inputs_url is None:
        root = settings.root
        return lambda name: find_input(name, root)
    from .fetching import RemoteInputs

    return RemoteInputs(settings.inputs_url, cache, stop).find


@contextmanager
def passing_inputs(settings: RenderSettings) -> Iterator[Find]:
    """The same for a look at a list that is to leave nothing behind."""
    with TemporaryDirectory(prefix="acetate-inputs-") as folder:
        yield open_inputs(settings, Path(folder))
