"""What a PSD may hold and our document does not: kept as pixels where possible, always named.

Nothing here is silent: every function that loses something says so in words for ``metadata["dropped"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from psd_tools.api.layers import AdjustmentLayer, FillLayer, ShapeLayer, SmartObjectLayer, TypeLayer
from psd_tools.api.layers import Layer as PsdLayer
from psd_tools.constants import BlendMode, Clipping, Tag

from .depth import to_depth
from .limits import Budget

Placed = tuple[np.ndarray, tuple[int, int]]
# With these modes "fill opacity" is not the same as opacity in Photoshop.
_FILL_DIFFERS = {
    BlendMode.COLOR_BURN,
    BlendMode.LINEAR_BURN,
    BlendMode.COLOR_DODGE,
    BlendMode.LINEAR_DODGE,
    BlendMode.VIVID_LIGHT,
    BlendMode.LINEAR_LIGHT,
    BlendMode.HARD_MIX,
    BlendMode.DIFFERENCE,
}


def describe_losses(layer: PsdLayer) -> Iterator[str]:
    """Sentences about the features of ``layer`` that do not survive."""
    name = repr(layer.name)
    blocks = layer.tagged_blocks
    if isinstance(layer, TypeLayer):
        yield f"text layer {name} became pixels"
    if isinstance(layer, SmartObjectLayer):
        yield f"smart object {name} became pixels"
    if layer.has_effects():
        yield f"layer effects of {name}"
    fill = blocks.get_data(Tag.BLEND_FILL_OPACITY, 255)
    if isinstance(fill, int) and fill < 255 and (layer.blend_mode in _FILL_DIFFERS or layer.has_effects()):
        yield f"fill opacity of {name} became opacity"
    if blocks.get_data(Tag.KNOCKOUT_SETTING, 0):
        yield f"knockout of {name}"
    if blocks.get_data(Tag.BLEND_CLIPPING_ELEMENTS, 1) == 0:
        yield f"separate blending of the layers clipped to {name}"
    ranges = layer._record.blending_ranges
    wide = [(0, 65535), (0, 65535)]
    listed = [
        list(map(tuple, pair)) for pair in (ranges.composite_ranges, *(ranges.channel_ranges or ())) if pair
    ]
    if any(pair != wide for pair in listed):
        yield f"blend-if ranges of {name}"
    if any(key in blocks for key in (Tag.ARTBOARD_DATA1, Tag.ARTBOARD_DATA2, Tag.ARTBOARD_DATA3)):
        yield f"artboard {name} became a group"


def rendered(
    layer: PsdLayer, depth: int, budget: Budget, dropped: list[str]
) -> Placed | Literal[False] | None:
    """Pixels and offset of a shape or fill layer, drawn by psd-tools with its mask.

    None: an ordinary layer, its own pixels count. False: an adjustment layer, or one that psd-tools cannot
    draw; it is named in ``dropped`` and left out.
    """
    if isinstance(layer, AdjustmentLayer):
        dropped.append(f"adjustment layer {layer.name!r}")
        return False
    if not isinstance(layer, (ShapeLayer, FillLayer)):
        return None
    if (
        layer._record.right > layer._record.left
        and layer._record.bottom > layer._record.top
        and layer.has_pixels()
    ):
        dropped.append(f"{layer.kind} layer {layer.name!r} became pixels")
        return None
    width, height = layer._psd.width, layer._psd.height
    budget.pixels(width, height, layer.name)
    pixels = _draw(layer, depth)
    if pixels is None:
        dropped.append(f"{layer.kind} layer {layer.name!r} (psd-tools cannot draw it)")
        return False
    dropped.append(f"{layer.kind} layer {layer.name!r} became pixels")
    return pixels, (0, 0)


def _draw(layer: PsdLayer, depth: int) -> np.ndarray | None:
    """The layer alone on the canvas at full opacity; None if psd-tools lacks what it needs to draw it."""
    from psd_tools.composite import composite

    psd = layer._psd
    with _by_itself(layer):
        try:
            colour, _, alpha = composite(
                layer,
                color=0.0,
                alpha=0.0,
                viewport=(0, 0, psd.width, psd.height),
                # In place of psd-tools' own question, whether it is visible: layers clipped to it stay layers.
                layer_filter=lambda other: other is layer,
                force=True,
            )
        except (ImportError, NotImplementedError):
            return None
    if colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    pixels = np.concatenate([colour[..., :3], alpha], axis=2).astype(np.float32)
    return to_depth(np.clip(np.nan_to_num(pixels), 0, 1), depth)


@contextmanager
def _by_itself(layer: PsdLayer) -> Iterator[None]:
    """Inside, the layer has full opacity and fill opacity and is not clipped: our document holds those beside the pixels."""
    record, blocks = layer._record, layer.tagged_blocks
    opacity, clipping, fill = record.opacity, record.clipping, blocks.get(Tag.BLEND_FILL_OPACITY)
    record.opacity, record.clipping = 255, Clipping.BASE
    if fill is not None:
        del blocks[Tag.BLEND_FILL_OPACITY]
    try:
        yield
    finally:
        record.opacity, record.clipping = opacity, clipping
        if fill is not None:
            blocks[Tag.BLEND_FILL_OPACITY] = fill
