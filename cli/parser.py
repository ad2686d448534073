"""An argparse parser built from the verb table; it raises :class:`InputError` where argparse would print and exit."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .. import __version__
from ..errors import InputError
from .verbs import VERBS, Verb

DESCRIPTION = "Layered images with diffusion transformers: take a picture apart, or make one from text."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` shows how the command is written.")


class _VerbParser(_Parser):
    """Adds to the help of `edit` what can be done, which only the edits themselves know."""

    verb: Verb

    def format_help(self) -> str:
        text = super().format_help()
        if self.verb.name != "edit":
            return text
        from .documents import operations_help

        return f"{text}\n{operations_help()}\n"


class _Formatter(argparse.HelpFormatter):
    """A fixed width: help text in the documentation must not depend on somebody's terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += 2  # argparse forgets that it indents the commands once more


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; parsed arguments carry ``run``, the ``module:function`` of their verb."""
    parser = _Parser(prog="acetate", description=DESCRIPTION, formatter_class=_Formatter, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"acetate {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_VerbParser)
    for verb in VERBS:
        command = commands.add_parser(
            verb.name,
            help=verb.help,
            description=verb.help[0].upper() + verb.help[1:] + ".",
            usage=f"acetate {verb.usage}",
            epilog=f"example: {verb.example}",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        command.verb = verb
        command.set_defaults(run=verb.run, verb=verb.name)
        for argument in verb.arguments:
            command.add_argument(*argument.flags, **argument.settings)
    return parser
