"""`acetate decompose`, `generate`, `complete`, `extract` and `transparent`: check the output, run the model, write, say
what came out. Knows no model and no pixels."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layers.document import LayeredImage
from ..layers.io import open_document
from ..layers.io.picture import read_picture
from ..models.registry import resolve
from ..report import write_report
from .create_verbs import REGION
from .output import check_output, check_place, not_taken_over, save
from .progress import Progress, make_progress

_BOXED = re.compile(r"(?P<prompt>.*)@(?P<box>[^@]*)", re.DOTALL)


def decompose(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, source=arguments.picture)
    _check_report(arguments, arguments.picture)
    picture = read_picture(arguments.picture)
    check_output(arguments.output, depth=8 * picture.pixels.dtype.itemsize)
    from ..api import decompose as run

    return _made(
        arguments,
        run,
        picture,
        arguments.layers,
        prompt=arguments.prompt,
        layer_prompts=arguments.layer_prompt,
        best_of=arguments.best_of,
        keep_whole=arguments.keep_whole,
        size=arguments.size,
    )


def generate(arguments: argparse.Namespace) -> int:
    described = [parse_layer(text) for text in arguments.layer]
    size = None if arguments.size is None else parse_size(arguments.size)
    check_output(arguments.output)
    _check_report(arguments)
    from ..api import generate as run

    return _made(
        arguments,
        run,
        arguments.prompt,
        arguments.layers,
        layer_prompts=[prompt for prompt, _ in described],
        boxes=[box for _, box in described],
        size=size,
        transparency=arguments.transparency,
        words=True,
    )


def complete(arguments: argparse.Namespace) -> int:
    box = None if arguments.box is None else parse_box("--box", arguments.box)
    check_output(arguments.output)
    _check_report(arguments, arguments.file)
    document = open_document(arguments.file)
    check_output(arguments.output, depth=document.depth)
    from ..api_layers import complete as run

    return _made(
        arguments,
        run,
        document,
        arguments.layer,
        add=arguments.add,
        prompt=arguments.prompt,
        box=box,
        scene=arguments.scene,
        words=arguments.prompt is not None,
    )


def extract(arguments: argparse.Namespace) -> int:
    if (arguments.mask is None) == (arguments.box is None):
        raise InputError("say where the object is with either --mask or --box")
    box = None if arguments.box is None else parse_box("--box", arguments.box)
    for source in (arguments.picture, arguments.mask):
        check_output(arguments.output, source=source)
    _check_report(arguments, arguments.picture, arguments.mask)
    picture = read_picture(arguments.picture)
    mask = None if arguments.mask is None else read_picture(arguments.mask)
    check_output(arguments.output, depth=8 * picture.pixels.dtype.itemsize)
    from ..api_layers import extract as run

    return _made(arguments, run, picture, mask, box=box, size=arguments.size)


def transparent(arguments: argparse.Namespace) -> int:
    size = None if arguments.size is None else parse_size(arguments.size)
    check_output(arguments.output, source=arguments.image)
    _check_report(arguments, arguments.image)
    picture = None if arguments.image is None else read_picture(arguments.image)
    from ..api_layers import transparent as run

    return _made(
        arguments,
        run,
        arguments.prompt,
        picture,
        strength=arguments.strength,
        guidance=arguments.guidance,
        size=size,
        transparency=arguments.transparency,
    )


def parse_layer(text: str) -> tuple[str | None, tuple[int, int, int, int] | None]:
    """``"a red fish@10,20,200,180"`` as (prompt, box); without ``@`` the box is None, and what ``--region`` gives has no
    prompt. Raises InputError."""
    if text.startswith(REGION):
        return None, parse_box("--region", text.removeprefix(REGION))
    found = _BOXED.fullmatch(text)
    if found is None:
        prompt, box = text.strip(), None
    else:
        prompt = found["prompt"].strip()
        box = parse_box(f'--layer "{text}": the box after @', found["box"])
    if not prompt:
        raise InputError(f'--layer "{text}": the layer has no prompt; write it before the @, or use --region')
    return prompt, box


def parse_box(what: str, text: str) -> tuple[int, int, int, int]:
    """``"10,20,200,180"`` as four numbers. Raises InputError that begins with ``what``."""
    numbers = text.split(",")
    if len(numbers) != 4 or not all(re.fullmatch(r"\s*-?\d+\s*", number) for number in numbers):
        raise InputError(f"{what} must be four whole numbers x0,y0,x1,y1 in pixels, not {text!r}")
    x0, y0, x1, y1 = (int(number) for number in numbers)
    return x0, y0, x1, y1


def parse_size(text: str) -> tuple[int, int]:
    """``"640x480"`` as (640, 480). Raises InputError."""
    found = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
    if found is None:
        raise InputError(f"--size {text!r} must be written WIDTHxHEIGHT in pixels, for example 256x192")
    return int(found[1]), int(found[2])


def _check_report(arguments: argparse.Namespace, *sources: str | None) -> None:
    """``sources``: what the command reads, which a report must not take the place of."""
    if arguments.report is None:
        return
    report = Path(arguments.report)
    if report.is_dir():
        raise InputError(f"--report {report} is a folder: give the name of a file in it")
    if report.resolve() == Path(arguments.output).resolve():
        raise InputError(f"--report {report} is also the output: choose another name for one of them")
    if any(report.resolve() == Path(source).resolve() for source in sources if source is not None):
        raise InputError(f"--report {report} is what the command reads: choose another name for the report")
    check_place(report)


def _made(
    arguments: argparse.Namespace,
    run: Callable[..., LayeredImage],
    *given: Any,
    words: bool = False,
    **settings: Any,
) -> int:
    """Runs ``run`` with the bar and what all such commands take, writes what it returns and says so; the exit status.

    ``words``: they lead, so that what the model does not do with them is said too.
    """
    began = time.perf_counter()
    with _told_plans(arguments.quiet), make_progress(arguments.quiet) as progress:
        document = run(
            *given,
            **settings,
            model=arguments.model,
            steps=arguments.steps,
            seed=arguments.seed,
            loras=arguments.lora,
            modulation_table=arguments.modulation_table,
            memory=arguments.memory,
            transformer=arguments.transformer,
            quantise=arguments.quantise,
            on_progress=progress,
        )
        note = _write(document, arguments, progress)
    status = _announce(document, arguments, time.perf_counter() - began, note)
    caveat = resolve(arguments.model).caveat if words else ""
    if caveat:
        print(f"acetate: {caveat}", file=sys.stderr)
    return status


@contextmanager
def _told_plans(quiet: bool) -> Iterator[None]:
    """While open, memory plans go to stderr as they are made, before a model loads."""
    logger, handler = logging.getLogger("acetate.memory"), logging.StreamHandler(sys.stderr)
    found = logger.level
    if not quiet:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(found)


def _write(document: LayeredImage, arguments: argparse.Namespace, progress: Progress) -> str:
    progress("write", 0, 1, None)
    note = save(document, arguments.output)
    if arguments.report is not None:
        write_report(document.metadata["report"], arguments.report)
    progress("write", 1, 1, 0.0)
    return note


def _announce(document: LayeredImage, arguments: argparse.Namespace, seconds: float, note: str) -> int:
    report = document.metadata["report"]
    count = len(report["layers"])
    facts = [
        f"{count} layer{'s' * (count != 1)}",
        f"{document.width} x {document.height} px",
        f"{seconds:.1f} s",
    ]
    if report["recomposition"] is not None:
        facts.append(f"recomposition error {report['recomposition']['after']['max']:g}/255")
    print(f"{arguments.output}: {', '.join(facts)}")
    if note:
        print(f"acetate: {note}", file=sys.stderr)
    if "dropped" in report:
        print(f"acetate: {not_taken_over(report['dropped'])}", file=sys.stderr)
    return 0
