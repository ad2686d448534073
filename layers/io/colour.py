"""Colour profiles: our own sRGB profile, and conversion of other profiles' pixels to sRGB.

Works on arrays and profile bytes; knows nothing of files. Alpha never passes through a transform.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from ...errors import InputError

_DATE = slice(24, 36)
_PROFILE_ID = slice(84, 100)


def _dateless(profile: bytes) -> bytes:
    """The profile with its creation date fixed and its checksum cleared, so that equal profiles are equal
    bytes.
    """
    data = bytearray(profile)
    data[_DATE] = bytes((0x07, 0xEA, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0))
    data[_PROFILE_ID] = bytes(16)
    return bytes(data)


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The sRGB profile that acetate embeds: the same bytes on every run."""
    return _dateless(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def _open(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def profile_space(profile: bytes) -> str:
    """Colour space of an ICC profile: "RGB", "GRAY", "CMYK", "LAB" ...; "" if the bytes are no profile at
    all (such bytes are ignored, as picture viewers do).
    """
    try:
        return _open(profile).profile.xcolor_space.strip()
    except (OSError, ImageCms.PyCMSError, ValueError, SyntaxError):
        return ""


def _transform(profile: bytes, source_mode: str) -> ImageCms.ImageCmsTransform:
    perceptual = ImageCms.Intent.PERCEPTUAL
    try:
        return ImageCms.buildTransform(
            _open(profile), _open(srgb_profile()), source_mode, "RGB", renderingIntent=perceptual
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise InputError(
            f"the embedded colour profile cannot be used ({error}): convert the picture to sRGB or remove the profile"
        ) from error


@lru_cache(maxsize=8)
def is_srgb(profile: bytes) -> bool:
    """Whether an RGB profile means sRGB: a lattice of colours moves by at most one 8-bit level through it."""
    if profile == srgb_profile():
        return True
    if profile_space(profile) != "RGB":
        return False
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(lattice), _transform(profile, "RGB")))
    return int(np.abs(moved.astype(np.int16) - lattice).max()) <= 1


def to_srgb(colour: np.ndarray, profile: bytes) -> np.ndarray:
    """H x W x 3 uint8 or uint16 colours of an RGB profile as sRGB, perceptual intent, same dtype.

    LittleCMS is driven through Pillow, which speaks 8 bit only: 16-bit colours go through a 33-point lattice
    of the transform, interpolated linearly, which keeps smooth gradients smooth (error below one 8-bit
    level).
    """
    transform = _transform(profile, "RGB")
    if colour.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(colour))
        return np.asarray(ImageCms.applyTransform(image, transform))
    return _lattice(colour, transform)


def _lattice(colour: np.ndarray, transform: ImageCms.ImageCmsTransform, points: int = 52) -> np.ndarray:
    # 52 points: the step is exactly five 8-bit levels, so every node is an 8-bit colour and carries no
    # rounding.
    axis = (np.arange(points) * 5).astype(np.uint8)
    nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(
        points, points * points, 3
    )
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(nodes), transform))
    table = moved.reshape(points, points, points, 3).astype(np.float32) * 257.0
    out = np.empty(colour.shape, np.uint16)
    rows = max(1, (1 << 20) // max(1, colour.shape[1]))
    for top in range(0, colour.shape[0], rows):
        band = colour[top : top + rows].astype(np.float32) * ((points - 1) / 65535.0)
        low = np.minimum(band.astype(np.int64), points - 2)
        part = band - low
        result = np.zeros(band.shape, np.float32)
        for corner in range(8):
            pick = [(corner >> k) & 1 for k in range(3)]
            weight = np.ones(band.shape[:2], np.float32)
            for k in range(3):
                weight *= part[..., k] if pick[k] else 1.0 - part[..., k]
            result += (
                weight[..., None] * table[low[..., 0] + pick[0], low[..., 1] + pick[1], low[..., 2] + pick[2]]
            )
        out[top : top + rows] = np.floor(np.clip(result, 0, 65535) + 0.5)
    return out


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """An image of mode CMYK (0 = no ink) as H x W x 3 uint8 sRGB.

    With an embedded CMYK profile the transform is perceptual. Without one the inks have no defined colour and
    Pillow's naive rule is used: R = (255 - C) (255 - K) / 255, and likewise for G and B.
    """
    if profile and profile_space(profile) == "CMYK":
        return np.asarray(ImageCms.applyTransform(image, _transform(profile, "CMYK")))
    return np.asarray(image.convert("RGB"))


def grey_to_srgb(grey: np.ndarray, profile: bytes | None) -> np.ndarray:
    """H x W uint8 or uint16 grey as H x W x 3 of the same dtype; a grey profile is applied, otherwise sRGB's
    curve.
    """
    if not profile or profile_space(profile) != "GRAY":
        return np.repeat(grey[..., None], 3, axis=2)
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :])
    curve = np.asarray(ImageCms.applyTransform(ramp, _transform(profile, "L")))[0].astype(np.float64)
    if grey.dtype == np.uint8:
        return curve.astype(np.uint8)[grey]
    levels = np.arange(65536) / 257.0
    table = np.stack([np.interp(levels, np.arange(256), curve[:, k]) * 257.0 for k in range(3)], axis=-1)
    return np.floor(table + 0.5).astype(np.uint16)[grey]


def checked_profile(profile: bytes, what: str) -> bytes:
    """``profile`` itself if it is an RGB profile, else InputError."""
    if profile_space(profile) != "RGB":
        raise InputError(f"the colour profile of {what} is not a valid RGB profile: convert it to sRGB first")
    return profile
