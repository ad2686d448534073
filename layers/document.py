"""The document: a canvas and an ordered stack of layers, bottom to top.

Everything here is immutable: an edit makes a new document that shares every unchanged layer, so undo is
free and a document can be handed to another thread. Pixel arrays are held as read-only views. This module
knows nothing of blending arithmetic (``composite.py``), of file formats (``io/``) or of how layers were
made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError
from .blend import BlendMode
from .select import find_path, node_at, walk_nodes

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in canvas pixels, half-open."""

MAX_NAME_LENGTH = 255
PIXEL_DTYPES = (np.uint8, np.uint16, np.float32)


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view of the array (a view of a memory map stays a memory map; nothing is read)."""
    view = array.view()
    view.flags.writeable = False
    return view


def _checked_pixels(array: Any, shape: str, what: str) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{what}: the pixels must be a numpy array, not {type(array).__name__}.")
    wanted = 3 if shape == "H x W x 4" else 2
    if array.ndim != wanted or (wanted == 3 and array.shape[2] != 4):
        raise InputError(f"{what}: the pixels must be {shape}, not {' x '.join(map(str, array.shape))}.")
    if array.shape[0] < 1 or array.shape[1] < 1:
        raise InputError(f"{what}: an image of {array.shape[1]}x{array.shape[0]} pixels is empty.")
    if array.dtype not in PIXEL_DTYPES:
        raise InputError(f"{what}: pixels must be uint8, uint16 or float32, not {array.dtype}.")
    # `not (a and b)` also catches NaN.
    if array.dtype == np.float32 and not (array.min() >= 0 and array.max() <= 1):
        raise InputError(f"{what}: float pixels must lie in [0, 1].")
    return _frozen(array)


def _checked_offset(offset: Any, what: str) -> tuple[int, int]:
    if len(offset) != 2 or any(int(value) != value for value in offset):
        raise InputError(f"{what}: the offset must be two whole numbers (x, y), not {offset!r}.")
    return int(offset[0]), int(offset[1])


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a layer came from; every field may be unknown (None)."""

    prompt: str | None = None
    box: Box | None = None
    seed: int | None = None
    model: str | None = None
    revision: str | None = None
    role: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The known fields, JSON-able (the box becomes a list)."""
        known = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        known["box"] = list(self.box) if self.box is not None else None
        return {key: value for key, value in known.items() if value is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """A layer mask: how much of the layer shows, 0 hides. ``default`` is the coverage outside the mask's
    pixels."""

    pixels: np.ndarray
    """(h, w) uint8, uint16 or float32 in [0, 1]."""
    offset: tuple[int, int] = (0, 0)
    """(x, y) of the top left pixel on the canvas (not relative to the layer)."""
    default: float = 0.0
    enabled: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _checked_pixels(self.pixels, "H x W", "Mask"))
        object.__setattr__(self, "offset", _checked_offset(self.offset, "Mask"))
        if not 0.0 <= self.default <= 1.0:
            raise InputError(f"Mask: the coverage outside must lie in [0, 1], not {self.default}.")

    @property
    def box(self) -> Box:
        """The canvas box of the mask's pixels."""
        (x, y), (height, width) = self.offset, self.pixels.shape
        return (x, y, x + width, y + height)


def _check_common(node: Layer | Group, what: str) -> None:
    if not isinstance(node.name, str) or not node.name:
        raise InputError(f"{what}: the name must not be empty.")
    if len(node.name) > MAX_NAME_LENGTH:
        raise InputError(f"{what}: the name has {len(node.name)} characters; PSD allows {MAX_NAME_LENGTH}.")
    if not 0.0 <= node.opacity <= 1.0:
        raise InputError(f"{what} {node.name!r}: the opacity must lie in [0, 1], not {node.opacity}.")
    object.__setattr__(node, "blend", BlendMode.parse(node.blend))
    if node.mask is not None and not isinstance(node.mask, Mask):
        raise InputError(f"{what} {node.name!r}: the mask must be a Mask, not {type(node.mask).__name__}.")


def _hash_id(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=4).hexdigest()


def _check_id(node: Layer | Group, automatic: str) -> None:
    if not node.id:
        object.__setattr__(node, "id", automatic)
    elif len(node.id) != 8 or set(node.id) - set("0123456789abcdef"):
        raise InputError(f"Layer {node.name!r}: the id must be 8 hexadecimal digits, not {node.id!r}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One image of the stack: straight RGBA pixels placed on the canvas, and how it is drawn there."""

    pixels: np.ndarray
    """(h, w, 4) uint8, uint16 or float32 in [0, 1]: straight (not premultiplied) sRGB colour and alpha."""
    name: str = "Layer"
    offset: tuple[int, int] = (0, 0)
    """(x, y) of the top left pixel; may lie outside the canvas."""
    opacity: float = 1.0
    blend: BlendMode = BlendMode.NORMAL
    visible: bool = True
    locked: bool = False
    clipping: bool = False
    """True: drawn only inside the shape of the nearest layer below that is not clipping (the base)."""
    mask: Mask | None = None
    provenance: Provenance = field(default_factory=Provenance)
    id: str = ""
    """8 hexadecimal digits. Left empty it is derived from name, place and a sample of the pixels, so that
    the same result has the same ids in every run; a document gives a fresh one to the second of two equal
    ids."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _checked_pixels(self.pixels, "H x W x 4", f"Layer {self.name!r}"))
        object.__setattr__(self, "offset", _checked_offset(self.offset, f"Layer {self.name!r}"))
        _check_common(self, "Layer")
        if self.blend is BlendMode.PASS_THROUGH:
            raise InputError(f"Layer {self.name!r}: only groups can be pass-through; use 'normal'.")
        if not self.id:
            height, width = self.pixels.shape[:2]
            sample = self.pixels[:: max(1, height // 32), :: max(1, width // 32)].tobytes()
            _check_id(self, _hash_id(self.name, self.offset, self.pixels.shape, sample))
        else:
            _check_id(self, "")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def box(self) -> Box:
        """The canvas box of the layer's pixels."""
        return (self.offset[0], self.offset[1], self.offset[0] + self.width, self.offset[1] + self.height)

    def replace(self, **changes: Any) -> Layer:
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """A folder of layers, drawn isolated (any blend mode) or straight onto what lies beneath
    (PASS_THROUGH)."""

    layers: tuple[Layer | Group, ...]
    name: str = "Group"
    opacity: float = 1.0
    blend: BlendMode = BlendMode.PASS_THROUGH
    visible: bool = True
    locked: bool = False
    clipping: bool = False
    mask: Mask | None = None
    id: str = ""
    open: bool = True
    """Whether the folder is shown unfolded in a layers panel."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        _check_common(self, "Group")
        for node in self.layers:
            if not isinstance(node, Layer | Group):
                raise InputError(
                    f"Group {self.name!r}: it can hold layers and groups, not {type(node).__name__}."
                )
        _check_id(self, self.id or _hash_id("group", self.name, tuple(node.id for node in self.layers)))

    def replace(self, **changes: Any) -> Group:
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


Node = Layer | Group


def _unique_ids(nodes: tuple[Node, ...], seen: dict[str, int]) -> tuple[Node, ...]:
    """The nodes with a fresh id for every one whose id came before; the same objects where nothing
    clashed. ``seen``: every id so far, and how many fresh ones were made of it."""
    result: list[Node] = []
    for node in nodes:
        fresh = node.id
        while fresh in seen:
            seen[node.id] += 1
            fresh = _hash_id(node.id, seen[node.id])
        seen[fresh] = 0
        changes: dict[str, Any] = {} if fresh == node.id else {"id": fresh}
        if isinstance(node, Group):
            children = _unique_ids(node.layers, seen)
            if any(a is not b for a, b in zip(children, node.layers, strict=True)):
                changes["layers"] = children
        result.append(node.replace(**changes) if changes else node)
    return tuple(result)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayeredImage:
    """A layered picture: canvas size in pixels and nodes from bottom (index 0) to top."""

    width: int
    height: int
    layers: tuple[Node, ...]
    depth: Literal[8, 16] = 8
    """Bits per channel that files of this document hold."""
    icc: bytes | None = None
    """The ICC profile of the pixel values; None means sRGB."""
    dpi: float = 72.0
    metadata: dict[str, Any] = field(default_factory=dict)
    """JSON-able facts about the document: seed, model, arguments, report. Treat it as read-only."""

    def __post_init__(self) -> None:
        for side, value in (("width", self.width), ("height", self.height)):
            if int(value) != value or value < 1:
                raise InputError(
                    f"The {side} of a document must be a whole number of pixels from 1, not {value}."
                )
            object.__setattr__(self, side, int(value))
        if self.depth not in (8, 16):
            raise InputError(f"A document has 8 or 16 bits per channel, not {self.depth}.")
        if not 0 < self.dpi < float("inf"):
            raise InputError(f"The resolution must be a positive number of dots per inch, not {self.dpi}.")
        for node in self.layers:
            if not isinstance(node, Layer | Group):
                raise InputError(f"A document holds layers and groups, not {type(node).__name__}.")
        try:
            json.dumps(self.metadata)
        except (TypeError, ValueError) as error:
            raise InputError(f"The metadata of a document must be storable as JSON: {error}.") from None
        object.__setattr__(self, "layers", _unique_ids(tuple(self.layers), {}))

    @property
    def box(self) -> Box:
        """The whole canvas."""
        return (0, 0, self.width, self.height)

    def walk(self) -> Iterator[tuple[tuple[int, ...], Node]]:
        """Every node with its index path, bottom to top, a group before its children."""
        return walk_nodes(self.layers)

    def leaves(self) -> list[Layer]:
        """Every layer (no groups), bottom to top."""
        return [node for _, node in self.walk() if isinstance(node, Layer)]

    def find_path(self, selector: str) -> tuple[int, ...]:
        """The index path of the node that ``selector`` names; see :meth:`find`."""
        return find_path(self.layers, selector)

    def find(self, selector: str) -> Node:
        """The node with that id, that unique name, or that index path ("#0.2": child 2 of node 0).

        Raises InputError where nothing or more than one node answers.
        """
        return node_at(self.layers, self.find_path(selector))

    def replace(self, **changes: Any) -> LayeredImage:
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)

    def with_layers(self, layers: tuple[Node, ...] | list[Node]) -> LayeredImage:
        """The same canvas and metadata with other layers."""
        return self.replace(layers=tuple(layers))

    def composite(self, box: Box | None = None) -> np.ndarray:
        """The visible stack (of ``box``, default the canvas) as float32 (h, w, 4) in [0, 1], straight
        alpha."""
        from .composite import composite

        return composite(self, box)

    def flatten(self, background: tuple[int, int, int] | None = None) -> Image.Image:
        """The visible stack as an 8-bit picture: RGBA, or RGB on the given background colour (0..255
        each)."""
        from .composite import flatten_image

        return flatten_image(self, background)

    @classmethod
    def open(cls, path: str | Path) -> LayeredImage:
        """Read any layered or flat file acetate knows; raises InputError for what it cannot read."""
        from .io import open_document

        return open_document(path)

    def save(self, path: str | Path, format: str | None = None) -> Path:
        """Write the document (the format follows the suffix unless named) and return the path written."""
        from .io import save_document

        return save_document(self, path, format)
