"""Writes a PowerPoint slide with one picture per layer, at its place, under its name, its prompt as alt text.

Slides know neither blend modes nor masks nor clipping. The rule: a plain group is taken apart; a group with
an opacity or mask, and a layer with layers clipped to it, become one picture; opacity and masks are baked
into alpha; a blend mode other than normal is refused. Hidden layers are left out. Needs python-pptx (the
extra ``export``).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ...errors import InputError
from ..blend import BlendMode
from ..composite import bounds, composite_nodes, quantise, runs
from ..document import Group, Layer, LayeredImage, Node
from .archive import ArchiveWriter
from .depth import visible_box
from .ora_ops import is_faded_pass_through, only_normal
from .ora_write import check_xml_text
from .png import encode_png

_EMU_PER_PIXEL = 9525.0
_EMU_LEAST = 914_400
_EMU_MOST = 51_206_400
_BLANK_LAYOUT = 6


def write_pptx(doc: LayeredImage, file: BinaryIO) -> None:
    """Write ``doc`` to an open binary file as a one-slide presentation; equal documents give equal bytes.

    Raises InputError naming the layers whose blend mode a slide cannot show, or the extra to install.
    """
    try:
        from pptx import Presentation
    except ImportError as error:
        raise InputError(
            "writing PowerPoint files needs python-pptx: pip install 'acetate[export]'"
        ) from error
    parts = list(_parts(doc.layers))
    bad = [f"{node.name!r} ({node.blend})" for node, _ in parts if node.blend not in _DRAWABLE]
    if bad:
        raise InputError(
            f"PowerPoint has no blend modes, used by {', '.join(bad)}: merge them down or save as psd"
        )
    scale = _scale(doc)
    deck = Presentation()
    # A picture that is more than 56 times as long as wide gets a slide with an empty margin.
    deck.slide_width = max(round(doc.width * scale), _EMU_LEAST)
    deck.slide_height = max(round(doc.height * scale), _EMU_LEAST)
    slide = deck.slides.add_slide(deck.slide_layouts[_BLANK_LAYOUT])
    for node, nodes in parts:
        _add(slide, doc, node, nodes, scale)
    deck.core_properties.title = "acetate"
    if doc.metadata:
        slide.notes_slide.notes_text_frame.text = _notes(doc)
    packed = io.BytesIO()
    deck.save(packed)
    _repack(packed, file)


def _notes(doc: LayeredImage) -> str:
    """The metadata as text for the notes below the slide; plain ASCII, so that XML can hold all of it."""
    try:
        return "acetate " + json.dumps(doc.metadata, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise InputError(f"the metadata cannot be stored ({error}): use finite numbers only") from error


_DRAWABLE = (BlendMode.NORMAL, BlendMode.PASS_THROUGH)


def _scale(doc: LayeredImage) -> float:
    """English metric units per pixel: 96 dpi, unless the slide would leave PowerPoint's 1 to 56 inches."""
    scale = max(_EMU_PER_PIXEL, _EMU_LEAST / min(doc.width, doc.height))
    return min(scale, _EMU_MOST / max(doc.width, doc.height))


def _parts(nodes: tuple[Node, ...]) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """(node that names it, nodes drawn together) of every picture of the slide, bottom to top."""
    for base, clipped in runs(nodes):
        if not base.visible:
            continue
        if isinstance(base, Group) and not clipped:
            plain = base.opacity == 1 and (base.mask is None or not base.mask.enabled)
            through = base.blend is BlendMode.PASS_THROUGH
            if plain and (through or only_normal(base)):
                yield from _parts(base.layers)
                continue
            if through and is_faded_pass_through(base) and not only_normal(base):
                raise InputError(
                    f"PowerPoint has no blend modes, used inside the pass-through group {base.name!r}: "
                    "merge it down or save as psd"
                )
        yield base, (base, *clipped)


def _add(slide: Any, doc: LayeredImage, node: Node, nodes: tuple[Node, ...], scale: float) -> None:
    box = bounds(node)
    if box is None:
        return
    pixels = _pixels(node, nodes)
    crop = visible_box(pixels[..., 3])
    if crop is None:
        return
    x0, y0, x1, y1 = crop
    data = encode_png(np.ascontiguousarray(pixels[y0:y1, x0:x1]), dpi=doc.dpi, icc=doc.icc)
    left, top = round((box[0] + x0) * scale), round((box[1] + y0) * scale)
    shape = slide.shapes.add_picture(
        io.BytesIO(data), left, top, round((x1 - x0) * scale), round((y1 - y0) * scale)
    )
    shape.name = check_xml_text(node.name, "layer")
    prompt = node.provenance.prompt if isinstance(node, Layer) else None
    shape._element.nvPicPr.cNvPr.set("descr", check_xml_text(prompt or node.name, "the prompt of layer"))


def _pixels(node: Node, nodes: tuple[Node, ...]) -> np.ndarray:
    """The picture in the node's own box, uint8 straight RGBA, opacity and masks baked in."""
    plain = len(nodes) == 1 and node.opacity == 1 and node.mask is None
    if plain and isinstance(node, Layer) and node.pixels.dtype == np.uint8:
        return node.pixels
    box = bounds(node)
    assert box is not None
    drawn = (node.replace(clipping=False), *nodes[1:])
    return quantise(composite_nodes(drawn, box), 8)


def _repack(packed: io.BytesIO, file: BinaryIO) -> None:
    """The same archive with fixed timestamps: python-pptx writes the hour into it."""
    with zipfile.ZipFile(packed) as source, ArchiveWriter(file) as archive:
        for name in source.namelist():
            archive.add(name, source.read(name), packed=not name.endswith(".png"))
