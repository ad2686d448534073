"""What OpenRaster calls our blend modes, and the checks that a document fits the format at all."""

from __future__ import annotations

from ...errors import InputError
from ..blend import BlendMode
from ..document import Group, LayeredImage, Node

MIMETYPE = b"image/openraster"
NAMESPACE = "urn:acetate:openraster:1"
SIDECAR = "acetate.json"
PROFILE = "profile.icc"

SVG_OPS = {
    BlendMode.NORMAL: "svg:src-over",
    BlendMode.MULTIPLY: "svg:multiply",
    BlendMode.SCREEN: "svg:screen",
    BlendMode.OVERLAY: "svg:overlay",
    BlendMode.DARKEN: "svg:darken",
    BlendMode.LIGHTEN: "svg:lighten",
    BlendMode.COLOR_DODGE: "svg:color-dodge",
    BlendMode.COLOR_BURN: "svg:color-burn",
    BlendMode.HARD_LIGHT: "svg:hard-light",
    BlendMode.SOFT_LIGHT: "svg:soft-light",
    BlendMode.DIFFERENCE: "svg:difference",
    BlendMode.COLOR: "svg:color",
    BlendMode.LUMINOSITY: "svg:luminosity",
    BlendMode.HUE: "svg:hue",
    BlendMode.SATURATION: "svg:saturation",
    BlendMode.LINEAR_DODGE: "svg:plus",
}
BLENDS = {op: mode for mode, op in SVG_OPS.items()}
CLIP_OP = "svg:src-atop"
MASK_OP = "svg:dst-in"
UNMASK_OP = "svg:dst-out"

_REMEDY = "save it as psd or zip, or change it"


def check_fits(doc: LayeredImage) -> None:
    """Raise InputError naming the first layer that OpenRaster cannot hold, and the formats that can."""
    for _, node in doc.walk():
        kind = "group" if isinstance(node, Group) else "layer"
        if node.blend is not BlendMode.PASS_THROUGH and node.blend not in SVG_OPS:
            raise InputError(
                f"{kind} {node.name!r} has blend mode {node.blend}, which OpenRaster lacks: {_REMEDY}"
            )
        if node.clipping and node.blend not in (BlendMode.NORMAL, BlendMode.PASS_THROUGH):
            raise InputError(
                f"{kind} {node.name!r} is clipped with blend mode {node.blend}; OpenRaster clips in normal mode "
                f"only: {_REMEDY}"
            )
        if isinstance(node, Group) and is_faded_pass_through(node) and not only_normal(node):
            raise InputError(
                f"group {node.name!r} is pass-through with an opacity or mask and blend modes inside, which "
                f"OpenRaster lacks: {_REMEDY}"
            )


def is_faded_pass_through(group: Group) -> bool:
    """Whether a pass-through group has an opacity or an active mask."""
    masked = group.mask is not None and group.mask.enabled
    return group.blend is BlendMode.PASS_THROUGH and (group.opacity < 1 or masked)


def only_normal(node: Node) -> bool:
    """Whether all inside is drawn in normal mode: then pass-through and isolated give the same picture."""
    if node.blend not in (BlendMode.NORMAL, BlendMode.PASS_THROUGH):
        return False
    return not isinstance(node, Group) or all(only_normal(child) for child in node.layers)
