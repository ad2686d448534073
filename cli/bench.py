"""`acetate bench`: measures a model against its bars, prints the table, writes the contact sheets and the JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from .output import check_place
from .progress import make_progress

OUT = Path("out") / "bench"


def bench(arguments: argparse.Namespace) -> int:
    from ..evaluation.quality import ROWS, QualitySettings, run_quality

    folder = OUT if arguments.out is None else Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file: give a folder for the contact sheets")
    json = None if arguments.json is None else Path(arguments.json)
    if json is not None:
        if json.is_dir():
            raise InputError(f"--json {json} is a folder: give the name of a file in it")
        check_place(json)
    rows = ROWS if arguments.rows is None else tuple(row.strip() for row in arguments.rows.split(","))
    settings = QualitySettings(
        scenes=arguments.scenes, model=arguments.model, rows=rows, steps=arguments.steps
    )
    folder.mkdir(parents=True, exist_ok=True)
    with make_progress(arguments.quiet) as progress:
        report = run_quality(settings, progress)
    written = report.write(folder, json)
    print(report.text())
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return 0
