"""The errors acetate shows to people: each names what was wrong and what to do about it.

Programmer mistakes stay ordinary Python exceptions and assertions; only what a user can cause or mend derives
from :class:`AcetateError`. The command line prints the message and leaves with ``exit_status``.
"""

from __future__ import annotations


class AcetateError(Exception):
    """Any failure with a message meant for a person."""

    exit_status = 1


class InputError(AcetateError, ValueError):
    """What the user gave (a file, an option, a box, a name) cannot be used as it is."""

    exit_status = 2


class OutputError(AcetateError):
    """A result could not be written; files that existed before are untouched."""


class Cancelled(AcetateError):
    """The user stopped the run; nothing half-written is left behind."""

    exit_status = 130
