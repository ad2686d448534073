"""Whatever a caller calls an image becomes straight RGBA floats at the size the model works at.

Accepts pictures of any Pillow mode, files, arrays and tensors, alone, stacked or in lists. Resizes on
premultiplied colour. Knows no models; latents never come this way, so nothing is guessed from a channel
count.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..layers.io.picture import read_picture
from ..layers.resample import resize

ImageLike: TypeAlias = Image.Image | np.ndarray | torch.Tensor | str | os.PathLike[str] | bytes

INVISIBLE = 0.5 / 65535  # alpha below half a level of 16 bit


def read_images(image: ImageLike | Sequence[ImageLike]) -> list[np.ndarray]:
    """One float32 array H x W x 4 in [0, 1], straight alpha, per image.

    Arrays are (H, W), (H, W, C) or (B, H, W, C), tensors (H, W), (C, H, W) or (B, C, H, W), with C = 1
    grey, 2 grey and alpha, 3 RGB, 4 RGBA: unsigned integers of 8 or 16 bits, or floats in [0, 1]. Raises
    InputError for anything else.
    """
    if isinstance(image, list | tuple):
        if not image:
            raise InputError("The list of images is empty; give at least one image.")
        return [pixels for one in image for pixels in read_images(one)]
    if isinstance(image, torch.Tensor):
        array = image.detach().cpu()
        array = array.float() if array.is_floating_point() else array
        if array.ndim >= 3:
            array = array.movedim(-3, -1)
        return _from_array(array.numpy())
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image | str | os.PathLike | bytes):
        return _from_array(read_picture(image).pixels)
    raise InputError(f"An image must be a picture, a file, an array or a tensor; got {type(image).__name__}.")


def _from_array(array: np.ndarray) -> list[np.ndarray]:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 4:
        return [pixels for one in array for pixels in _from_array(one)]
    if array.ndim != 3 or 0 in array.shape or array.shape[-1] not in (1, 2, 3, 4):
        raise InputError(
            f"An image of shape {tuple(array.shape)} cannot be read; give height, width and 1 to 4 channels "
            "(channels first for tensors)."
        )
    values = _unit_floats(array)
    grey_levels = array.shape[-1] <= 2
    colour = np.repeat(values[..., :1], 3, axis=-1) if grey_levels else values[..., :3]
    has_alpha = array.shape[-1] in (2, 4)
    alpha = values[..., -1:] if has_alpha else np.ones_like(values[..., :1])
    return [np.ascontiguousarray(np.concatenate([colour, alpha], axis=-1))]


def _unit_floats(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255.0
    if array.dtype == np.uint16:
        return array.astype(np.float32) / 65535.0
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"Image values of type {array.dtype} cannot be read; use uint8, uint16 or floats in [0, 1]."
        )
    values = array.astype(np.float32)
    if not (np.isfinite(values).all() and values.min() >= 0.0 and values.max() <= 1.0):
        raise InputError(
            "Float images must lie in [0, 1]; this one has values outside. Divide by 255 if it is 0..255."
        )
    return values


def fit_to(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """``pixels`` (float32 H x W x 4 in [0, 1], straight) at ``height`` x ``width``, resampled premultiplied.

    Where nothing is visible everything becomes 0: colour that a file keeps there is never trusted. At equal
    size nothing else changes.
    """
    fitted = resize(pixels, (width, height))
    return np.where(fitted[..., 3:] > INVISIBLE, fitted, np.float32(0.0))


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """H x W x 4 in [0, 1] -> (4, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).movedim(-1, 0).mul(2.0).sub(1.0).contiguous()


def resize_frames(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, 4, H, W) in [-1, 1] at ``size`` (width, height), resampled premultiplied; the same frames at equal size."""
    if (frames.shape[-1], frames.shape[-2]) == size:
        return frames
    return torch.stack([to_tensor(resize(to_pixels(frame), size)) for frame in frames])


def to_pixels(tensor: torch.Tensor) -> np.ndarray:
    """(4, H, W) in [-1, 1] -> float32 H x W x 4 in [0, 1]."""
    return tensor.detach().float().cpu().div(2.0).add(0.5).clamp(0.0, 1.0).movedim(0, -1).contiguous().numpy()
