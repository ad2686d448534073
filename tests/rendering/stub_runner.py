"""A stand-in for the model, imported by workers: a prompt of words such as "sleep 0.2" or "die once" says what happens."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

from acetate.errors import Cancelled, InputError
from acetate.layers.document import Layer, LayeredImage
from acetate.rendering.plan import PlannedJob
from acetate.rendering.renderer import RunJob


def open_runner(threads: int, index: int) -> RunJob:
    """Touches ``$ACETATE_STUB_LOG/<id>.<pid>.<n>`` for every start, so that tests can count them."""
    return run_job


def first_time(id: str) -> bool:
    folder = Path(os.environ["ACETATE_STUB_LOG"])
    count = len(list(folder.glob(f"{id}.*")))
    (folder / f"{id}.{os.getpid()}.{count}").touch()
    return count == 0


def run_job(planned: PlannedJob, on_progress: object, cancel: threading.Event) -> LayeredImage:
    fresh = first_time(planned.job.id)
    word, _, rest = (planned.job.prompt or "").partition(" ")
    if word == "sleep":
        deadline = time.monotonic() + float(rest)
        while time.monotonic() < deadline:
            if cancel.is_set():
                raise Cancelled("stopped")
            time.sleep(0.01)
    elif word == "deaf":
        time.sleep(float(rest))
    elif word == "die" and (fresh or rest == "always"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "memory" and fresh:
        raise MemoryError
    elif word == "limit":  # this worker may have so many MiB more than it has
        limit_memory(int(rest))
        allocate(2 * int(rest))
    elif word == "allocate":
        allocate(int(rest))
    elif word == "hiccup" and (fresh or rest == "always"):
        raise ConnectionResetError("the store hung up")
    elif word == "accelerator" and fresh:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    elif word == "bug":
        raise KeyError("nonsense")
    elif word == "refuse":
        raise InputError("the picture is fully transparent")
    return document(planned.job.seed, 256 if word == "big" else 16)


def limit_memory(mib: int) -> None:
    """What the system would do to a process that may not have more: every further request fails."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + (mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def allocate(mib: int) -> None:
    """Pictures that are really there: every page of them is written."""
    pictures = [np.ones((1 << 20,), np.uint8) for _ in range(mib)]
    assert sum(int(picture[-1]) for picture in pictures) == mib


def document(seed: int, side: int) -> LayeredImage:
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 4), np.uint8)
    ground = Layer(name="Background", pixels=np.full((side, side, 4), 255, np.uint8))
    return LayeredImage(width=side, height=side, layers=(ground, Layer(name="Noise", pixels=noise)))
