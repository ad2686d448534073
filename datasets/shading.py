"""Draws the effects of ``effects.py`` and drop shadows under objects, in windows, with torch.

Everything an object casts is made of its own silhouette (its alpha on the canvas), so it needs no scene. Blurs are
Gaussian and reach 2.5 sigma of the largest allowed. Pixels are premultiplied. This module knows no sprites.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .effects import CONTACT_SIGMA, DROP_SIGMA, GLOW_SIGMA, blur_radius
from .pack import PackedScenes
from .windows import Window, to_device, view

BAND = 96
"""Rows that one matrix product blurs."""


def axis(count: int, device: torch.device) -> Tensor:
    """Centres of ``count`` pixels in the -1..1 of grid_sample, exactly as affine_grid has them."""
    return torch.linspace(-1, 1, count, device=device) * (count - 1) / count


def shade(picture: Tensor, window: Window, packed: PackedScenes, height: int, width: int) -> None:
    """Put under each object of ``picture`` (n, 4, h, w), in place, what it casts: from the bottom its glow, reflection,
    contact shadow and drop shadow. ``height``, ``width``: of the whole canvas."""
    rows, canvas = window.objects, (height, width)
    drop, contact, reflection, glow = (
        np.flatnonzero(strength > 0)
        for strength in (
            packed.drop[rows, 3],
            packed.contact[rows, 0],
            packed.reflection[rows, 0],
            packed.glow[rows, 4],
        )
    )
    bare = picture[:, 3:].clone() if contact.size + reflection.size + glow.size else picture[:, 3:]
    objects = picture.clone() if reflection.size else picture
    # From the top down: what comes later shows only where nothing lies yet.
    if drop.size:
        where, alpha = to_device(drop, picture.device), picture[:, 3:]
        top = alpha[where]
        alpha[where] = top + _drop(bare[where], window, drop, packed, *canvas) * (1 - top)
    for members, source, draw in (
        (contact, bare, _contact),
        (reflection, objects, _reflection),
        (glow, bare, _glow),
    ):
        if members.size:
            where = to_device(members, picture.device)
            top = picture[where]
            picture[where] = top + draw(source[where], window, members, packed, *canvas) * (1 - top[:, 3:])


def blur(alpha: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """(n, 1, h, w) blurred by each one's ``sigma`` pixels (n,), cut off after ``radius`` pixels; nothing lies outside."""
    kernel = _kernel(sigma, radius)
    down = _blur_down(alpha[:, 0], kernel)
    return _blur_down(down.transpose(1, 2), kernel).transpose(1, 2)[:, None]


def _kernel(sigma: Tensor, radius: int) -> Tensor:
    taps = torch.arange(-radius, radius + 1, device=sigma.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (taps[None] / sigma[:, None]) ** 2)
    return kernel / kernel.sum(1, keepdim=True)


def _blur_down(lines: Tensor, kernel: Tensor) -> Tensor:
    """(n, h, w) blurred along its columns: products with bands of a matrix, far faster than a grouped convolution."""
    radius, height = kernel.shape[1] // 2, lines.shape[1]
    parts = []
    for first in range(0, height, BAND):
        last = min(first + BAND, height)
        low, high = max(0, first - radius), min(height, last + radius)
        tap = (
            torch.arange(low, high, device=lines.device)
            - torch.arange(first, last, device=lines.device)[:, None]
            + radius
        )
        band = kernel[:, tap.clamp(0, 2 * radius)] * ((tap >= 0) & (tap <= 2 * radius))
        parts.append(torch.bmm(band, lines[:, low:high]))
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def _blur_alone(alpha: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """:func:`blur` of one silhouette, rounded as a convolution of a single channel rounds."""
    kernel = _kernel(sigma, radius)
    soft = F.conv2d(alpha, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return F.conv2d(soft, kernel.view(1, 1, 1, -1), padding=(0, radius))


def _drop(
    alpha: Tensor, window: Window, members: np.ndarray, packed: PackedScenes, height: int, width: int
) -> Tensor:
    """Coverage (n, 1, h, w) of the blurred, shifted silhouettes."""
    device, short, count = alpha.device, min(height, width), len(members)
    dx, dy, sigma, strength = to_device(packed.drop[window.objects[members]], device).unbind(1)
    # On a CPU the only shadow of a batch has always been rounded so, to the last bit; those of larger batches otherwise.
    alone = device.type == "cpu" and np.count_nonzero(packed.drop[:, 3]) == 1
    soften = _blur_alone if alone else blur
    soft = soften(alpha, sigma * short, blur_radius(DROP_SIGMA, short))
    # Shifted on the whole canvas, whose coordinates round alike wherever the window lies.
    canvas = torch.zeros(count, 1, height, width, device=device)
    top, left = to_device(window.top[members], device), to_device(window.left[members], device)
    view(canvas, window.height, window.width)[torch.arange(count, device=device), :, top, left] = soft
    x = axis(width, device)[left[:, None] + torch.arange(window.width, device=device)]
    y = axis(height, device)[top[:, None] + torch.arange(window.height, device=device)]
    x, y = x + (-2 * dx * short / width)[:, None], y + (-2 * dy * short / height)[:, None]
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    return F.grid_sample(canvas, grid, align_corners=False) * strength.view(-1, 1, 1, 1)


def _lines(
    window: Window, members: np.ndarray, packed: PackedScenes, height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """In pixels of the window: the objects' centre line and ground (n, 1), and the middle of each row (h,)."""
    rows, short = window.objects[members], min(height, width)
    centre = packed.place[rows, 1] * height - window.top[members]
    ground = centre + packed.ground[rows] * packed.place[rows, 2] * short
    middles = torch.arange(window.height, device=device, dtype=torch.float32) + 0.5
    centre, ground = centre.astype(np.float32)[:, None], ground.astype(np.float32)[:, None]
    return to_device(centre, device), to_device(ground, device), middles


def _from_rows(source: Tensor, y: Tensor) -> Tensor:
    """``source`` (n, c, h, w) with each row read from height ``y`` (n, h), in pixels, between two rows."""
    height, width = source.shape[-2:]
    across = axis(width, source.device).expand(len(source), height, width)
    grid = torch.stack([across, (2 * y / height - 1)[:, :, None].expand_as(across)], -1)
    return F.grid_sample(source, grid, align_corners=False)


def _contact(
    alpha: Tensor, window: Window, members: np.ndarray, packed: PackedScenes, height: int, width: int
) -> Tensor:
    """The silhouette squashed about the ground, blurred; black."""
    centre, ground, middles = _lines(window, members, packed, height, width, alpha.device)
    strength, squash, sigma = to_device(packed.contact[window.objects[members]], alpha.device).unbind(1)
    flat = _from_rows(alpha, centre + (middles - ground) / squash[:, None])
    short = min(height, width)
    soft = blur(flat, sigma * short, blur_radius(CONTACT_SIGMA, short)) * strength.view(-1, 1, 1, 1)
    return torch.cat([torch.zeros_like(soft).expand(-1, 3, -1, -1), soft], 1)


def _reflection(
    objects: Tensor, window: Window, members: np.ndarray, packed: PackedScenes, height: int, width: int
) -> Tensor:
    """The object upside down below its ground, in its own colours, fading."""
    _, ground, middles = _lines(window, members, packed, height, width, objects.device)
    short = min(height, width)
    strength, length, gap = to_device(packed.reflection[window.objects[members]], objects.device)[
        :, :, None
    ].unbind(1)
    depth = middles - ground - gap * short
    fade = strength * (1 - depth / (length * short)).clamp(0, 1) * (depth + 0.5).clamp(0, 1)
    return _from_rows(objects, ground - depth) * fade[:, None, :, None]


def _glow(
    alpha: Tensor, window: Window, members: np.ndarray, packed: PackedScenes, height: int, width: int
) -> Tensor:
    """A coloured, blurred silhouette."""
    short = min(height, width)
    glow = to_device(packed.glow[window.objects[members]], alpha.device)
    soft = blur(alpha, glow[:, 3] * short, blur_radius(GLOW_SIGMA, short)) * glow[:, 4].view(-1, 1, 1, 1)
    return torch.cat([soft * glow[:, :3, None, None], soft], 1)
