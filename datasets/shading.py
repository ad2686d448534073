"""Draws the effects of ``effects.py``, rims and drop shadows under objects, in windows, with torch.

Everything an object casts is made of its own silhouette (its alpha on the canvas), so it needs no scene. Blurs are
Gaussian and reach 2.5 sigma of the largest allowed. Pixels are premultiplied. This module knows no sprites.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .effects import CONTACT_SIGMA, DROP_SIGMA, GLOW_SIGMA, RIM_LEAST, RIM_PER_SIGMA, RIM_SIGMA, blur_radius
from .windows import WindowTensors

BAND = 96
"""Rows that one matrix product blurs."""


@lru_cache(maxsize=64)
def axis(count: int, device: torch.device) -> Tensor:
    """Centres of ``count`` pixels in the -1..1 of grid_sample, exactly as affine_grid has them."""
    return torch.linspace(-1, 1, count, device=device) * (count - 1) / count


@lru_cache(maxsize=64)
def middles(count: int, device: torch.device) -> Tensor:
    """Centres of ``count`` pixels in pixels: 0.5, 1.5 …"""
    return torch.arange(count, device=device, dtype=torch.float32) + 0.5


def shade(picture: Tensor, batch: WindowTensors, height: int, width: int) -> None:
    """Put under each object of ``picture`` (n, 4, h, w), in place, its rim, and under both what they cast: from the bottom
    their glow, reflection, contact shadow and drop shadow. ``height``, ``width``: of the whole canvas."""
    casters, short = batch.casters, min(height, width)
    if "rim" in casters:
        where = casters["rim"]
        top = picture[where]
        rim = _rim(
            top[:, 3:], batch.numbers["rim"][where], batch.top[where], batch.left[where], height, width
        )
        picture[where] = top + rim * (1 - top[:, 3:])
    bare = picture[:, 3:].clone() if casters.keys() - {"rim", "drop"} else picture[:, 3:]
    objects = picture.clone() if "reflection" in casters else picture
    # From the top down: what comes later shows only where nothing lies yet.
    if "drop" in casters:
        where, alpha = casters["drop"], picture[:, 3:]
        top = alpha[where]
        alpha[where] = top + _drop(bare[where], batch.numbers["drop"][where], short) * (1 - top)
    for name, source, draw in (
        ("contact", bare, _contact),
        ("reflection", objects, _reflection),
        ("glow", bare, _glow),
    ):
        if name in casters:
            where = casters[name]
            top = picture[where]
            cast = draw(source[where], batch.numbers[name][where], batch.numbers["lines"][where], short)
            picture[where] = top + cast * (1 - top[:, 3:])


def blur(alpha: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """(n, 1, h, w) blurred by each one's ``sigma`` pixels (n,), cut off after ``radius`` pixels; nothing lies outside."""
    kernel = gaussian(sigma, radius)
    down = _blur_down(alpha[:, 0], kernel)
    return _blur_down(down.transpose(1, 2), kernel).transpose(1, 2)[:, None]


def _rim(alpha: Tensor, rim: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """The silhouette grown by the rim's width, in its colour. Where the canvas ends the object is thought to go on."""
    reach, short = rim[:, 3] * min(height, width), min(height, width)
    sigma = (reach / RIM_PER_SIGMA).clamp_min(RIM_LEAST)
    radius = blur_radius(RIM_SIGMA, short)
    kernel = gaussian(sigma, radius)
    soft = blur(alpha, sigma, radius)
    soft /= _within(kernel, top, alpha.shape[2], height)[:, None, :, None]
    soft /= _within(kernel, left, alpha.shape[3], width)[:, None, None, :]
    # What a straight edge has faded to half a pixel before and after the width.
    most, least = (0.5 * torch.special.erfc((reach + half) / sigma * 0.5**0.5) for half in (-0.5, 0.5))
    cover = ((soft - least[:, None, None, None]) / (most - least)[:, None, None, None]).clamp_(0, 1)
    return torch.cat([cover * rim[:, :3, None, None], cover], 1)


def _within(kernel: Tensor, first: Tensor, count: int, total: int) -> Tensor:
    """How much of each kernel lies on the canvas, (n, count), at pixels ``first`` (n,) and on of ``total``."""
    radius = kernel.shape[1] // 2
    place = first[:, None] + torch.arange(count, device=first.device)
    sums = F.pad(kernel.cumsum(1), (1, 0))
    upper = sums.gather(1, (total + radius - place).clamp_max(2 * radius + 1))
    return upper - sums.gather(1, (radius - place).clamp_min(0))


def gaussian(sigma: Tensor, radius: int) -> Tensor:
    """Kernels (n, 2 radius + 1) of ``sigma`` (n,) pixels, each with the sum 1."""
    taps = middles(2 * radius + 1, sigma.device) - (radius + 0.5)
    kernel = torch.exp(-0.5 * (taps[None] / sigma[:, None]) ** 2)
    return kernel / kernel.sum(1, keepdim=True)


def _blur_down(lines: Tensor, kernel: Tensor) -> Tensor:
    """(n, h, w) blurred along its columns: products with bands of a matrix, far faster than a grouped convolution."""
    radius, height = kernel.shape[1] // 2, lines.shape[1]
    parts = []
    for first in range(0, height, BAND):
        last = min(first + BAND, height)
        low, high = max(0, first - radius), min(height, last + radius)
        tap, inside = _taps(first, last, low, high, radius, lines.device)
        parts.append(torch.bmm(kernel[:, tap] * inside, lines[:, low:high]))
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


@lru_cache(maxsize=256)
def _taps(
    first: int, last: int, low: int, high: int, radius: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which tap of a kernel leads from rows ``low``..``high`` to rows ``first``..``last``, and whether there is one."""
    tap = torch.arange(low, high, device=device) - torch.arange(first, last, device=device)[:, None] + radius
    return tap.clamp(0, 2 * radius), ((tap >= 0) & (tap <= 2 * radius)).float()


def _shifted(source: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``source`` (n, c, h, w) read at columns ``x`` (n or 1, w) and rows ``y`` (n, h), in pixels; nothing lies outside."""
    height, width = source.shape[-2:]
    columns, rows = (2 * x / width - 1)[:, None, :], (2 * y / height - 1)[:, :, None]
    grid = torch.stack([columns.expand(len(source), height, width), rows.expand(-1, -1, width)], -1)
    return F.grid_sample(source, grid, align_corners=False)


def _drop(alpha: Tensor, drop: Tensor, short: int) -> Tensor:
    """Coverage (n, 1, h, w) of the blurred, shifted silhouettes."""
    dx, dy, sigma, strength = drop[:, :, None].unbind(1)
    soft = blur(alpha, sigma[:, 0] * short, blur_radius(DROP_SIGMA, short))
    x, y = (middles(side, alpha.device) for side in (alpha.shape[3], alpha.shape[2]))
    return _shifted(soft, x - dx * short, y - dy * short) * strength[:, :, None, None]


def _contact(alpha: Tensor, contact: Tensor, lines: Tensor, short: int) -> Tensor:
    """The silhouette squashed about the ground, blurred; black."""
    strength, squash, sigma = contact.unbind(1)
    centre, ground = lines[:, :, None].unbind(1)
    rows, columns = (middles(side, alpha.device) for side in alpha.shape[2:])
    flat = _shifted(alpha, columns[None], centre + (rows - ground) / squash[:, None])
    soft = blur(flat, sigma * short, blur_radius(CONTACT_SIGMA, short)) * strength.view(-1, 1, 1, 1)
    return torch.cat([torch.zeros_like(soft).expand(-1, 3, -1, -1), soft], 1)


def _reflection(objects: Tensor, reflection: Tensor, lines: Tensor, short: int) -> Tensor:
    """The object upside down below its ground, in its own colours, fading."""
    strength, length, gap = reflection[:, :, None].unbind(1)
    ground = lines[:, 1:]
    rows, columns = (middles(side, objects.device) for side in objects.shape[2:])
    depth = rows - ground - gap * short
    fade = strength * (1 - depth / (length * short)).clamp(0, 1) * (depth + 0.5).clamp(0, 1)
    return _shifted(objects, columns[None], ground - depth) * fade[:, None, :, None]


def _glow(alpha: Tensor, glow: Tensor, lines: Tensor, short: int) -> Tensor:
    """A coloured, blurred silhouette; stands on no line."""
    soft = blur(alpha, glow[:, 3] * short, blur_radius(GLOW_SIGMA, short)) * glow[:, 4].view(-1, 1, 1, 1)
    return torch.cat([soft * glow[:, :3, None, None], soft], 1)
