"""Damage to the flat picture that a model is given, never to the layers it must answer with: JPEG, noise, slight blur.

People hand in pictures that were scaled, photographed and compressed; layers are clean. The damage depends on the seed
alone. Pictures are opaque: alpha is left as it is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from ..errors import InputError
from ..layers.composite import quantise

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Degradation:
    """Shares of the pictures that are blurred, noisy and compressed (each on its own), and how much.

    ``blur``: sigma in pixels; ``noise``: sigma in levels of 255; ``quality``: of Pillow's JPEG, inclusive.
    """

    blur_share: float = 0.0
    blur: tuple[float, float] = (0.3, 0.9)
    noise_share: float = 0.0
    noise: tuple[float, float] = (0.5, 4.0)
    jpeg_share: float = 0.0
    quality: tuple[int, int] = (55, 95)

    def __post_init__(self) -> None:
        for name in ("blur", "noise", "jpeg"):
            if not 0 <= (share := getattr(self, f"{name}_share")) <= 1:
                raise InputError(f"{name}_share must lie in 0..1, not {share}")
        for name in ("blur", "noise"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise InputError(f"{name} must be two rising numbers from 0, not {low} and {high}")
        if not 1 <= self.quality[0] <= self.quality[1] <= 95:
            raise InputError(
                f"the JPEG quality must rise within 1..95, not {self.quality[0]}..{self.quality[1]}"
            )

    @property
    def active(self) -> bool:
        """False when nothing is ever changed."""
        return self.blur_share + self.noise_share + self.jpeg_share > 0


def degrade(picture: np.ndarray, settings: Degradation, seed: Sequence[int]) -> np.ndarray:
    """A damaged copy of (H, W, 3 or 4) uint8; the same for the same ``seed`` (one or more whole numbers).

    In the order a camera works: blur, noise, JPEG (chroma halved below quality 85). Every number is drawn whether it is
    used or not, so that one share does not move the others.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise InputError(
            f"a picture to damage must be uint8 H x W x 3 or 4, not {picture.dtype} {picture.shape}"
        )
    rng = np.random.default_rng([*seed, 0xDE6])
    dice, u = rng.random(3).tolist(), rng.random(3).tolist()
    rgb = np.ascontiguousarray(picture[..., :3])
    if dice[0] < settings.blur_share:
        sigma = settings.blur[0] + u[0] * (settings.blur[1] - settings.blur[0])
        rgb = np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)))
    if dice[1] < settings.noise_share:
        sigma = settings.noise[0] + u[1] * (settings.noise[1] - settings.noise[0])
        rgb = np.clip(np.rint(rgb + rng.normal(0, sigma, rgb.shape)), 0, 255).astype(np.uint8)
    if dice[2] < settings.jpeg_share:
        low, high = settings.quality
        quality, file = low + int(u[2] * (high - low + 1)), io.BytesIO()
        Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=2 if quality < 85 else 0)
        rgb = np.asarray(Image.open(file).convert("RGB"))
    return np.concatenate([rgb, picture[..., 3:]], 2)


def degrade_batch(pictures: Tensor, settings: Degradation, seed: int, first: int = 0) -> Tensor:
    """Damaged copies of (B, 4, H, W) in [0, 1], in steps of 1/255; picture k depends on ``seed`` and ``first + k``.

    The same tensor comes back when the settings damage nothing. JPEG is made on the CPU, wherever the pictures live.
    """
    import torch

    if not settings.active:
        return pictures
    levels = quantise(pictures.movedim(1, -1).cpu().numpy(), 8)
    damaged = np.stack([degrade(picture, settings, [seed, first + k]) for k, picture in enumerate(levels)])
    return torch.from_numpy(damaged).to(pictures).movedim(-1, 1).contiguous() / 255
