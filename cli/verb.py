"""What a command of `acetate` is: its name, its options in argparse's terms and the function that runs it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Argument(NamedTuple):
    """One option or positional, in argparse's terms."""

    flags: tuple[str, ...]
    settings: dict[str, Any]


class Verb(NamedTuple):
    """One command. ``run`` is ``module:function`` inside :mod:`acetate.cli`, imported when the command is given."""

    name: str
    usage: str
    help: str
    run: str
    arguments: tuple[Argument, ...]
    example: str


def argument(*flags: str, **settings: Any) -> Argument:
    """An option or positional as argparse's ``add_argument`` takes it."""
    return Argument(flags, settings)
