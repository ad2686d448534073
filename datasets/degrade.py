"""Damage to the flat picture that a model is given, never to the layers it must answer with: JPEG, noise, slight blur.

People hand in pictures that were scaled, photographed and compressed; layers are clean. The damage depends on the seed
alone. Pictures are opaque: alpha is left as it is. ``degrade`` does it to one picture with Pillow and is the reference;
``degrade_batch`` does the same to many with torch, where they live.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from ..errors import InputError
from .jpeg import compress
from .shading import gaussian
from .transfer import send

HALVED_BELOW = 85
"""JPEG quality below which chroma is kept at half the size."""


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

    In the order a camera works: blur, noise, JPEG (chroma halved below quality HALVED_BELOW). Every number is drawn whether
    it is used or not, so that one share does not move the others.
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
        subsampling = "4:2:0" if quality < HALVED_BELOW else "4:4:4"
        Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=subsampling)
        rgb = np.asarray(Image.open(file).convert("RGB"))
    return np.concatenate([rgb, picture[..., 3:]], 2)


def degrade_batch(pictures: Tensor, settings: Degradation, generator: torch.Generator) -> Tensor:
    """Damaged copies of (B, 4, H, W) float32 in [0, 1] on the pictures' own device: the colour in steps of 1/255, alpha
    as it was.

    Blurs, noise and JPEG as :func:`degrade` makes them, drawn from ``generator``. One that lives on the CPU leaves a GPU
    unwaited for. The same generator state gives the same damage on the same kind of device. The same tensor comes
    back when the settings damage nothing. InputError for other shapes.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 4:
        raise InputError(f"pictures to damage must be (B, 4, H, W), not {tuple(pictures.shape)}")
    if not settings.active:
        return pictures
    count, device = len(pictures), pictures.device
    draws = torch.rand(3, 2, count, generator=generator, device=generator.device).double().cpu().numpy()
    noise = torch.Generator(device)
    noise.manual_seed(int(draws[1, 1].sum() * 2**32))
    levels = pictures[:, :3].float().mul(255).round_()
    shares = (settings.blur_share, settings.noise_share, settings.jpeg_share)
    chosen = [np.flatnonzero(dice < share) for dice, share in zip(draws[:, 0], shares, strict=True)]
    blurred, noisy, packed = (u[members] for u, members in zip(draws[:, 1], chosen, strict=True))
    low, high = settings.quality
    quality = low + (packed * (high - low + 1)).astype(np.int64)
    coarse = quality < HALVED_BELOW
    sent = send({"blurred": chosen[0], "sigma": (settings.blur[0] + blurred * np.ptp(settings.blur)).astype(np.float32),
                 "noisy": chosen[1], "noise": (settings.noise[0] + noisy * np.ptp(settings.noise)).astype(np.float32),
                 "halved": chosen[2][coarse], "whole": chosen[2][~coarse]}, device)  # fmt: skip
    if len(blurred):
        where = sent["blurred"]
        levels[where] = _blurred(levels[where], sent["sigma"], math.ceil(3 * settings.blur[1]) + 1)
    if len(noisy):
        where = sent["noisy"]
        grain = torch.randn(len(noisy), *levels.shape[1:], generator=noise, device=device)
        levels[where] = (levels[where] + grain * sent["noise"][:, None, None, None]).round_().clamp_(0, 255)
    for name, members in (("halved", coarse), ("whole", ~coarse)):
        if members.any():
            where = sent[name]
            levels[where] = compress(levels[where], quality[members], halved=name == "halved")
    return torch.cat([levels.div_(255).to(pictures.dtype), pictures[:, 3:]], 1)


def _blurred(levels: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """(n, 3, H, W) blurred by each one's ``sigma`` pixels (n,), edges repeated; whole levels."""
    kernel = gaussian(sigma.clamp_min(1e-3), radius)[:, None, None, None].unbind(-1)
    height, width = levels.shape[-2:]
    padded = F.pad(levels, (radius,) * 4, mode="replicate")
    down = sum(tap * padded[..., k : k + height, :] for k, tap in enumerate(kernel))
    return sum(tap * down[..., k : k + width] for k, tap in enumerate(kernel)).round_().clamp_(0, 255)
