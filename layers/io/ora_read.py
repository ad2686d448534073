"""Reads OpenRaster from anyone: strict about safety, tolerant about taste.

Unknown composite operators become normal and are named in ``metadata["dropped"]``; damage, bombs, document
types and names that leave the archive are refused.
"""

from __future__ import annotations

import math
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ...errors import InputError
from ..blend import BlendMode
from ..document import MAX_NAME_LENGTH, Group, Layer, LayeredImage, Mask, Node
from . import colour as cms
from .archive import ArchiveReader
from .limits import LIMITS, Budget, Limits
from .manifest import load_json, read_provenance
from .ora_colour import PictureProfiles
from .ora_ops import BLENDS, CLIP_OP, MASK_OP, NAMESPACE, PROFILE, SIDECAR, UNMASK_OP
from .png_read import decode_png, png_size
from .xmltree import parse_xml

_COORDINATE = 2**31 - 1
_OURS = f"{{{NAMESPACE}}}"
_PROFILE_BYTES = 1 << 24


def read_ora(archive: ArchiveReader, limits: Limits = LIMITS) -> LayeredImage:
    """The document in an OpenRaster archive; masks and clipping in the form of ``ora_write`` are restored."""
    return _OraReader(archive, limits).document()


class _OraReader:
    def __init__(self, archive: ArchiveReader, limits: Limits) -> None:
        self.archive = archive
        self.what = archive.what
        self.limits = limits
        self.budget = Budget(self.what, limits)
        self.dropped: list[str] = []
        self.deep = False
        self.facts: dict[str, Any] = {}
        self.profiles: PictureProfiles | None = None

    def document(self) -> LayeredImage:
        data = self.archive.read("stack.xml", most=self.limits.text_bytes)
        root = parse_xml(data, f"stack.xml in {self.what}", max_bytes=self.limits.text_bytes)
        stack = root.find("stack")
        if root.tag != "image" or stack is None:
            raise InputError(f"{self.what} has no layer stack in stack.xml: save it again from its program")
        width, height = self._integer(root, "w", None), self._integer(root, "h", None)
        self.limits.check_size(width, height, self.what)
        sidecar = self._sidecar()
        nodes = sidecar.get("nodes")
        self.facts = nodes if isinstance(nodes, dict) else {}
        icc = self._profile(stack)
        layers = self._children(stack, (0, 0), 0)[0]
        metadata = sidecar.get("metadata")
        metadata = dict(metadata) if isinstance(metadata, dict) else {}
        if self.dropped:
            metadata["dropped"] = list(dict.fromkeys(self.dropped))
        return LayeredImage(
            width=width,
            height=height,
            layers=layers,
            depth=16 if self.deep else 8,
            icc=icc,
            dpi=self._dpi(root, sidecar),
            metadata=metadata,
        )

    def _profile(self, stack: Element) -> bytes | None:
        if PROFILE in self.archive.names():
            return cms.checked_profile(self.archive.read(PROFILE, most=_PROFILE_BYTES), self.what)
        self.profiles = PictureProfiles(self.archive, stack)
        if self.profiles.mixed:
            self.dropped.append("the colour profiles of the layers, which differ; their colours became sRGB")
        return self.profiles.icc

    def _sidecar(self) -> dict[str, Any]:
        if SIDECAR not in self.archive.names():
            return {}
        what = f"{SIDECAR} in {self.what}"
        value = load_json(self.archive.read(SIDECAR, most=self.limits.text_bytes), what)
        if not isinstance(value, dict):
            raise InputError(f"{what} must be an object: save the document again")
        return value

    def _dpi(self, root: Element, sidecar: dict[str, Any]) -> float:
        dpi = sidecar.get("dpi")
        if isinstance(dpi, int | float) and not isinstance(dpi, bool) and 1e-6 <= dpi <= 1e9:
            return float(dpi)
        return float(min(max(self._integer(root, "xres", 72), 1), 65535))

    def _integer(self, element: Element, key: str, default: int | None) -> int:
        text = element.get(key)
        if text is None and default is not None:
            return default
        try:
            value = int(text or "")
        except ValueError:
            value = _COORDINATE + 1
        if abs(value) > _COORDINATE:
            raise InputError(
                f"stack.xml in {self.what}: {key}={str(text)[:40]!r} is not a sensible whole number"
            )
        return value

    def _opacity(self, element: Element) -> float:
        text = element.get("opacity", "1")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"stack.xml in {self.what}: opacity={text[:40]!r} is not a number from 0 to 1")
        return min(max(value, 0.0), 1.0)

    def _children(
        self, stack: Element, offset: tuple[int, int], depth: int
    ) -> tuple[tuple[Node, ...], Mask | None]:
        """The nodes of a stack, bottom to top, and the mask if its topmost layer is one."""
        elements = [element for element in stack if element.tag in ("layer", "stack")]
        mask = None
        if depth and elements and elements[0].tag == "layer" and elements[0].get("composite-op") == MASK_OP:
            top = elements.pop(0)
            layer = self._layer(top, offset)
            alpha = layer.pixels[..., 3]
            mask = Mask(pixels=np.ascontiguousarray(alpha), offset=layer.offset, enabled=layer.visible)
        nodes: list[Node] = []
        for element in reversed(elements):
            self.budget.node(depth)
            if element.tag == "layer":
                nodes.append(self._layer(element, offset))
            else:
                nodes.extend(self._stack(element, offset, depth + 1))
        return tuple(nodes), mask

    def _common(self, element: Element) -> dict[str, Any]:
        name = element.get("name") or element.tag.capitalize()
        if len(name) > MAX_NAME_LENGTH:
            self.dropped.append(f"the end of the long name {name[:40]!r}...")
        own = element.get(f"{_OURS}id", "")
        valid = len(own) == 8 and not set(own) - set("0123456789abcdef")
        return {
            "name": name[:MAX_NAME_LENGTH],
            "opacity": self._opacity(element),
            "visible": element.get("visibility", "visible") != "hidden",
            "locked": element.get("edit-locked") == "true",
            "clipping": element.get("composite-op") == CLIP_OP,
            **({"id": own} if valid else {}),
        }

    def _blend(self, element: Element, name: str) -> BlendMode:
        op = element.get("composite-op", "svg:src-over")
        if op == CLIP_OP:
            return BlendMode.NORMAL
        if op not in BLENDS:
            kind = "as a mask inside its group only" if op in (MASK_OP, UNMASK_OP) else "not at all"
            self.dropped.append(f"composite operator {op[:40]!r} of {name!r} (acetate knows it {kind})")
            return BlendMode.NORMAL
        return BLENDS[op]

    def _facts(self, element: Element) -> dict[str, Any]:
        facts = self.facts.get(element.get(f"{_OURS}id", ""), {})
        return facts if isinstance(facts, dict) else {}

    def _layer(self, element: Element, offset: tuple[int, int]) -> Layer:
        common = self._common(element)
        source = element.get("src", "")
        where = f"{source[:80]!r} in {self.what}"
        data = self.archive.read(source, most=self.limits.file_bytes)
        width, height, _, _ = png_size(data, where)
        self.budget.pixels(width, height, common["name"])
        pixels = decode_png(data, where, limits=self.limits)
        if self.profiles is not None:
            pixels = self.profiles.applied(pixels, source)
        self.deep = self.deep or pixels.dtype == np.uint16
        provenance = read_provenance(self._facts(element).get("provenance", {}), f"layer {common['name']!r}")
        place = (offset[0] + self._integer(element, "x", 0), offset[1] + self._integer(element, "y", 0))
        blend = (
            BlendMode.NORMAL
            if element.get("composite-op") == MASK_OP
            else self._blend(element, common["name"])
        )
        return Layer(pixels=pixels, offset=place, blend=blend, provenance=provenance, **common)

    def _stack(self, element: Element, offset: tuple[int, int], depth: int) -> list[Node]:
        common = self._common(element)
        inside = (offset[0] + self._integer(element, "x", 0), offset[1] + self._integer(element, "y", 0))
        nodes, mask = self._children(element, inside, depth)
        blend = self._blend(element, common["name"])
        if element.get(f"{_OURS}clip") == "1" and nodes and mask is None and not nodes[0].clipping:
            base = nodes[0].replace(blend=_kept_blend(nodes[0], blend), visible=common["visible"])
            return [base, *nodes[1:]]
        through = (
            element.get("isolation", "auto") != "isolate"
            and common["opacity"] == 1
            and not common["clipping"]
        )
        if through and blend is BlendMode.NORMAL and mask is None:
            blend = BlendMode.PASS_THROUGH
        elif blend is BlendMode.NORMAL and self._facts(element).get("blend") == BlendMode.PASS_THROUGH.value:
            blend = (
                BlendMode.PASS_THROUGH
            )  # isolated only because the format cannot fade a pass-through group
        unfolded = element.get(f"{_OURS}open") != "0"
        return [Group(layers=nodes, blend=blend, mask=mask, open=unfolded, **common)]


def _kept_blend(base: Node, blend: BlendMode) -> BlendMode:
    through = isinstance(base, Group) and base.blend is BlendMode.PASS_THROUGH and blend is BlendMode.NORMAL
    return BlendMode.PASS_THROUGH if through else blend
