"""Stopping a run between two transformer blocks. Knows modules and an event only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from ..errors import Cancelled


def check_cancelled(cancel: threading.Event | None) -> None:
    """Raises Cancelled when the event is set."""
    if cancel is not None and cancel.is_set():
        raise Cancelled("The run was stopped before it finished; nothing was written.")


@contextmanager
def cancellable(modules: Iterable[nn.Module], cancel: threading.Event | None) -> Iterator[None]:
    """While open, every call of one of ``modules`` first checks ``cancel`` and raises Cancelled when it is
    set.

    Without an event nothing is installed. On leaving, exactly the hooks installed here are removed.
    """
    if cancel is None:
        yield
        return

    def check(module: nn.Module, args: object) -> None:
        check_cancelled(cancel)

    handles = [module.register_forward_pre_hook(check) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
