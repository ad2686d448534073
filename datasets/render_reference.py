"""The reference renderer: one scene at a time, float64, every formula written out; slow on purpose.

It shares the description of a scene and the atlas with ``render.py`` and nothing else: no torch, no Pillow, no windows,
no batches. Tests hold the fast renderer against it. Positions are pixel centres (column + 0.5, row + 0.5); pixels are
premultiplied until the end.
"""

from __future__ import annotations

import math

import numpy as np

from .atlas import CELL, Atlas
from .effects import (
    CONTACT_SIGMA,
    DROP_SIGMA,
    GLOW_SIGMA,
    RIM_LEAST,
    RIM_PER_SIGMA,
    RIM_SIGMA,
    Effects,
    blur_radius,
)
from .scenes import Background, Placed, Scene

MIP_BELOW = 0.75
FAINTEST = 1e-4
"""Alpha up to which a pixel of a layer counts as empty."""


def render_reference(atlas: Atlas, scene: Scene, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight layers (N, H, W, 4), background first, and their composite (H, W, 4); float64 in [0, 1]."""
    opaque = np.ones((height, width, 1))
    layers = [np.concatenate([_background(scene.background, height, width), opaque], 2)]
    layers += [_straight(_object(atlas, placed, height, width)) for placed in scene.objects]
    composite = np.zeros((height, width, 4))
    for layer in layers:
        composite = _over(np.concatenate([layer[..., :3] * layer[..., 3:], layer[..., 3:]], 2), composite)
    return np.stack(layers), composite


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return top + bottom * (1 - top[..., 3:])


def _straight(premultiplied: np.ndarray) -> np.ndarray:
    alpha = premultiplied[..., 3:]
    seen = alpha > FAINTEST
    colour = np.where(seen, premultiplied[..., :3] / np.where(seen, alpha, 1), 0.5)
    return np.concatenate([np.clip(colour, 0, 1), np.where(seen, alpha, 0)], 2)


def _pixel(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Pixels of (h, w, c) at whole numbers; 0 outside."""
    height, width = image.shape[:2]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] * inside[..., None]


def sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples of (h, w, c) at places ``x``, ``y`` (any shape) in pixels; transparent outside."""
    left, top = np.floor(x - 0.5).astype(int), np.floor(y - 0.5).astype(int)
    right_share, lower_share = (x - 0.5 - left)[..., None], (y - 0.5 - top)[..., None]
    upper = _pixel(image, top, left) * (1 - right_share) + _pixel(image, top, left + 1) * right_share
    lower = _pixel(image, top + 1, left) * (1 - right_share) + _pixel(image, top + 1, left + 1) * right_share
    return upper * (1 - lower_share) + lower * lower_share


def _places(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y (H, W) of all pixels."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return x, y


def _object(atlas: Atlas, placed: Placed, height: int, width: int) -> np.ndarray:
    """Premultiplied layer (H, W, 4) of an object with what it casts."""
    short = min(height, width)
    side = placed.size * short
    cell = atlas.pixels[placed.sprite].astype(np.float64) / 255
    while cell.shape[0] > CELL / 8 and side < MIP_BELOW * cell.shape[0]:
        cell = (cell[::2, ::2] + cell[1::2, ::2] + cell[::2, 1::2] + cell[1::2, 1::2]) / 4
    x, y = _places(height, width)
    x, y = x - placed.centre[0] * width, y - placed.centre[1] * height
    # Back from the canvas to the sprite: turned back, mirrored back, scaled.
    cos, sin = math.cos(placed.angle), math.sin(placed.angle)
    across, down = cos * x + sin * y, cos * y - sin * x
    texel = side / cell.shape[0]
    middle = cell.shape[0] / 2
    picture = sample(cell, (-across if placed.flip else across) / texel + middle, down / texel + middle)
    colour = np.minimum(picture[..., :3] * np.array(placed.tint or placed.gain), picture[..., 3:])
    picture = np.concatenate([colour, picture[..., 3:]], 2) * placed.opacity
    if placed.rim is not None:
        picture = _over(picture, _rim(picture[..., 3], placed.rim, short))
    below = np.zeros_like(picture)
    if placed.effects is not None:
        below = _effects(picture, placed, placed.effects, short)
    if placed.shadow is not None:
        dx, dy, sigma, strength = placed.shadow
        soft = blurred(picture[..., 3], sigma * short, blur_radius(DROP_SIGMA, short))
        x, y = _places(height, width)
        below = _over(
            _flat((0, 0, 0), sample(soft[..., None], x - dx * short, y - dy * short) * strength), below
        )
    return _over(picture, below)


def _flat(colour: tuple[float, float, float], alpha: np.ndarray) -> np.ndarray:
    """One colour (premultiplied by it) at the coverage ``alpha`` (H, W, 1)."""
    return np.concatenate([alpha * np.array(colour), alpha], 2)


def blurred(alpha: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """(H, W) blurred by a Gaussian of ``sigma`` pixels cut off at ``radius``; nothing lies outside."""
    taps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (taps / sigma) ** 2)
    kernel /= kernel.sum()
    height, width = alpha.shape
    padded = np.pad(alpha, radius)
    down = sum(kernel[k] * padded[k : k + height] for k in range(2 * radius + 1))
    return np.asarray(sum(kernel[k] * down[:, k : k + width] for k in range(2 * radius + 1)))


def _rim(alpha: np.ndarray, rim: tuple[float, float, float, float], short: int) -> np.ndarray:
    """A silhouette (H, W) blurred, and cut off where a straight edge would have faded for the rim's width."""
    width = rim[3] * short
    sigma, radius = max(width / RIM_PER_SIGMA, RIM_LEAST), blur_radius(RIM_SIGMA, short)
    soft = blurred(alpha, sigma, radius) / blurred(np.ones_like(alpha), sigma, radius)
    most, least = (0.5 * math.erfc((width + half) / sigma / math.sqrt(2)) for half in (-0.5, 0.5))
    return _flat(rim[:3], np.clip((soft - least) / (most - least), 0, 1)[..., None])


def _effects(picture: np.ndarray, placed: Placed, effects: Effects, short: int) -> np.ndarray:
    """Glow, reflection and contact shadow of an object's picture, one over the other."""
    height, width = picture.shape[:2]
    x, y = _places(height, width)
    alpha = picture[..., 3]
    centre = placed.centre[1] * height
    ground = centre + effects.ground * placed.size * short
    below = np.zeros_like(picture)
    if effects.glow is not None:
        *colour, sigma, strength = effects.glow
        soft = blurred(alpha, sigma * short, blur_radius(GLOW_SIGMA, short)) * strength
        below = _flat((colour[0], colour[1], colour[2]), soft[..., None])
    if effects.reflection is not None:
        strength, length, gap = effects.reflection
        depth = y - ground - gap * short
        fade = strength * np.clip(1 - depth / (length * short), 0, 1) * np.clip(depth + 0.5, 0, 1)
        below = _over(sample(picture, x, ground - depth) * fade[..., None], below)
    if effects.contact is not None:
        strength, squash, sigma = effects.contact
        flat = sample(alpha[..., None], x, centre + (y - ground) / squash)[..., 0]
        soft = blurred(flat, sigma * short, blur_radius(CONTACT_SIGMA, short)) * strength
        below = _over(_flat((0, 0, 0), soft[..., None]), below)
    return below


def _background(spec: Background, height: int, width: int) -> np.ndarray:
    """(H, W, 3) in [0, 1]: a mix of two colours. The shorter side runs from 0 to 1, about the middle."""
    short = min(height, width)
    x, y = _places(height, width)
    x, y = (x - width / 2) / short + 0.5, (y - height / 2) / short + 0.5
    first, second = (np.array(colour) for colour in spec.colours)
    along = (x - 0.5) * math.cos(spec.angle) + (y - 0.5) * math.sin(spec.angle)
    if spec.kind == "flat":
        mix = np.zeros_like(x)
    elif spec.kind == "gradient":
        mix = (along + 0.6) / 1.2
    elif spec.kind == "glow":
        mix = 1.3 * np.hypot(x - 0.3 - 0.4 * math.cos(spec.angle) ** 2, y - 0.5)
    elif spec.kind == "stripes":
        mix = 0.5 + 0.5 * np.tanh(4 * np.sin(2 * math.pi * along * spec.frequency))
    elif spec.kind == "checks":
        n = max(2, round(spec.frequency))
        mix = (np.floor(x * n) + np.floor(y * n)) % 2
    elif spec.kind == "dots":
        n = max(3, round(spec.frequency))
        mix = (0.3 - np.hypot((x * n) % 1 - 0.5, (y * n) % 1 - 0.5)) * short / n
    else:
        mix = _noise(spec.noise_seed, height, width, 2 if spec.kind == "clouds" else 4)
    mixed = first + (second - first) * np.clip(mix, 0, 1)[..., None]
    if spec.vignette is None:
        return mixed
    strength, power = spec.vignette
    x, y = _places(height, width)
    distance = np.hypot(x / width - 0.5, y / height - 0.5) * math.sqrt(2)
    return mixed * (1 - strength * distance**power)[..., None]


def _noise(seed: int, height: int, width: int, octaves: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total, weight = np.zeros((height, width)), 0.0
    for octave in range(octaves):
        side = 3 * 2**octave
        grid = rng.random((side, side), dtype=np.float32).astype(np.float64)
        total += 0.6**octave * (_cubic(side, height) @ grid @ _cubic(side, width).T)
        weight += 0.6**octave
    return np.clip((total / weight - 0.5) * 1.8 + 0.5, 0, 1)


def _cubic(side: int, count: int) -> np.ndarray:
    """(count, side): weights of ``side`` samples in ``count`` points between them; cubic, a = -0.75, ends repeated."""
    weights = np.zeros((count, side))
    for point in range(count):
        place = (point + 0.5) * side / count - 0.5
        first = math.floor(place)
        for k in range(first - 1, first + 3):
            t = abs(place - k)
            value = (1.25 * t - 2.25) * t * t + 1 if t <= 1 else ((-0.75 * t + 3.75) * t - 6) * t + 3
            weights[point, min(max(k, 0), side - 1)] += value
    return weights
