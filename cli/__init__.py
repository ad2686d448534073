"""The ``acetate`` command: a verb table, a parser built from it, and one small function per verb.

Nothing heavy loads until a verb runs, so that ``acetate --help`` answers at once. Errors meant for people become one
sentence on stderr and an exit status: 2 for what the user gave, 1 for a failure, 130 for Ctrl-C. ``ACETATE_DEBUG=1``
shows the traceback as well.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import AcetateError, InputError
from .parser import build_parser

__all__ = ["main"]

_NO_MEMORY = "the memory ran out; use --memory auto, a smaller picture, fewer layers or --size model."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit status."""
    debug = os.environ.get("ACETATE_DEBUG", "") not in ("", "0")
    try:
        arguments = build_parser().parse_args(argv)
        with _plain_output():
            status = _run(arguments)
            sys.stdout.flush()
        return status
    except SystemExit as leaving:  # --help and --version
        return leaving.code if isinstance(leaving.code, int) else 0
    except BrokenPipeError:
        # The reader (`acetate inspect … | head`) has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return _complain("stopped; nothing half-written is left behind.", 130, debug)
    except AcetateError as error:
        return _complain(str(error), error.exit_status, debug)
    except MemoryError:
        return _complain(_NO_MEMORY, 1, debug)
    except OSError as error:
        return _complain(_describe(error), 1, debug)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported to look
            return _complain(_NO_MEMORY, 1, debug)
        reason = " ".join(str(error).split()) or "no message"
        sentence = (
            f"an error inside acetate, {type(error).__name__}: {reason[:300]} (ACETATE_DEBUG=1 shows where)."
        )
        return _complain(sentence, 1, debug)


@contextmanager
def _plain_output() -> Iterator[None]:
    """Names that a terminal's encoding lacks are escaped, and what a format cannot hold is told in a line of our own."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category.__name__ == "FormatWarning":  # of layers.io, which is not imported to look
                print(f"acetate: {message}", file=sys.stderr)
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = show
        yield


def _run(arguments: object) -> int:
    from importlib import import_module

    module, function = arguments.run.split(":")  # type: ignore[attr-defined]
    try:
        handler = getattr(import_module(f".{module}", __name__), function)
        return int(handler(arguments))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "acetate":
            raise
        raise InputError(
            f"this command needs the Python package {error.name!r}, which is not installed; "
            "`pip install 'acetate[export]'` brings all that acetate's formats use."
        ) from error


def _complain(sentence: str, status: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    words = sentence.strip().rstrip(".")
    print(f"acetate: {words if words.endswith('?') else words + '.'}", file=sys.stderr)
    return status


def _describe(error: OSError) -> str:
    what = (error.strerror or str(error) or "an input or output error").rstrip(".")
    where = f"{error.filename}: " if error.filename else ""
    return where + what[0].lower() + what[1:]
