"""Reads one flat picture of any common kind into straight sRGB RGBA pixels.

What it settles once for everybody: EXIF rotation, colour profiles, CMYK, grey, palettes, 1 bit, 16 bit,
transparency. It refuses animations, floating-point pictures and anything larger than the limits, before
decoding. A layered file (PSD, OpenRaster, zip, folder) given as a picture is flattened.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms

from ...errors import InputError
from . import colour as cms
from .limits import LIMITS, Limits, reading
from .sniff import open_source, sniff
from .tiff_kind import tiff_kind

# No EPS, PDF, WMF or FLI: those run other programs or have weak signatures that match any text.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "PPM", "QOI", "ICO")
_ORIENTATION = 0x0112
_PHOTOMETRIC = 262


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded picture.

    ``pixels`` is H x W x 4, straight alpha, sRGB, uint8 or (for 16-bit files) uint16. ``has_alpha`` says
    whether any pixel is less than opaque. ``dpi`` is the horizontal resolution (72 where the file names
    none), ``mode`` what the file held ("RGB", "CMYK", "P", "LA", "RGBA;16" ...), ``path`` where it came from
    (None: memory), ``xmp`` its XMP packet as it is (None: none), ``dropped`` what of a layered file could not be read.
    """

    pixels: np.ndarray
    has_alpha: bool
    dpi: float = 72.0
    path: Path | None = None
    mode: str = "RGBA"
    xmp: bytes | None = None
    dropped: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def read_picture(
    source: str | os.PathLike[str] | bytes | BinaryIO | Image.Image, *, limits: Limits = LIMITS
) -> Picture:
    """The picture in a file, in bytes or in a Pillow image, as straight sRGB RGBA.

    Raises InputError, one sentence that names the file and the remedy, for a missing, empty, truncated,
    animated, too large or unknown file. A fully transparent picture is valid.
    """
    if isinstance(source, Image.Image):
        limits.check_size(*source.size, "the picture")
        _refuse_frames(source, "the picture")
        with reading("the picture", "a picture"):
            lazy = getattr(source, "fp", None) if getattr(source, "tile", None) else None
            if lazy is not None:  # not decoded yet: read the file itself, so that 16 bits stay 16 bits
                return _read_stream(io.BytesIO(_all_bytes(lazy)), "the picture", None, limits)
            return _decode(source, None, "the picture", None)
    with open_source(source, limits) as (file, name, path):
        if path is not None and path.is_dir():
            return _flatten(file, name, path, limits)
        head = file.read(64)
        file.seek(0)
        if sniff(head) is not None:
            return _flatten(file, name, path, limits)
        with reading(name, "a picture"):
            return _read_stream(file, name, path, limits)


def picture_size(file: BinaryIO, name: str, limits: Limits = LIMITS) -> tuple[int, int]:
    """(width, height) as the header of an open, flat picture says, before EXIF rotation; nothing is decoded.

    Raises InputError for what :func:`read_picture` would refuse by the header alone: no picture, too large, animated.
    """
    with reading(name, "a picture"):
        image = _open(file, name, limits)
        _refuse_frames(image, name)
        return image.size


def _flatten(file: BinaryIO, name: str, path: Path | None, limits: Limits) -> Picture:
    from ..composite import flatten_array
    from . import open_stream

    document = open_stream(file, name, path, limits)
    pixels = flatten_array(document)
    if document.icc is not None and not cms.is_srgb(document.icc):
        pixels = np.concatenate([cms.to_srgb(pixels[..., :3], document.icc), pixels[..., 3:]], axis=2)
    return Picture(
        pixels=pixels,
        has_alpha=_any_transparent(pixels),
        dpi=document.dpi,
        path=path,
        mode="layers",
        dropped=tuple(document.metadata.get("dropped", ())),
    )


def _read_stream(file: BinaryIO, name: str, path: Path | None, limits: Limits) -> Picture:
    image = _open(file, name, limits)
    _refuse_frames(image, name)
    # 16-bit colour is decoded twice, see _deep_pixels: the second decode needs a second, fresh image.
    second = _open(io.BytesIO(_all_bytes(file)), name, limits) if _is_deep(image) else None
    return _decode(image, second, name, path)


def _all_bytes(file: BinaryIO) -> bytes:
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def _open(file: BinaryIO, name: str, limits: Limits) -> Image.Image:
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise InputError(
                f"{name} has more pixels than acetate opens ({2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} "
                "megapixels): make it smaller first"
            ) from error
        except Image.UnidentifiedImageError as error:
            kind = tiff_kind(file)
            if kind is not None:
                why = (
                    f"of a kind that acetate cannot read ({kind})" if kind else "that is damaged or cut short"
                )
                raise InputError(
                    f"{name} is a TIFF {why}: save it as RGB of 8 or 16 bits per channel, with or without alpha, or as PNG"
                ) from error
            raise InputError(
                f"{name} is not a picture that acetate can read: use PNG, JPEG, WebP, TIFF, PSD or OpenRaster"
            ) from error
    limits.check_size(*image.size, name)
    return image


def _refuse_frames(image: Image.Image, name: str) -> None:
    # Phones store a photo and its preview as a two-picture MPO file: the first is the photo.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise InputError(
            f"{name} is animated or has several pages ({frames} frames): save the one you want by itself"
        )


def _is_deep(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", None) or []
    return bool(tiles) and image.mode in ("RGB", "RGBA") and all(";16" in _raw_mode(tile) for tile in tiles)


def _raw_mode(tile: tuple[object, ...]) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _with_raw_mode(tile: tuple[object, ...], raw: str) -> tuple[object, ...]:
    arguments = tile[3]
    return (*tile[:3], (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw)


def _deep_pixels(image: Any, second: Any | None) -> np.ndarray | None:
    """H x W x (3|4) uint16 of a 16-bit colour file, or None where only 8 bits are stored.

    Pillow keeps 8 of the 16 bits: the byte that its raw mode calls high. Decoding once as the file says and
    once with the byte order swapped yields both bytes, at C speed and for every compression that Pillow
    knows. The swapped modes exist for RGB and RGBA; grey with alpha is decoded as four plain bytes.
    """
    raws = {_raw_mode(tile) for tile in getattr(image, "tile", None) or []}
    if raws == {"LA;16B"}:
        image._mode = "RGBA"
        image.tile = [_with_raw_mode(tile, "RGBA") for tile in image.tile]
        four = np.asarray(image).astype(np.uint16)
        grey, alpha = four[..., 0] << 8 | four[..., 1], four[..., 2] << 8 | four[..., 3]
        return np.stack([grey, grey, grey, alpha], axis=-1)
    if second is None:
        return None
    swap = {"L": "B", "B": "L", "N": "B" if np.little_endian else "L"}
    premultiplied = any(raw.startswith("RGBa") for raw in raws)
    order = next(iter(raws))[-1]
    image.tile = [_with_raw_mode(tile, _raw_mode(tile).replace("RGBa", "RGBA")) for tile in image.tile]
    second.tile = [
        _with_raw_mode(
            tile, _raw_mode(tile).replace("RGBa", "RGBA").replace(f";16{order}", f";16{swap[order]}")
        )
        for tile in second.tile
    ]
    pixels = np.asarray(image).astype(np.uint16) << 8
    pixels |= np.asarray(second)
    return _straight(pixels) if premultiplied else pixels


def _straight(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:].astype(np.float64)
    colour = np.divide(pixels[..., :3] * 65535.0, alpha, out=np.zeros(pixels[..., :3].shape), where=alpha > 0)
    return np.concatenate(
        [np.floor(np.clip(colour, 0, 65535) + 0.5).astype(np.uint16), pixels[..., 3:]], axis=2
    )


def _decode(image: Image.Image, second: Image.Image | None, name: str, path: Path | None) -> Picture:
    mode, info = image.mode, dict(image.info)
    profile = info.get("icc_profile") or None
    deep = _deep_pixels(image, second)
    if deep is not None:
        colours, mode = _colour_deep(deep, info, profile), f"{mode};16"
    else:
        colours = _colour(image, info, profile, name)
    orientation = image.getexif().get(_ORIENTATION, 1)  # may decode the picture, so it comes last
    info = dict(image.info)
    pixels = np.ascontiguousarray(_rotate(colours, orientation))
    return Picture(
        pixels=pixels,
        has_alpha=_any_transparent(pixels),
        dpi=clean_dpi(info.get("dpi")),
        path=path,
        mode=mode,
        xmp=_xmp(info),
    )


def _colour_deep(pixels: np.ndarray, info: dict[Any, Any], profile: bytes | None) -> np.ndarray:
    colour = pixels[..., :3]
    key = info.get("transparency")
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
    elif isinstance(key, tuple) and len(key) == 3:
        alpha = np.where((colour == np.array(key)).all(axis=2), 0, 65535).astype(np.uint16)
    else:
        alpha = np.full(colour.shape[:2], 65535, np.uint16)
    return _rgba(_managed(colour, profile), alpha)


def _managed(colour: np.ndarray, profile: bytes | None) -> np.ndarray:
    if profile is None or cms.profile_space(profile) != "RGB" or cms.is_srgb(profile):
        return colour
    return cms.to_srgb(colour, profile)


def _rgba(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    out = np.empty((*colour.shape[:2], 4), colour.dtype)
    out[..., :3] = colour
    out[..., 3] = alpha
    return out


def _colour(image: Image.Image, info: dict[Any, Any], profile: bytes | None, name: str) -> np.ndarray:
    mode = image.mode
    if mode == "F":
        raise InputError(f"{name} holds floating-point pixels: save it as 8 or 16 bits per channel")
    if mode == "I" or mode.startswith("I;16"):
        return _colour_grey16(image, info, profile, name)
    if mode == "CMYK":
        return _opaque(cms.cmyk_to_srgb(image, profile))
    if mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        srgb = ImageCms.ImageCmsProfile(io.BytesIO(cms.srgb_profile()))
        return _opaque(np.asarray(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")))
    if mode in ("1", "L", "LA", "La") and "transparency" not in info:
        both = np.asarray(image.convert("LA"))
        return _rgba(cms.grey_to_srgb(both[..., 0], profile), both[..., 1])
    rgba = np.asarray(image.convert("RGBA"))
    if profile is not None and cms.profile_space(profile) == "GRAY":
        return _rgba(cms.grey_to_srgb(rgba[..., 0], profile), rgba[..., 3])
    return _rgba(_managed(rgba[..., :3], profile), rgba[..., 3])


def _colour_grey16(image: Any, info: dict[Any, Any], profile: bytes | None, name: str) -> np.ndarray:
    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
        raise InputError(f"{name} holds 32-bit grey values: save it as 8 or 16 bits per channel")
    grey = values.astype(np.uint16)
    if image.mode != "I" and image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        grey = 65535 - grey  # white is zero, which Pillow heeds in 8 bits only
    key = info.get("transparency")
    alpha = np.full(grey.shape, 65535, np.uint16)
    if isinstance(key, int):
        alpha[grey == key] = 0
    return _rgba(cms.grey_to_srgb(grey, profile), alpha)


def _opaque(colour: np.ndarray) -> np.ndarray:
    return _rgba(colour, np.full(colour.shape[:2], 255, np.uint8))


def _rotate(pixels: np.ndarray, orientation: object) -> np.ndarray:
    """``pixels`` as the camera held them (EXIF orientation 1..8; anything else means upright)."""
    turns = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
        8: lambda p: np.rot90(p, 1),
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return turn(pixels) if turn else pixels


def _xmp(info: dict[Any, Any]) -> bytes | None:
    packet = info.get("xmp", info.get("XML:com.adobe.xmp"))
    return (
        packet.encode("utf-8", "replace")
        if isinstance(packet, str)
        else packet
        if isinstance(packet, bytes)
        else None
    )


def _any_transparent(pixels: np.ndarray) -> bool:
    return bool(pixels[..., 3].min() < np.iinfo(pixels.dtype).max)


def clean_dpi(value: object) -> float:
    """A resolution from a file's own words: finite, above 1 and at most 65535, otherwise 72."""
    first = value[0] if isinstance(value, tuple) and value else value
    try:
        dpi = float(first)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 72.0
    return dpi if math.isfinite(dpi) and 1.0 < dpi <= 65535.0 else 72.0
