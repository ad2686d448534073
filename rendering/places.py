"""Where jobs may read and write: ids that are plain folder names, inputs inside one folder, results in nobody else's place.

Everything that turns words of an untrusted list into paths is here.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError
from .stores import is_url

STATE = ".acetate"
"""The engine's own folder in the folder of results: journal, lock and what is being written."""
INPUTS = "inputs"
"""In it: what was fetched from an object store. Whoever needs the room may remove it between two renders."""
OWN_FILES = frozenset({"events.jsonl", "report.html", "contact_sheet.png"})
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_id(value: object) -> None:
    """Raises InputError for an id that cannot be a folder's name on every system."""
    if not isinstance(value, str):
        raise InputError(f"id must be a text, not {value!r}"[:120])
    if not _ID.fullmatch(value) or value.endswith("."):
        shown = repr(value[:60])
        raise InputError(
            f"id {shown} must be 1 to 120 of the letters a-z and A-Z, digits, '.', '_' and '-', not beginning or "
            "ending with a dot: it names a folder"
        )
    if _RESERVED.fullmatch(value) or value.casefold() in OWN_FILES:
        raise InputError(f"id {value!r} is a name that the system or acetate uses itself: choose another")


def find_input(name: str, root: Path) -> Path:
    """The file or folder that ``name`` means, relative to ``root`` (resolved), links followed.

    Raises InputError for what lies outside ``root`` or is not there.
    """
    if is_url(name):
        folder = name.rsplit("/", 1)[0]
        raise InputError(f"input {name[:120]!r} lies in a store: allow it with --inputs {folder[:120]}")
    try:
        path = (root / Path(name)).resolve()
        inside = path.is_relative_to(root)
        exists = inside and path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"input {name[:120]!r} cannot be opened ({reason})") from error
    if not inside:
        raise InputError(
            f"input {name[:120]!r} lies outside of {root}: move it there, or allow another folder with --inputs"
        )
    if not exists:
        raise InputError(f"input {name[:120]!r} does not exist in {root}: check the path")
    return path


def check_results(folder: Path) -> None:
    """Raises InputError where ``folder`` cannot be a place for results."""
    if is_url(str(folder).replace(":/", "://")):
        raise InputError(
            "results appear on a disk first, since a store cannot rename: give -o a folder, and the URL to --copy-to"
        )
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder} is a link that leads nowhere: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give the name of a folder for the results")
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: the folder {folder.parent} does not exist, create it first")
    if (folder / STATE).is_symlink():
        raise InputError(f"{folder / STATE} is a link: choose another folder for the results")
