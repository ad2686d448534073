"""Writes OpenRaster: a zip of PNG layers and ``stack.xml``, the same bytes for the same document.

The format has no masks and no clipping. A layer's mask is baked into its alpha; a group's mask becomes a
"destination in" layer on top of the group; clipped layers become "source atop" layers in an isolated stack
with their base, which gives the same picture. What had to be changed is listed in the file and warned about.
Our reader turns both back.
"""

from __future__ import annotations

import re
import warnings
from typing import Any, BinaryIO
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from ...errors import InputError
from ..blend import BlendMode
from ..composite import flatten_array, mask_coverage, quantise, runs, to_float
from ..document import Group, Layer, LayeredImage, Node
from . import colour as cms
from .archive import ArchiveWriter
from .depth import stored_depth, to_depth, visible_box
from .formats import FormatWarning
from .manifest import dump_json
from .ora_ops import (
    CLIP_OP,
    MASK_OP,
    MIMETYPE,
    NAMESPACE,
    PROFILE,
    SIDECAR,
    SVG_OPS,
    check_fits,
    is_faded_pass_through,
)
from .png import encode_png

_THUMBNAIL = 256
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_xml_text(text: str, what: str) -> str:
    """``text`` itself; InputError if it holds characters that XML forbids."""
    if _NOT_XML.search(text):
        raise InputError(
            f"{what} {text!r} holds a control character, which this format cannot store: rename it"
        )
    return text


def write_ora(doc: LayeredImage, file: BinaryIO) -> None:
    """Write ``doc`` to an open binary file as OpenRaster.

    Raises InputError, naming the layer and the formats that hold it, for what OpenRaster cannot express.
    Warns with FormatWarning about masks and clipping, which are stored in another form.
    """
    check_fits(doc)
    with ArchiveWriter(file) as archive:
        writer = _OraWriter(doc, archive)
        writer.run()
    if writer.changed:
        warnings.warn("OpenRaster has no " + "; no ".join(writer.changed), FormatWarning, stacklevel=2)


class _OraWriter:
    def __init__(self, doc: LayeredImage, archive: ArchiveWriter) -> None:
        self.doc = doc
        self.archive = archive
        self.lines: list[str] = []
        self.nodes: dict[str, dict[str, Any]] = {}
        self.changed: list[str] = []
        self.pictures = 0

    def run(self) -> None:
        doc = self.doc
        self.archive.add("mimetype", MIMETYPE)
        ppi = round(min(max(doc.dpi, 1.0), 65535.0))
        size = f'w="{doc.width}" h="{doc.height}" xres="{ppi}" yres="{ppi}"'
        self.lines.append('<?xml version="1.0" encoding="UTF-8"?>')
        self.lines.append(f'<image version="0.0.6" {size} xmlns:acetate="{NAMESPACE}">')
        self.lines.append("<stack>")
        pictures = self._stack(doc.layers)
        self.lines.extend(("</stack>", "</image>"))
        # stack.xml comes before the pictures, so the tree is known before any of them is encoded.
        self.archive.add("stack.xml", ("\n".join(self.lines) + "\n").encode(), packed=True)
        for name, pixels in pictures:
            self.archive.add(name, self._png(pixels()))
        merged = flatten_array(doc, 8)
        self.archive.add("mergedimage.png", self._png(merged))
        self.archive.add("Thumbnails/thumbnail.png", encode_png(_thumbnail(merged)))
        if doc.icc is not None:
            self.archive.add(PROFILE, doc.icc)
        facts = {
            "format": "acetate",
            "version": 1,
            "dpi": doc.dpi,
            "metadata": doc.metadata,
            "nodes": self.nodes,
        }
        self.archive.add(SIDECAR, dump_json({**facts, "changed": self.changed}, "the document"), packed=True)

    def _png(self, pixels: np.ndarray) -> bytes:
        # Krita 5.1 asks a person which profile a 16-bit PNG without one has, even when nobody is there to
        # answer.
        named = self.doc.icc is not None or pixels.dtype == np.uint16
        icc = (self.doc.icc or cms.srgb_profile()) if named else None
        return encode_png(pixels, dpi=self.doc.dpi, icc=icc)

    def _stack(self, nodes: tuple[Node, ...]) -> list[tuple[str, Any]]:
        """Write the elements of ``nodes``, top first; return (file name, function giving the pixels) of their
        layers.
        """
        pictures: list[tuple[str, Any]] = []
        for base, clipped in reversed(runs(nodes)):
            if not clipped:
                pictures += self._node(base)
                continue
            self.changed.append(f"clipping: layers clipped to {base.name!r} became an isolated stack")
            name = quoteattr(check_xml_text(base.name, "layer"))
            op = SVG_OPS[_isolated(base.blend)]
            shown = "visible" if base.visible else "hidden"
            self.lines.append(
                f'<stack name={name} composite-op="{op}" opacity="1" visibility="{shown}" '
                'isolation="isolate" acetate:clip="1">'
            )
            for node in reversed(clipped):
                pictures += self._node(node, op=CLIP_OP)
            pictures += self._node(base, op="svg:src-over", isolate=True)
            self.lines.append("</stack>")
        return pictures

    def _attributes(self, node: Node, op: str | None) -> str:
        if op is None:
            op = SVG_OPS[BlendMode.NORMAL if node.blend is BlendMode.PASS_THROUGH else node.blend]
        facts: dict[str, Any] = {"blend": node.blend.value}
        if isinstance(node, Layer) and node.provenance.as_dict():
            facts["provenance"] = node.provenance.as_dict()
        self.nodes[node.id] = facts
        locked = ' edit-locked="true"' if node.locked else ""
        return (
            f'name={quoteattr(check_xml_text(node.name, "layer"))} opacity="{float(node.opacity)!r}" '
            f'visibility="{"visible" if node.visible else "hidden"}" composite-op="{op}"'
            f'{locked} acetate:id="{node.id}"'
        )

    def _node(self, node: Node, op: str | None = None, isolate: bool = False) -> list[tuple[str, Any]]:
        if isinstance(node, Group):
            return self._group(node, op, isolate)
        name, pixels, offset = self._picture(node)
        self.lines.append(
            f'<layer {self._attributes(node, op)} src="{name}" x="{offset[0]}" y="{offset[1]}"/>'
        )
        return [(name, pixels)]

    def _group(self, node: Group, op: str | None, isolate: bool) -> list[tuple[str, Any]]:
        through = node.blend is BlendMode.PASS_THROUGH and not is_faded_pass_through(node)
        isolation = "auto" if through and not isolate and op is None else "isolate"
        fold = "" if node.open else ' acetate:open="0"'
        self.lines.append(f'<stack {self._attributes(node, op)} isolation="{isolation}"{fold}>')
        pictures: list[tuple[str, Any]] = []
        if node.mask is not None and node.mask.enabled:
            self.changed.append(f"masks: that of group {node.name!r} became a layer")
            pictures.append(self._mask_layer(node))
        elif node.mask is not None:
            self.changed.append(f"masks: the disabled one of {node.name!r} was left out")
        pictures += self._stack(node.layers)
        self.lines.append("</stack>")
        return pictures

    def _name(self) -> str:
        self.pictures += 1
        return f"data/{self.pictures - 1:03d}.png"

    def _mask_layer(self, node: Group) -> tuple[str, Any]:
        name = self._name()
        label = quoteattr(f"{node.name} mask"[:255])
        self.lines.append(
            f'<layer name={label} src="{name}" x="0" y="0" opacity="1" visibility="visible" '
            f'composite-op="{MASK_OP}" acetate:mask="1"/>'
        )

        def pixels() -> np.ndarray:
            assert node.mask is not None
            coverage = mask_coverage(node.mask, self.doc.box)
            assert coverage is not None
            depth = stored_depth(node.mask.pixels, self.doc.depth)
            alpha = quantise(coverage, depth)
            white = np.full((*alpha.shape, 4), np.iinfo(alpha.dtype).max, alpha.dtype)
            white[..., 3] = alpha
            return white

        return name, pixels

    def _picture(self, layer: Layer) -> tuple[str, Any, tuple[int, int]]:
        """File name, function giving the stored pixels, and offset of a layer, cropped to what is visible."""
        masked = layer.mask is not None and layer.mask.enabled
        if layer.mask is not None:
            what = "was baked into the alpha" if masked else "is disabled and was left out"
            self.changed.append(f"masks: that of {layer.name!r} {what}")
        depth = stored_depth(layer.pixels, self.doc.depth)

        def alpha() -> np.ndarray:
            whole = layer.pixels[..., 3]
            coverage = mask_coverage(layer.mask, layer.box) if layer.mask is not None else None
            return to_depth(whole, depth) if coverage is None else quantise(to_float(whole) * coverage, depth)

        x0, y0, x1, y1 = visible_box(alpha()) or (0, 0, 1, 1)

        def pixels() -> np.ndarray:
            crop = to_depth(layer.pixels[y0:y1, x0:x1], depth)
            if not masked:
                return crop
            crop = np.array(crop)
            crop[..., 3] = alpha()[y0:y1, x0:x1]
            return crop

        return self._name(), pixels, (layer.offset[0] + x0, layer.offset[1] + y0)


def _isolated(blend: BlendMode) -> BlendMode:
    return BlendMode.NORMAL if blend is BlendMode.PASS_THROUGH else blend


def _thumbnail(merged: np.ndarray) -> np.ndarray:
    image = Image.fromarray(merged, "RGBA").convert("RGBa")  # resampling wants premultiplied colours
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(image.convert("RGBA"))
