"""Every edit of a layered document, as pure functions: ``edit.move(doc, "Sky", 10, 0)`` returns a new
document.

A selector is an id, a unique name, or an index path such as "#0.2" (child 2 of node 0, counted from the
bottom). Every edit raises InputError for an unknown selector and for locked layers. The document given is
never changed.
"""

from __future__ import annotations

from .edits.colour import defringe, pad, parse_colour, recolour
from .edits.geometry import content_box, crop, flip, move, rotate, scale, trim
from .edits.grammar import OPERATIONS, Operation, parse_operation
from .edits.properties import hide, lock, rename, set_blend, set_clipping, set_opacity, show, unlock
from .edits.structure import (
    delete,
    duplicate,
    group,
    merge_down,
    merge_group,
    reorder,
    split_parts,
    ungroup,
)
from .edits.tidy import drop_empty

__all__ = [
    "OPERATIONS",
    "Operation",
    "content_box",
    "crop",
    "defringe",
    "delete",
    "drop_empty",
    "duplicate",
    "flip",
    "group",
    "hide",
    "lock",
    "merge_down",
    "merge_group",
    "move",
    "pad",
    "parse_colour",
    "parse_operation",
    "recolour",
    "rename",
    "reorder",
    "rotate",
    "scale",
    "set_blend",
    "set_clipping",
    "set_opacity",
    "show",
    "split_parts",
    "trim",
    "ungroup",
    "unlock",
]
