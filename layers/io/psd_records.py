"""The layer records of a PSD: our tree of nodes as the flat list, bottom to top, that the format stores.

A group is a bounding divider below its children and a folder record above them. Everything but the pixels is
here; ``psd_write.py`` adds those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from psd_tools.constants import BlendMode as PsdBlend
from psd_tools.constants import ChannelID, Clipping, ProtectedFlags, SectionDivider, Tag
from psd_tools.psd.layer_and_mask import ChannelInfo, LayerFlags, LayerRecord, MaskData, MaskFlags
from psd_tools.psd.tagged_blocks import TaggedBlocks

from ..blend import BlendMode
from ..document import Box, Group, Layer, LayeredImage, Mask, Node
from .depth import to_depth, visible_box

_COLOUR_CHANNELS = (
    ChannelID.TRANSPARENCY_MASK,
    ChannelID.CHANNEL_0,
    ChannelID.CHANNEL_1,
    ChannelID.CHANNEL_2,
)
_DIVIDER_NAME = "</Layer group>"
_PASCAL_LENGTH = 255


@dataclass(kw_only=True)
class Entry:
    """One record, and where its pixels come from: a layer's crop (half-open, layer pixels), and a mask."""

    record: LayerRecord
    layer: Layer | None = None
    crop: Box | None = None
    mask: Mask | None = None


def entries(doc: LayeredImage) -> Iterator[tuple[Node | None, Entry]]:
    """(node, entry) of every record of the document, bottom to top; the node is None for a bounding
    divider.
    """
    for number, (node, entry) in enumerate(_walk(doc, doc.layers), start=1):
        if node is not None:
            entry.record.tagged_blocks.set_data(Tag.LAYER_ID, number)
        yield node, entry


def _walk(doc: LayeredImage, nodes: tuple[Node, ...]) -> Iterator[tuple[Node | None, Entry]]:
    for node in nodes:
        if isinstance(node, Group):
            yield None, _divider()
            yield from _walk(doc, node.layers)
            yield node, _group(doc, node)
        else:
            yield node, _layer(doc, node)


def _divider() -> Entry:
    record = LayerRecord(name=_DIVIDER_NAME, flags=LayerFlags(pixel_data_irrelevant=True))
    record.tagged_blocks = TaggedBlocks()
    record.tagged_blocks.set_data(Tag.UNICODE_LAYER_NAME, _DIVIDER_NAME)
    record.tagged_blocks.set_data(Tag.SECTION_DIVIDER_SETTING, SectionDivider.BOUNDING_SECTION_DIVIDER)
    record.channel_info = [ChannelInfo(id=channel) for channel in _COLOUR_CHANNELS]
    return Entry(record=record)


def _common(node: Node) -> LayerRecord:
    """A record with all that layers and groups share."""
    blocks = TaggedBlocks()
    blocks.set_data(Tag.UNICODE_LAYER_NAME, node.name)
    if node.locked:
        blocks.set_data(Tag.PROTECTED_SETTING, ProtectedFlags.COMPLETE)
    pascal = node.name.encode("mac_roman", "replace")[:_PASCAL_LENGTH].decode("mac_roman")
    return LayerRecord(
        name=pascal,
        opacity=opacity_byte(node.opacity),
        blend_mode=psd_blend(node.blend if node.blend is not BlendMode.PASS_THROUGH else BlendMode.NORMAL),
        clipping=Clipping.NON_BASE if node.clipping else Clipping.BASE,
        flags=LayerFlags(visible=node.visible, pixel_data_irrelevant=isinstance(node, Group)),
        channel_info=[ChannelInfo(id=channel) for channel in _COLOUR_CHANNELS],
        tagged_blocks=blocks,
    )


def _group(doc: LayeredImage, node: Group) -> Entry:
    record = _common(node)
    kind = SectionDivider.OPEN_FOLDER if node.open else SectionDivider.CLOSED_FOLDER
    record.tagged_blocks.set_data(
        Tag.SECTION_DIVIDER_SETTING, kind, signature=b"8BIM", blend_mode=psd_blend(node.blend)
    )
    return _with_mask(Entry(record=record), node, doc, (0, 0, doc.width, doc.height))


def _layer(doc: LayeredImage, node: Layer) -> Entry:
    record = _common(node)
    crop = visible_box(to_depth(node.pixels[..., 3], doc.depth))
    if crop is not None:
        (x, y), (x0, y0, x1, y1) = node.offset, crop
        record.left, record.top, record.right, record.bottom = x + x0, y + y0, x + x1, y + y1
    return _with_mask(Entry(record=record, layer=node, crop=crop), node, doc, node.box)


def _with_mask(entry: Entry, node: Node, doc: LayeredImage, extent: Box) -> Entry:
    if node.mask is None:
        return entry
    mask = node.mask if node.mask.default in (0.0, 1.0) else _widened(node.mask, extent, doc.depth)
    entry.mask = mask
    x0, y0, x1, y1 = mask.box
    entry.record.mask_data = MaskData(
        top=y0,
        left=x0,
        bottom=y1,
        right=x1,
        background_color=255 if mask.default else 0,
        flags=MaskFlags(mask_disabled=not mask.enabled),
    )
    entry.record.channel_info.append(ChannelInfo(id=ChannelID.USER_LAYER_MASK))
    return entry


def _widened(mask: Mask, extent: Box, depth: int) -> Mask:
    """The mask with its default painted over ``extent``: the format knows only 0 and 255 outside a mask's
    pixels.
    """
    x0, y0 = min(extent[0], mask.box[0]), min(extent[1], mask.box[1])
    x1, y1 = max(extent[2], mask.box[2]), max(extent[3], mask.box[3])
    pixels = np.full((y1 - y0, x1 - x0), to_depth(np.array([[mask.default]], np.float32), depth)[0, 0])
    (x, y), (height, width) = mask.offset, mask.pixels.shape
    pixels[y - y0 : y - y0 + height, x - x0 : x - x0 + width] = to_depth(mask.pixels, depth)
    return Mask(pixels=pixels, offset=(x0, y0), default=0.0, enabled=mask.enabled)


def opacity_byte(opacity: float) -> int:
    """An opacity as the format stores it, 0..255, rounded half up."""
    return int(opacity * 255 + 0.5)


def psd_blend(mode: BlendMode) -> PsdBlend:
    """The format's key of one of our blend modes (it has all of them, under the same names)."""
    return PsdBlend[mode.name]
