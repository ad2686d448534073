"""One planned job to its document: the four tasks, each through the functions that Python and the other commands use."""

from __future__ import annotations

import os
import threading

from ..errors import InputError
from ..layers.document import LayeredImage
from ..layers.edit import parse_operation
from ..layers.io import open_document
from ..progress import OnProgress
from .inputs import hash_input
from .plan import PlannedJob, boxes_of
from .renderer import RunJob


def open_runner(threads: int, index: int) -> RunJob:
    """Worker ``index`` may begin: :func:`run_job`, with torch told how many CPU threads it has before its first job."""
    ready = False

    def run(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
        nonlocal ready
        if planned.model and not ready:
            _prepare_torch(threads, index)
            ready = True
        return run_job(planned, on_progress, cancel)

    return run


def _prepare_torch(threads: int, index: int) -> None:
    """The same threads in every worker, since sums may depend on them; of several accelerators one each."""
    import torch

    from ..session import DEVICE_VARIABLE

    torch.set_num_threads(threads)
    if os.environ.get(DEVICE_VARIABLE):
        return
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":  # `accelerate launch --cpu`
        os.environ[DEVICE_VARIABLE] = "cpu"
    elif torch.cuda.device_count() > 1:
        number = index % torch.cuda.device_count()
        os.environ[DEVICE_VARIABLE] = f"cuda:{number}"
        torch.cuda.set_device(number)  # kernels that name no device run on this one


def run_job(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
    """The document that a job asks for. Raises InputError for what its input turns out to be, Cancelled when ``cancel``
    is set."""
    if planned.source is not None and hash_input(planned.source) != planned.source_hash:
        raise InputError(
            f"input {planned.source.name} was changed while the render ran: run the same command again"
        )
    return _TASKS[planned.job.task](planned, on_progress, cancel)


def _decompose(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
    from ..api import decompose

    job = planned.job
    wishes = job.layers if isinstance(job.layers, tuple) else ()
    assert planned.source is not None
    return decompose(
        planned.source,
        len(wishes) + 1 if wishes else 4 if job.layers is None else job.layers,  # type: ignore[arg-type]
        layer_prompts=[None, *(wish.prompt for wish in wishes)] if wishes else (),
        model=job.model,
        memory=job.memory,
        quantise=job.quantise,
        transformer=job.transformer,
        loras=job.loras,
        prompt=job.prompt,
        steps=job.steps,
        seed=job.seed,
        best_of=job.best_of or 1,
        keep_whole=job.keep_whole,
        size=job.size or "native",  # type: ignore[arg-type]
        on_progress=on_progress,
        cancel=cancel,
    )


def _generate(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
    from ..api import generate

    job = planned.job
    wishes = job.layers if isinstance(job.layers, tuple) else ()
    assert job.prompt is not None
    return generate(
        job.prompt,
        job.layers if isinstance(job.layers, int) else None,
        layer_prompts=[wish.prompt for wish in wishes],
        boxes=boxes_of(wishes),
        size=job.size if isinstance(job.size, tuple) else None,
        model=job.model,
        transparency=job.transparency,
        memory=job.memory,
        quantise=job.quantise,
        transformer=job.transformer,
        loras=job.loras,
        steps=job.steps,
        seed=job.seed,
        on_progress=on_progress,
        cancel=cancel,
    )


def _edit(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
    document = _convert(planned, on_progress, cancel)
    for edit in planned.job.edits:
        document = parse_operation(edit)(document)
    return document


def _convert(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
    assert planned.source is not None
    return open_document(planned.source)


_TASKS = {"decompose": _decompose, "generate": _generate, "edit": _edit, "convert": _convert}
