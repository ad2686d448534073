"""`acetate decompose` and `acetate generate`: check the output, run the model, write, say what came out."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

from ..errors import InputError
from ..layers.document import LayeredImage
from ..layers.io.picture import read_picture
from ..report import write_report
from .output import check_output, check_place, save
from .progress import Progress, make_progress

_BOXED = re.compile(r"(?P<prompt>.*)@(?P<box>[^@]*)", re.DOTALL)


def decompose(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, source=arguments.picture)
    _check_report(arguments)
    picture = read_picture(arguments.picture)
    check_output(arguments.output, depth=8 * picture.pixels.dtype.itemsize)
    from ..api import decompose as run

    began = time.perf_counter()
    with make_progress(arguments.quiet) as progress:
        document = run(
            picture,
            arguments.layers,
            model=arguments.model,
            prompt=arguments.prompt,
            steps=arguments.steps,
            seed=arguments.seed,
            size=arguments.size,
            on_progress=progress,
        )
        note = _write(document, arguments, progress)
    return _announce(document, arguments, time.perf_counter() - began, note)


def generate(arguments: argparse.Namespace) -> int:
    described = [parse_layer(text) for text in arguments.layer]
    size = None if arguments.size is None else parse_size(arguments.size)
    check_output(arguments.output)
    _check_report(arguments)
    from ..api import generate as run

    began = time.perf_counter()
    with make_progress(arguments.quiet) as progress:
        document = run(
            arguments.prompt,
            arguments.layers,
            layer_prompts=[prompt for prompt, _ in described],
            boxes=[box for _, box in described],
            size=size,
            model=arguments.model,
            steps=arguments.steps,
            seed=arguments.seed,
            on_progress=progress,
        )
        note = _write(document, arguments, progress)
    return _announce(document, arguments, time.perf_counter() - began, note)


def parse_layer(text: str) -> tuple[str, tuple[int, int, int, int] | None]:
    """``"a red fish@10,20,200,180"`` as (prompt, box); without ``@`` the box is None. Raises InputError."""
    found = _BOXED.fullmatch(text)
    if found is None:
        prompt, box = text.strip(), None
    else:
        prompt = found["prompt"].strip()
        numbers = found["box"].split(",")
        if len(numbers) != 4 or not all(re.fullmatch(r"\s*-?\d+\s*", number) for number in numbers):
            raise InputError(
                f'--layer "{text}": the box after @ must be four whole numbers x0,y0,x1,y1 in pixels, not {found["box"]!r}'
            )
        x0, y0, x1, y1 = (int(number) for number in numbers)
        box = (x0, y0, x1, y1)
    if not prompt:
        raise InputError(f'--layer "{text}": the layer has no prompt; write it before the @')
    return prompt, box


def parse_size(text: str) -> tuple[int, int]:
    """``"640x480"`` as (640, 480). Raises InputError."""
    found = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
    if found is None:
        raise InputError(f"--size {text!r} must be written WIDTHxHEIGHT in pixels, for example 256x192")
    return int(found[1]), int(found[2])


def _check_report(arguments: argparse.Namespace) -> None:
    if arguments.report is None:
        return
    report = Path(arguments.report)
    if report.is_dir():
        raise InputError(f"--report {report} is a folder: give the name of a file in it")
    if report.resolve() == Path(arguments.output).resolve():
        raise InputError(f"--report {report} is also the output: choose another name for one of them")
    check_place(report)


def _write(document: LayeredImage, arguments: argparse.Namespace, progress: Progress) -> str:
    progress("write", 0, 1, None)
    note = save(document, arguments.output)
    if arguments.report is not None:
        write_report(document.metadata["report"], arguments.report)
    progress("write", 1, 1, 0.0)
    return note


def _announce(document: LayeredImage, arguments: argparse.Namespace, seconds: float, note: str) -> int:
    report = document.metadata["report"]
    facts = [
        f"{len(report['layers'])} layers",
        f"{document.width} x {document.height} px",
        f"{seconds:.1f} s",
    ]
    if report["recomposition"] is not None:
        facts.append(f"recomposition error {report['recomposition']['after']['max']:g}/255")
    print(f"{arguments.output}: {', '.join(facts)}")
    if note:
        print(f"acetate: {note}", file=sys.stderr)
    return 0
