"""One worker's craft, whoever employs it: make the document of a job, write its files into a place of their own, say which.

The files are complete and on disk when :meth:`Renderer.stage` returns; putting them in their place is the engine's alone.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..errors import AcetateError, Cancelled, InputError, OutputError
from ..layers.document import LayeredImage
from ..layers.io import FORMATS, save_document
from ..layers.io.atomic import atomic_write, flushed_together, output_error
from ..progress import OnProgress
from ..report import host_peak_mib
from .messages import Failed, Kind, Staged, Task, WorkerSettings
from .oom import OUT_OF_MEMORY, is_out_of_memory
from .plan import PlannedJob
from .receipts import PREVIEW, RECEIPT, Receipt, file_hash

PREVIEW_SIDE = 192
STEM = "document"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})
_TRACE_LENGTH = 4000

RunJob = Callable[[PlannedJob, OnProgress, threading.Event], LayeredImage]


class Renderer:
    """Loads what jobs need once and keeps it. ``make`` is called by one thread at a time, ``stage`` by several."""

    def __init__(self, settings: WorkerSettings, index: int = 0) -> None:
        self._settings = settings
        self._index = index
        self._run: RunJob | None = None

    def make(
        self, task: Task, on_progress: OnProgress, cancel: threading.Event
    ) -> tuple[LayeredImage, float]:
        """The document and the seconds it took."""
        if self._run is None:
            module, function = self._settings.runner.split(":")
            self._run = getattr(import_module(module), function)(self._settings.threads, self._index)
        began = time.perf_counter()
        document = self._run(task.planned, on_progress, cancel)
        return document, time.perf_counter() - began

    def stage(self, task: Task, document: LayeredImage, seconds: float) -> Staged:
        """Write every output, a preview and the receipt into ``task.staging``. Raises OutputError or InputError."""
        began = time.perf_counter()
        folder = task.staging
        job = task.planned.job
        try:
            folder.mkdir()
        except OSError as error:
            raise output_error(folder, error) from error
        with flushed_together(folder):
            document_facts = _facts(document)
            for name in job.outputs:
                save_document(document, folder / f"{STEM}{_suffix(name)}", name)
            small = io.BytesIO()
            preview(document).save(small, "PNG")
            with atomic_write(folder / PREVIEW) as file:
                file.write(small.getbuffer())
            files = {
                file.relative_to(folder).as_posix(): (file.stat().st_size, file_hash(file))
                for file in (Path(place, name) for place, _, names in os.walk(folder) for name in names)
            }
            facts: dict[str, Any] = {"acetate": __version__, "job": job.settings(), **document_facts}
            if task.planned.source_hash is not None:
                facts["input_sha256"] = task.planned.source_hash
            receipt = Receipt(id=job.id, digest=task.planned.digest, facts=facts, files=files)
            with atomic_write(folder / RECEIPT) as file:
                file.write(receipt.text())
        return Staged(
            id=job.id,
            folder=folder,
            receipt=receipt,
            seconds=seconds,
            write_seconds=time.perf_counter() - began,
            peak_memory_mib=host_peak_mib(),
        )


def _suffix(name: str) -> str:
    return FORMATS[name].suffixes[0]


def _facts(document: LayeredImage) -> dict[str, Any]:
    """What the receipt tells of a document; nothing that varies between two runs."""
    report = document.metadata.get("report")
    facts: dict[str, Any] = {
        "canvas": [document.width, document.height],
        "layers": [layer.name for layer in document.leaves()],
    }
    told = report if isinstance(report, dict) else document.metadata
    if told.get("dropped"):
        facts["dropped"] = list(told["dropped"])
    if isinstance(report, dict):
        facts |= {name: report[name] for name in ("model", "revision") if name in report}
        if report.get("recomposition") is not None:
            facts["recomposition_error"] = report["recomposition"]["after"]["max"]
    return facts


def preview(document: LayeredImage) -> Image.Image:
    """The flattened document, at most 192 pixels along a side, RGBA."""
    flat = document.flatten().convert("RGBA").convert("RGBa")
    scale = min(1.0, PREVIEW_SIDE / max(flat.size))
    size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
    return flat.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).convert("RGBA")


def failure(id: str, error: BaseException, staging: Path | None = None) -> Failed:
    """What a job's exception means, and the staged files of it removed."""
    if staging is not None:
        shutil.rmtree(staging, ignore_errors=True)
    kind, fresh, reason = _judge(error)
    trace = None
    if not isinstance(error, AcetateError):
        trace = "".join(traceback.format_exception(error))[-_TRACE_LENGTH:]
    return Failed(id=id, reason=reason, kind=kind, fresh=fresh, trace=trace)


def _judge(error: BaseException) -> tuple[Kind, bool, str]:
    if isinstance(error, Cancelled):
        return "cancelled", False, "stopped"
    if is_out_of_memory(error):
        return "passing", True, OUT_OF_MEMORY
    if isinstance(error, InputError):
        return "final", False, str(error)
    if isinstance(error, OutputError):
        cause = error.__cause__
        full = isinstance(cause, OSError) and cause.errno in _FULL
        return "place" if full else "passing", False, str(error)
    words = " ".join(str(error).split())[:300] or "no message"
    if isinstance(error, OSError):
        return ("place" if error.errno in _FULL else "passing"), False, words
    # Accelerators report trouble of every kind as RuntimeError, and cannot be trusted afterwards.
    passing = isinstance(error, RuntimeError)
    return (
        "passing" if passing else "final",
        passing,
        f"an error inside acetate, {type(error).__name__}: {words}",
    )
