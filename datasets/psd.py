"""Layered files of people as training records: the data pipeline of Qwen-Image-Layered (arXiv 2512.15603, section 3.3).

A document is made plain (``leaves.py``), its invisible, useless and anomalous layers go, layers that overlap nowhere are
merged (``curate.py``), and the picture is captioned. Between the document and the plain layers the picture may change by
one level of 255; what the rules drop is gone from the record's picture too, so that a record is always exact. This module
handles one document; ``build.py`` a folder of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..layers.composite import flatten_array, to_depth
from ..layers.document import Group, Layer, LayeredImage, Node
from ..layers.io import colour as cms
from ..layers.recompose import recompose
from .curate import (
    Rules,
    drop_anomalous,
    drop_unchanging,
    merge_apart,
    refuse_count,
    refuse_file,
    refuse_size,
)
from .leaves import Leaf, extract_leaves
from .records import MAX_CAPTION, Record, RecordLayer, premultiplied

Captioner = Callable[[Image.Image], str]
"""Says in words what an RGBA picture shows; `acetate.models.captioning.QwenCaptioner(...).caption` is one."""

MOST_CHANGE = 1
"""Levels of 255 by which making a document plain may change its picture."""
MOST_MENDED = 8
"""A larger change is no rounding: the document has something that plain layers cannot show."""
_MEANINGLESS = re.compile(
    r"(layer|background|group|shape|rectangle|ellipse|path|image|img|vector|bitmap|folder|ebene|hintergrund|gruppe|calque|"
    r"groupe|capa|grupo|livello|图层|背景|组|形状|矩形|レイヤー|背景)?[\s_\-#]*\d*(\s*(copy|kopie|copie|拷贝|副本|のコピー)\s*\d*)*",
    re.IGNORECASE,
)


class Unwanted(InputError):
    """A sound file whose layers are not worth a record."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A document's record, what was dropped on the way and why, and how many layers there were when all were plain."""

    record: Record
    dropped: tuple[str, ...]
    leaves: int


def words_of(name: str) -> str:
    """A layer's name as a caption: "" for the names programs give by themselves ("Layer 12 copy", "图层 3", "001")."""
    text = re.sub(r"[\s_]+", " ", name).strip()
    return "" if _MEANINGLESS.fullmatch(text) else text[:MAX_CAPTION]


def record_document(
    doc: LayeredImage,
    *,
    rules: Rules | None = None,
    caption: Captioner | None = None,
    caption_layers: bool = False,
    source: dict[str, Any] | None = None,
) -> Outcome:
    """The record of one document. Raises Unwanted, with the reason, for one that the rules refuse.

    ``caption`` describes the picture, and with ``caption_layers`` every layer on its own too; without it the caption is
    the document's prompt or else the names of its layers, and a layer is called by its name.
    """
    rules, size = rules or Rules(), (doc.width, doc.height)
    _refuse(refuse_size(size, rules))
    doc = _in_srgb(doc)
    leaves = list(extract_leaves(doc))
    changing, dropped = drop_unchanging(leaves, size)
    changing = _exact(doc, changing)
    _refuse(refuse_file(changing, size, rules))
    kept, anomalous = drop_anomalous(changing, size, rules)
    merged = merge_apart(kept, rules.merge, rules.max_layers)
    _refuse(refuse_count(len(merged), rules))
    record = _record(doc, merged, caption, caption_layers, source or {})
    return Outcome(record=record, dropped=(*dropped, *anomalous), leaves=len(leaves))


def _refuse(why: str | None) -> None:
    if why is not None:
        raise Unwanted(why)


def _exact(doc: LayeredImage, leaves: list[Leaf]) -> list[Leaf]:
    """The leaves, with roundings that add up to more than MOST_CHANGE levels mended by the smallest change of colours."""
    picture = flatten_array(doc, 8)
    if (change := _change(picture, plain_document(leaves, doc.width, doc.height))) <= MOST_CHANGE:
        return leaves
    if change > MOST_MENDED:
        raise Unwanted(f"plain layers would change its picture by {change} levels")
    mended, _ = recompose(plain_document(leaves, doc.width, doc.height), picture)
    fresh = mended.leaves()
    if len(fresh) != len(leaves) or _change(picture, mended) > MOST_CHANGE:
        raise Unwanted(f"plain layers would change its picture by {change} levels")
    return [
        replace(leaf, rgba=layer.pixels, box=layer.box) for leaf, layer in zip(leaves, fresh, strict=True)
    ]


def plain_document(leaves: Sequence[Leaf], width: int, height: int) -> LayeredImage:
    """A document of the leaves alone."""
    layers = tuple(Layer(pixels=leaf.rgba, offset=leaf.box[:2]) for leaf in leaves)
    return LayeredImage(width=width, height=height, layers=layers)


def _change(picture: np.ndarray, doc: LayeredImage) -> int:
    """The largest difference of a picture, (H, W, 4) uint8, and the document's, in levels, premultiplied."""
    difference = premultiplied(picture) - premultiplied(flatten_array(doc, 8))
    return int(np.abs(difference).max() + 0.5)


def _record(
    doc: LayeredImage,
    leaves: Sequence[Leaf],
    caption: Captioner | None,
    caption_layers: bool,
    source: dict[str, Any],
) -> Record:
    layers = tuple(
        RecordLayer(
            rgba=leaf.rgba,
            box=leaf.box,
            caption=_layer_caption(leaf, caption if caption_layers else None),
            z=z,
        )
        for z, leaf in enumerate(leaves)
    )
    prompt = doc.metadata.get("prompt")
    words = (
        prompt if isinstance(prompt, str) else ", ".join(layer.caption for layer in layers if layer.caption)
    )
    record = Record(caption=words[:MAX_CAPTION], canvas=(doc.width, doc.height), layers=layers, source=source)
    if caption is None:
        return record
    said = caption(Image.fromarray(record.merged, "RGBA"))[:MAX_CAPTION]
    return Record(caption=said, canvas=record.canvas, layers=layers, merged=record.merged, source=source)


def _layer_caption(leaf: Leaf, caption: Captioner | None) -> str:
    if caption is not None:
        return caption(Image.fromarray(leaf.rgba, "RGBA"))[:MAX_CAPTION]
    return " and ".join(words for words in map(words_of, leaf.names) if words)[:MAX_CAPTION]


def _in_srgb(doc: LayeredImage) -> LayeredImage:
    """The document with every layer's colours converted from its profile, at 8 bits; itself where it is sRGB already."""
    profile = doc.icc
    if profile is None or cms.is_srgb(profile):
        return doc

    def converted(node: Node) -> Node:
        if isinstance(node, Group):
            return node.replace(layers=tuple(map(converted, node.layers)))
        pixels = to_depth(node.pixels, 8)
        rgb = cms.to_srgb(np.ascontiguousarray(pixels[..., :3]), profile)
        return node.replace(pixels=np.concatenate([rgb, pixels[..., 3:]], axis=2))

    return doc.replace(layers=tuple(map(converted, doc.layers)), icc=None)
