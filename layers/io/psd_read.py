"""Reads PSD and PSB into our document: same tree, same pixels, and a list of what could not be kept.

psd-tools parses the structure under limits; pixels are decoded here, strictly. What our document does not
model (text, smart objects, shapes, adjustments, effects) is kept as pixels where the file holds pixels, and
every such loss is named in ``metadata["dropped"]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from psd_tools import PSDImage
from psd_tools.api.layers import Group as PsdGroup
from psd_tools.api.layers import Layer as PsdLayer
from psd_tools.constants import BlendMode as PsdBlend
from psd_tools.constants import ColorMode, Resource, SectionDivider, Tag
from psd_tools.psd.parse_limits import ParseLimits

from ..blend import BlendMode
from ..document import MAX_NAME_LENGTH, Group, Layer, LayeredImage, Node
from .limits import LIMITS, Budget, Limits
from .manifest import read_provenance
from .psd_colour import Channels, checked_mode, merged_pixels, rgba_pixels
from .psd_masks import read_mask
from .psd_resources import read_dpi, read_icc
from .psd_special import describe_losses, rendered
from .xmp import read_xmp

_EMPTY = (1, 1)
_HEADER_BYTES = 26


@dataclass(kw_only=True)
class _Reader:
    psd: PSDImage
    what: str
    budget: Budget
    depth: int
    profile: bytes | None
    nodes: dict[str, Any] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @property
    def mode(self) -> ColorMode:
        return self.psd.color_mode

    def tree(self, parent: Any, depth: int = 0) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for layer in parent:
            self.budget.node(depth)
            node = self.group(layer, depth) if isinstance(layer, PsdGroup) else self.layer(layer)
            if node is not None:
                nodes.append(node)
        return tuple(nodes)

    def common(self, layer: PsdLayer) -> dict[str, Any]:
        """The fields that layers and groups share."""
        record = layer._record
        opacity = record.opacity / 255
        fill = layer.tagged_blocks.get_data(Tag.BLEND_FILL_OPACITY, 255)
        if isinstance(fill, int) and 0 <= fill < 255:
            opacity *= fill / 255
        lock = layer.tagged_blocks.get_data(Tag.PROTECTED_SETTING, 0)
        self.dropped.extend(describe_losses(layer))
        facts = self.facts(layer)
        return {
            "name": self.name(layer),
            "opacity": opacity,
            "visible": record.flags.visible,
            # bit 31 locks everything; the three low bits together lock pixels, transparency and position
            "locked": isinstance(lock, int) and (lock & 0x80000000 != 0 or lock & 7 == 7),
            "clipping": record.clipping.value != 0,
            "mask": read_mask(layer, self.depth, self.psd._record.header, self.budget, self.dropped),
            **({"id": facts["id"]} if _is_id(facts.get("id")) else {}),
        }

    def name(self, layer: PsdLayer) -> str:
        name = layer.name.rstrip("\0") or "Layer"
        if len(name) > MAX_NAME_LENGTH:
            self.dropped.append(f"the end of the long name {name[:40]!r}...")
        return name[:MAX_NAME_LENGTH]

    def facts(self, layer: PsdLayer) -> dict[str, Any]:
        number = layer.tagged_blocks.get_data(Tag.LAYER_ID, None)
        facts = self.nodes.get(str(number), {})
        return facts if isinstance(facts, dict) else {}

    def group(self, layer: PsdGroup, depth: int) -> Group:
        setting = layer.tagged_blocks.get_data(Tag.SECTION_DIVIDER_SETTING, None)
        return Group(
            layers=self.tree(layer, depth + 1),
            blend=_blend(layer.blend_mode),
            open=setting is None or setting.kind is not SectionDivider.CLOSED_FOLDER,
            **self.common(layer),
        )

    def layer(self, layer: PsdLayer) -> Layer | None:
        record = layer._record
        where = f"layer {layer.name!r} of {self.what}"
        special = rendered(layer, self.depth, self.budget, self.dropped)
        if special is False:
            return None
        common = self.common(layer)
        facts = self.facts(layer)
        provenance = read_provenance(facts.get("provenance", {}), where)
        blend = _blend(layer.blend_mode)
        if special is not None:
            # psd-tools has applied the mask while rendering
            common["mask"] = None
            pixels, offset = special
            return Layer(pixels=pixels, offset=offset, blend=blend, provenance=provenance, **common)
        width, height = record.right - record.left, record.bottom - record.top
        if width <= 0 or height <= 0:
            pixels = np.zeros((*_EMPTY, 4), np.uint8 if self.depth == 8 else np.uint16)
            return Layer(pixels=pixels, blend=blend, provenance=provenance, **common)
        self.budget.pixels(width, height, layer.name)
        channels = Channels.of_layer(layer, self.psd._record.header, where)
        pixels = rgba_pixels(channels, self.mode, self.profile)
        return Layer(
            pixels=pixels, offset=(record.left, record.top), blend=blend, provenance=provenance, **common
        )


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 8 and not set(value) - set("0123456789abcdef")


def _blend(mode: PsdBlend) -> BlendMode:
    return BlendMode[mode.name]


def read_psd(file: BinaryIO, what: str, limits: Limits = LIMITS) -> LayeredImage:
    """The document in a PSD or PSB file, 8 or 16 bits per channel.

    RGB pixels come back exactly, with the file's profile in ``icc``. Grey and CMYK become sRGB; 32-bit, Lab,
    multichannel, duotone and bitmap files with layers are refused by an InputError that says what to do.
    """
    head = file.read(_HEADER_BYTES)
    file.seek(0)
    if len(head) == _HEADER_BYTES:
        limits.check_size(int.from_bytes(head[18:22], "big"), int.from_bytes(head[14:18], "big"), what)
    bounds = ParseLimits(max_read_bytes=limits.file_bytes, max_total_bytes=4 * limits.file_bytes)
    psd = PSDImage.open(file, parse_limits=bounds, max_alloc_bytes=limits.pixels * 64)
    header = psd._record.header
    checked_mode(header, bool(len(psd)), what)
    profile = psd.image_resources.get_data(Resource.ICC_PROFILE)
    depth = 16 if header.depth == 16 and header.color_mode != ColorMode.CMYK else 8
    reader = _Reader(
        psd=psd,
        what=what,
        budget=Budget(what, limits),
        depth=depth,
        profile=profile if isinstance(profile, bytes) else None,
    )
    packet = psd.image_resources.get_data(Resource.XMP_METADATA)
    facts = read_xmp(packet, what, limits) if isinstance(packet, bytes) else {}
    nodes, metadata = facts.get("nodes", {}), facts.get("metadata", {})
    reader.nodes = nodes if isinstance(nodes, dict) else {}
    if header.color_mode != ColorMode.RGB:
        reader.dropped.append(f"the document was {header.color_mode.name.lower()}; its colours became sRGB")
    if header.depth == 16 and depth == 8:
        reader.dropped.append("the document had 16 bits per channel; it became 8")
    layers = reader.tree(psd) if len(psd) else (_flat_layer(reader),)
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    if reader.dropped:
        metadata["dropped"] = list(dict.fromkeys(reader.dropped))
    return LayeredImage(
        width=header.width,
        height=header.height,
        layers=layers,
        depth=16 if depth == 16 else 8,
        icc=read_icc(psd.image_resources) if header.color_mode == ColorMode.RGB else None,
        dpi=read_dpi(psd.image_resources),
        metadata=metadata,
    )


def _flat_layer(reader: _Reader) -> Layer:
    """A file without layers: its merged image as one layer."""
    header = reader.psd._record.header
    reader.budget.pixels(header.width, header.height, "Background")
    return Layer(pixels=merged_pixels(reader.psd, reader.profile, reader.what), name="Background")
