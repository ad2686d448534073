"""The colour channels of a PSD layer or merged image as straight RGBA, for every colour mode we read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from psd_tools import PSDImage
from psd_tools.api.layers import Layer as PsdLayer
from psd_tools.constants import ColorMode, Tag
from psd_tools.psd.header import FileHeader

from ...errors import InputError
from . import colour as cms
from .psd_channels import decode_plane

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLOURS = {ColorMode.RGB: 3, ColorMode.GRAYSCALE: 1, ColorMode.DUOTONE: 1, ColorMode.CMYK: 4}
_FLAT_ONLY = (ColorMode.INDEXED, ColorMode.BITMAP)
_ALPHA = -1
_MAX_INDEXED = 256


@dataclass(frozen=True)
class Channels:
    """Decoded planes by channel number (-1 is alpha), all H x W uint8 or uint16."""

    planes: Mapping[int, np.ndarray]
    height: int
    width: int
    depth: int

    @classmethod
    def of_layer(cls, layer: PsdLayer, header: FileHeader, what: str) -> Channels:
        """The colour and alpha planes of a pixel layer; missing colour channels are an InputError."""
        record = layer._record
        width, height = record.right - record.left, record.bottom - record.top
        planes = {}
        for info, data in zip(record.channel_info, layer._channels, strict=True):
            number = int(info.id)
            if _ALPHA <= number < _COLOURS[header.color_mode]:
                planes[number] = decode_plane(
                    data.data, data.compression, width, height, header.depth, header.version, what
                )
        missing = set(range(_COLOURS[header.color_mode])) - set(planes)
        if missing:
            raise InputError(f"{what} lacks colour channels: save the file again from its program")
        return cls(planes, height, width, header.depth)


def checked_mode(header: FileHeader, has_layers: bool, what: str) -> None:
    """Raise InputError, with the remedy, for a colour mode or depth that is not read."""
    if header.depth == 32:
        raise InputError(f"{what} has 32 bits per channel: convert it to 16 or 8 bits first (Image > Mode)")
    readable = header.color_mode in _COLOURS or (header.color_mode in _FLAT_ONLY and not has_layers)
    if not readable or (header.depth == 1) != (header.color_mode == ColorMode.BITMAP):
        raise InputError(
            f"{what} is in {header.color_mode.name.lower()} mode: convert it to RGB first (Image > Mode)"
        )
    needed = _COLOURS.get(header.color_mode, 1)
    if header.channels < needed:
        raise InputError(
            f"{what} says it has {header.channels} channels but its mode needs {needed}: it is damaged"
        )


def rgba_pixels(channels: Channels, mode: ColorMode, profile: bytes | None) -> np.ndarray:
    """H x W x 4 straight RGBA: RGB exactly as stored, grey and CMYK converted to sRGB."""
    dtype = np.uint8 if channels.depth == 8 else np.uint16
    top = np.iinfo(dtype).max
    alpha = channels.planes.get(_ALPHA)
    if mode == ColorMode.CMYK and channels.depth == 16:
        dtype, top = np.uint8, 255
        alpha = None if alpha is None else _eight_bit(alpha)
    pixels = np.empty((channels.height, channels.width, 4), dtype)
    pixels[..., 3] = top if alpha is None else alpha
    if mode == ColorMode.RGB:
        for plane in range(3):
            pixels[..., plane] = channels.planes[plane]
    elif mode == ColorMode.CMYK:
        inks = [channels.planes[k] for k in range(4)]
        inks = [_eight_bit(ink) if ink.dtype == np.uint16 else ink for ink in inks]
        # The file counts paper left, Pillow counts ink.
        image = Image.merge("CMYK", [Image.fromarray(255 - ink) for ink in inks])
        pixels[..., :3] = cms.cmyk_to_srgb(image, profile)
    else:
        pixels[..., :3] = cms.grey_to_srgb(channels.planes[0], profile)
    return pixels


def _eight_bit(plane: np.ndarray) -> np.ndarray:
    return ((plane.astype(np.uint32) + 128) // 257).astype(np.uint8)


def merged_pixels(psd: PSDImage, profile: bytes | None, what: str) -> np.ndarray:
    """The merged image of a file without layers, H x W x 4 straight.

    The fourth channel counts as alpha only where the file says that it is the transparency of the merged
    image; then the colours are un-blended from white.
    """
    header, data = psd._record.header, psd._record.image_data
    where = f"the picture in {what}"
    if header.color_mode == ColorMode.BITMAP:
        rows = decode_plane(
            data.data, data.compression, (header.width + 7) // 8, header.height, 8, header.version, where
        )
        ink = np.unpackbits(rows, axis=1)[:, : header.width]
        return opaque(np.repeat((255 * (1 - ink)).astype(np.uint8)[..., None], 3, axis=2))
    stacked = decode_plane(
        data.data,
        data.compression,
        header.width,
        header.height * header.channels,
        header.depth,
        header.version,
        where,
    ).reshape(header.channels, header.height, header.width)
    if header.color_mode == ColorMode.INDEXED:
        table = np.frombuffer(psd._record.color_mode_data.value, np.uint8)
        if table.size != 3 * _MAX_INDEXED:
            raise InputError(f"{what} has no colour table of 256 entries: it is damaged")
        return opaque(table.reshape(3, _MAX_INDEXED).T[stacked[0]])
    colours = _COLOURS[header.color_mode]
    planes = {k: stacked[k] for k in range(colours)}
    has_alpha = header.channels > colours and _merged_transparency(psd)
    if has_alpha:
        planes[_ALPHA] = stacked[colours]
    pixels = rgba_pixels(
        Channels(planes, header.height, header.width, header.depth), header.color_mode, profile
    )
    return _unblend(pixels) if has_alpha and header.color_mode == ColorMode.RGB else pixels


def opaque(colour: np.ndarray) -> np.ndarray:
    """H x W x 3 uint8 with an opaque alpha plane added."""
    return np.concatenate([colour, np.full((*colour.shape[:2], 1), 255, np.uint8)], axis=2)


def _merged_transparency(psd: PSDImage) -> bool:
    info = psd._record._get_layer_info()
    blocks = psd.tagged_blocks
    tags = (Tag.SAVING_MERGED_TRANSPARENCY, Tag.SAVING_MERGED_TRANSPARENCY16)
    return (info is not None and info.layer_count < 0) or (
        blocks is not None and any(tag in blocks for tag in tags)
    )


def _unblend(pixels: np.ndarray) -> np.ndarray:
    top = np.float32(np.iinfo(pixels.dtype).max)
    alpha = pixels[..., 3:].astype(np.float32) / top
    colour = pixels[..., :3].astype(np.float32) / top
    straight = np.divide(colour - (1 - alpha), alpha, out=np.zeros_like(colour), where=alpha > 0)
    pixels[..., :3] = np.floor(np.clip(straight, 0, 1) * top + np.float32(0.5))
    return pixels
