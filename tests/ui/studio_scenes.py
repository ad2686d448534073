"""Pictures and documents that the studio's tests open."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from acetate.layers.blend import BlendMode
from acetate.layers.document import Group, Layer, LayeredImage, Mask, Node

SIDE = 96
COLOURS = {"Ground": (240, 240, 240), "Red": (220, 30, 40), "Green": (30, 160, 60), "Blue": (40, 60, 210)}
MODES = [mode for mode in BlendMode if mode is not BlendMode.PASS_THROUGH]


def poster() -> Image.Image:
    """Two shapes on a gradient, 80 x 64."""
    ramp = np.linspace(40, 200, 80, dtype=np.uint8)
    pixels = np.stack(
        [np.tile(ramp, (64, 1)), np.full((64, 80), 90, np.uint8), np.tile(ramp[::-1], (64, 1))], -1
    )
    picture = Image.fromarray(pixels, "RGB")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10, 10, 40, 40), fill=(250, 200, 40))
    draw.rectangle((48, 30, 70, 56), fill=(200, 30, 50))
    return picture


def noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Colours and alphas of every kind: extremes, soft edges, nothing."""
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    extremes = rng.random((height, width)) < 0.2
    pixels[extremes, :3] = rng.choice([0, 255], (int(extremes.sum()), 3))
    alpha = rng.random((height, width))
    pixels[alpha < 0.3, 3] = 255
    pixels[alpha > 0.8, 3] = 0
    return pixels


def twenty_layers(first: int = 0) -> LayeredImage:
    """An opaque background and 19 layers in groups, masked, clipped, in modes counted on from ``first``."""
    rng = np.random.default_rng(first)
    background = rng.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    background[..., 3] = 255
    layers: list[Node] = [Layer(pixels=background, name="Background")]
    for number in range(19):
        width, height = (int(value) for value in rng.integers(24, 90, 2))
        offset = tuple(int(value) for value in rng.integers(-16, 60, 2))
        mask = None
        if number % 5 == 1:
            mask = Mask(pixels=rng.integers(0, 256, (40, 50), dtype=np.uint8), offset=(20, 20), default=0.25)
        layers.append(
            Layer(
                pixels=noise(rng, width, height),
                name=f"Layer {number}",
                offset=offset,  # type: ignore[arg-type]
                blend=MODES[(first + number) % len(MODES)],
                opacity=1.0 if number % 3 else 0.6,
                visible=number != 9,
                clipping=number in (4, 5, 15),
                mask=mask,
            )
        )
    isolated = Group(layers=tuple(layers[6:9]), name="Isolated", blend=BlendMode.MULTIPLY, opacity=0.8)
    half = Mask(pixels=np.full((60, 60), 130, np.uint8), offset=(10, 10), default=1.0)
    passing = Group(layers=tuple(layers[9:12]), name="Passing", opacity=0.7, mask=half)
    plain = Group(layers=(*layers[12:15], passing), name="Outer")
    nodes = (*layers[:6], isolated, plain, *layers[15:])
    return LayeredImage(width=SIDE, height=SIDE, layers=nodes)


def squares() -> LayeredImage:
    """Three squares on a ground, 120 x 100."""
    layers = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        size, offset = ((120, 100), (0, 0)) if name == "Ground" else ((24, 24), (10 + 30 * (number - 1), 10))
        pixels = np.array(Image.new("RGBA", size, (*colour, 255)))
        layers.append(Layer(pixels=pixels, name=name, offset=offset))
    return LayeredImage(width=120, height=100, layers=tuple(layers))
