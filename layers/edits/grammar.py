r"""The edits as words: ``move:NAME,10,-4``, for the command line and batch scripts.

``WORD:ARGUMENT,ARGUMENT,...``. NAME is a selector: an id, a unique name or "#0.2". A comma within an
argument is written ``\,``, and a backslash right before a comma ``\\``; elsewhere a backslash is itself. The last
argument of ``rename`` may hold plain commas too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from ..blend import BlendMode
from ..document import LayeredImage
from . import colour, geometry, properties, structure

Edit = Callable[[LayeredImage], LayeredImage]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{text!r} is not a number.")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{text!r} is not a whole number.") from None


def _direction(text: str) -> str:
    return {"h": "horizontal", "v": "vertical"}.get(text, text)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One word of the grammar."""

    arguments: str
    """The arguments as shown to people; those in [] may be left out, "..." repeats the last."""
    help: str
    kinds: tuple[Callable[[str], Any], ...]
    """What makes a value of each argument; the last serves all that follow."""
    apply: Callable[..., LayeredImage]
    """Takes the document and the values."""

    @property
    def counts(self) -> tuple[int, int]:
        """The smallest and largest number of arguments."""
        least = len(self.kinds) - self.arguments.count("[")
        return least, 1000 if "..." in self.arguments else len(self.kinds)


def _crop(doc: LayeredImage, x0: int, y0: int, x1: int, y1: int) -> LayeredImage:
    return geometry.crop(doc, (x0, y0, x1, y1))


def _crop_layer(doc: LayeredImage, name: str, x0: int, y0: int, x1: int, y1: int) -> LayeredImage:
    return geometry.crop(doc, (x0, y0, x1, y1), name)


def _group(doc: LayeredImage, name: str, *selectors: str) -> LayeredImage:
    return structure.group(doc, list(selectors), name)


def _unclip(doc: LayeredImage, name: str) -> LayeredImage:
    return properties.set_clipping(doc, name, False)


_TABLE: list[tuple[str, str, str, tuple[Callable[[str], Any], ...], Callable[..., LayeredImage]]] = [
    ("move", "NAME,DX,DY", "move by whole pixels, right and down", (str, _whole, _whole), geometry.move),
    ("scale", "NAME,FACTOR[,FACTOR_Y]", "scale about the middle", (str, _number, _number), geometry.scale),
    ("rotate", "NAME,DEGREES", "turn counter-clockwise about the middle", (str, _number), geometry.rotate),
    ("flip", "NAME,DIRECTION", "mirror: horizontal (h) or vertical (v)", (str, _direction), geometry.flip),
    ("crop", "X0,Y0,X1,Y1", "cut (or enlarge) the canvas to a box", (_whole, _whole, _whole, _whole), _crop),
    ("crop-layer", "NAME,X0,Y0,X1,Y1", "cut a layer's pixels to a box of the canvas",
     (str, _whole, _whole, _whole, _whole), _crop_layer),
    ("trim", "[NAME]", "cut a layer (default: all) to its visible pixels", (str,), geometry.trim),
    ("recolour", "NAME,#RRGGBB[,AMOUNT]", "give the hue of a colour, keeping the shading",
     (str, colour.parse_colour, _number), colour.recolour),
    ("defringe", "NAME[,RADIUS]", "take the old background's colour out of soft edges", (str, _number), colour.defringe),
    ("pad", "NAME", "fill the colours under transparency from their surroundings", (str,), colour.pad),
    ("opacity", "NAME,OPACITY", "set the opacity, 0 to 1", (str, _number), properties.set_opacity),
    ("blend", "NAME,MODE", "set the blend mode, for example multiply", (str, BlendMode.parse), properties.set_blend),
    ("rename", "NAME,NEW_NAME", "give another name", (str, str), properties.rename),
    ("show", "NAME", "make visible", (str,), properties.show),
    ("hide", "NAME", "make invisible", (str,), properties.hide),
    ("lock", "NAME", "refuse further edits", (str,), properties.lock),
    ("unlock", "NAME", "allow edits again", (str,), properties.unlock),
    ("clip", "NAME", "clip to the shape of the layer below", (str,), properties.set_clipping),
    ("unclip", "NAME", "release from clipping", (str,), _unclip),
    ("reorder", "NAME,PLACE", "move to top, bottom, up, down or an index from 0 (bottom)", (str, str), structure.reorder),
    ("duplicate", "NAME[,NEW_NAME]", "put a copy right above", (str, str), structure.duplicate),
    ("delete", "NAME", "remove", (str,), structure.delete),
    ("group", "NEW_NAME,NAME,...", "put layers into a new group", (str, str), _group),
    ("ungroup", "NAME", "replace a group by its layers", (str,), structure.ungroup),
    ("merge-down", "NAME", "merge with the layer below", (str,), structure.merge_down),
    ("merge-group", "NAME", "turn a group into one layer", (str,), structure.merge_group),
    ("split", "NAME[,MIN_PIXELS]", "split into connected parts", (str, _whole), structure.split_parts),
]  # fmt: skip

OPERATIONS: dict[str, Operation] = {
    word: Operation(arguments=arguments, help=text, kinds=kinds, apply=apply)
    for word, arguments, text, kinds, apply in _TABLE
}
"""Every word with its arguments and one line of help, in the order people read them."""


def split_arguments(rest: str, most: int = 0) -> list[str]:
    r"""What commas separate in the part behind the word; of ``most`` arguments, where given, the last keeps its commas.

    Backslashes count in pairs right before a comma only, so that ``C:\new`` and ``\\host\share`` need no care.
    """

    def halved(found: re.Match[str]) -> str:
        return found[1][: len(found[1]) // 2] + ","

    pieces = re.split(r"(?<!\\)((?:\\\\)*),", rest, maxsplit=max(most - 1, 0))
    return [
        (re.sub(r"(?<!\\)(\\+),", halved, piece) + slashes[: len(slashes) // 2]).strip()
        for piece, slashes in zip(pieces[::2], [*pieces[1::2], ""], strict=True)
    ]


def parse_operation(text: str) -> Edit:
    """The edit that a text such as ``opacity:Sky,0.5`` describes: a function from document to document.

    Raises InputError for an unknown word, a wrong number of arguments or a malformed number; what depends
    on the document (unknown names, locked layers) is raised when the edit is applied.
    """
    word, _, rest = text.partition(":")
    word = word.strip().lower().replace("_", "-")
    operation = OPERATIONS.get(word)
    if operation is None:
        raise InputError(f"Unknown operation {word!r} in {text!r}; known are: {', '.join(OPERATIONS)}.")
    least, most = operation.counts
    arguments = split_arguments(rest, most if word == "rename" else 0)
    if arguments == [""]:
        arguments = []
    if not least <= len(arguments) <= most or not all(arguments):
        raise InputError(f"{text!r} must read {word}:{operation.arguments} ({operation.help}).")
    try:
        kinds = [*operation.kinds, *[operation.kinds[-1]] * len(arguments)]
        values = [kind(argument) for kind, argument in zip(kinds, arguments, strict=False)]
    except InputError as error:
        raise InputError(f"{text!r}: {error} It must read {word}:{operation.arguments}.") from None
    return lambda doc: operation.apply(doc, *values)
