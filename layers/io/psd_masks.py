"""The pixel mask of a PSD layer or group. Vector masks count where the file holds them rendered."""

from __future__ import annotations

import numpy as np
from psd_tools.api.layers import Layer as PsdLayer
from psd_tools.constants import ChannelID
from psd_tools.psd.header import FileHeader

from ..document import Mask
from .limits import Budget
from .psd_channels import decode_plane


def read_mask(
    layer: PsdLayer, depth: int, header: FileHeader, budget: Budget, dropped: list[str]
) -> Mask | None:
    """The mask of ``layer`` as our Mask, or None. What it loses (feather, an unrendered vector mask) goes to
    ``dropped``.
    """
    record = layer._record
    data = record.mask_data
    planes = {info.id: channel for info, channel in zip(record.channel_info, layer._channels, strict=True)}
    if (
        layer.has_vector_mask()
        and not {ChannelID.USER_LAYER_MASK, ChannelID.REAL_USER_LAYER_MASK} & planes.keys()
    ):
        dropped.append(f"vector mask of {layer.name!r}")
    if data is None:
        return None
    real = ChannelID.REAL_USER_LAYER_MASK in planes and data.real_top is not None
    if not real and ChannelID.USER_LAYER_MASK not in planes:
        return None
    if real:  # the pixel and the vector mask, already combined
        left, top, right, bottom = data.real_left, data.real_top, data.real_right, data.real_bottom
        background, disabled = (
            data.real_background_color or 0,
            bool(data.real_flags and data.real_flags.mask_disabled),
        )
        channel = planes[ChannelID.REAL_USER_LAYER_MASK]
    else:
        left, top, right, bottom = data.left, data.top, data.right, data.bottom
        background, disabled = data.background_color, data.flags.mask_disabled
        channel = planes[ChannelID.USER_LAYER_MASK]
    assert left is not None and top is not None and right is not None and bottom is not None
    width, height = right - left, bottom - top
    density = data.parameters.user_mask_density if data.parameters is not None else None
    if data.parameters is not None and (
        data.parameters.user_mask_feather or data.parameters.vector_mask_feather
    ):
        dropped.append(f"feather of the mask of {layer.name!r}")
    if width <= 0 or height <= 0:
        # a mask of one colour: one pixel of it, the rest is the default
        pixels = np.full((1, 1), background, np.uint8)
        left = top = 0
    else:
        budget.pixels(width, height, layer.name)
        where = f"the mask of layer {layer.name!r} of {budget.what}"
        pixels = decode_plane(
            channel.data, channel.compression, width, height, header.depth, header.version, where
        )
        if pixels.dtype == np.uint16 and depth == 8:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    default = background / 255
    if density is not None and density < 255:
        most = np.iinfo(pixels.dtype).max
        faded = most - (most - pixels.astype(np.float64)) * (density / 255)
        pixels = np.floor(faded + 0.5).astype(pixels.dtype)
        default = 1 - (1 - default) * density / 255
    return Mask(pixels=pixels, offset=(left, top), default=default, enabled=not disabled)
