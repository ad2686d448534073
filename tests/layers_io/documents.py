"""Documents that the format tests share, and how they compare what came back."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask, Provenance
from acetate.layers.io.colour import srgb_profile

MODES = (
    BlendMode.MULTIPLY,
    BlendMode.SCREEN,
    BlendMode.OVERLAY,
    BlendMode.DARKEN,
    BlendMode.HARD_LIGHT,
    BlendMode.DIFFERENCE,
)
"""Blend modes that PSD and OpenRaster hold and that GIMP and Krita compute as the W3C does."""


def disc(width: int, height: int, colour: tuple[int, int, int], depth: int = 8) -> np.ndarray:
    """A soft-edged disc with a gradient in its colour: uint8 or uint16 RGBA with a transparent rim."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    reach = np.hypot((x - (width - 1) / 2) / (width / 2), (y - (height - 1) / 2) / (height / 2))
    alpha = np.clip((0.9 - reach) * 4, 0, 1)
    top = 255 if depth == 8 else 65535
    pixels = np.empty((height, width, 4))
    for channel, value in enumerate(colour):
        pixels[..., channel] = value / 255 * (0.5 + 0.5 * x / max(1, width - 1))
    pixels[..., 3] = alpha
    return np.floor(pixels * top + 0.5).astype(np.uint8 if depth == 8 else np.uint16)


def plate(width: int, height: int, depth: int = 8) -> np.ndarray:
    """An opaque gradient."""
    pixels = disc(width, height, (200, 150, 90), depth)
    pixels[..., 3] = 255 if depth == 8 else 65535
    pixels[..., 1] = np.linspace(0, pixels[..., 3].max(), height).astype(pixels.dtype)[:, None]
    return pixels


def ramp(width: int, height: int, depth: int = 8) -> np.ndarray:
    """A mask from 0 to full, left to right."""
    line = np.linspace(0, 255 if depth == 8 else 65535, width)
    return np.tile(line.astype(np.uint8 if depth == 8 else np.uint16), (height, 1))


def nasty(depth: int = 8, *, group_opacity: bool = True, clipped_blend: bool = True) -> LayeredImage:
    """Groups in groups, masks, clipping, blend modes, names of the world, offsets off the canvas."""
    colours = [(250, 40, 40), (40, 200, 60), (60, 80, 240), (240, 220, 30), (200, 60, 220), (30, 220, 220)]
    blends = [
        Layer(
            pixels=disc(22, 18, colours[k], depth),
            name=f"模式 {mode}",
            offset=(4 + 9 * k, 5 + 6 * k),
            blend=mode,
        )
        for k, mode in enumerate(MODES)
    ]
    inner = Group(
        name="内组 🎈",
        blend=BlendMode.NORMAL,
        opacity=128 / 255 if group_opacity else 1.0,
        open=False,
        layers=(
            Layer(
                pixels=disc(30, 24, (255, 128, 0), depth),
                name="Ünïcode ☃",
                offset=(-9, 30),
                provenance=Provenance(
                    prompt='a <b>snowman</b> & "co"', box=(0, 1, 20, 30), seed=7, role="layer"
                ),
            ),
            Layer(
                pixels=disc(26, 26, (0, 128, 255), depth), name="beyond", offset=(60, 40), opacity=51 / 255
            ),
        ),
        mask=Mask(pixels=ramp(70, 50, depth), offset=(0, 4), default=1.0),
    )
    outer = Group(
        name="外组",
        layers=(
            blends[0],
            blends[1],
            inner,
            Layer(
                pixels=disc(20, 20, (10, 10, 10), depth),
                name="masked",
                offset=(20, 8),
                mask=Mask(pixels=ramp(12, 9, depth), offset=(24, 12), default=0.0),
            ),
        ),
    )
    base = Layer(pixels=disc(30, 20, (90, 200, 120), depth), name="base", offset=(30, 2), opacity=204 / 255)
    clip = Layer(
        pixels=disc(30, 30, (250, 250, 250), depth),
        name="clipped",
        offset=(40, -6),
        clipping=True,
        blend=BlendMode.MULTIPLY if clipped_blend else BlendMode.NORMAL,
    )
    hidden = Layer(pixels=disc(9, 9, (1, 2, 3), depth), name="hidden", visible=False, locked=True)
    disabled = Layer(
        pixels=disc(14, 11, (120, 60, 10), depth),
        name="disabled mask",
        offset=(2, 40),
        mask=Mask(pixels=ramp(5, 5, depth), offset=(3, 41), enabled=False),
    )
    ground = Layer(pixels=plate(72, 56, depth), name="Background")
    layers = (ground, outer, base, clip, *blends[2:], hidden, disabled)
    metadata = {"seed": 7, "model": "tiny", "arguments": {"layers": 4, "prompt": "雪"}}
    return LayeredImage(width=72, height=56, layers=layers, depth=depth, dpi=150.0, metadata=metadata)


def outline(doc: LayeredImage) -> list[tuple[object, ...]]:
    """The tree without its pixels: everything a format should keep."""
    return [
        (
            path,
            type(node).__name__,
            node.name,
            node.blend,
            round(node.opacity * 255),
            node.visible,
            node.locked,
            node.clipping,
            node.id,
            getattr(node, "open", None),
            getattr(node, "provenance", None),
        )
        for path, node in doc.walk()
    ]


def on_canvas(layer: Layer, box: tuple[int, int, int, int] = (-20, -20, 100, 90)) -> np.ndarray:
    """The layer's pixels painted into a plane of its own depth, hidden colours removed."""
    plane = np.zeros((box[3] - box[1], box[2] - box[0], 4), layer.pixels.dtype)
    x, y = layer.offset[0] - box[0], layer.offset[1] - box[1]
    plane[y : y + layer.height, x : x + layer.width] = layer.pixels
    plane[plane[..., 3] == 0] = 0
    return plane


def worst(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of two pictures in 8-bit levels."""
    scale = 255 / np.iinfo(one.dtype).max if one.dtype.kind == "u" else 255.0
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max() * scale)


def map_layers(
    nodes: tuple[Layer | Group, ...], change: Callable[[Layer | Group], dict[str, object]]
) -> tuple[Layer | Group, ...]:
    """The tree with ``change``'s fields replaced in every node."""
    return tuple(
        node.replace(
            **change(node), **({"layers": map_layers(node.layers, change)} if isinstance(node, Group) else {})
        )
        for node in nodes
    )


def other_profile() -> bytes:
    """A grey-axis-preserving RGB profile that is not sRGB: sRGB with its red and blue primaries exchanged."""
    data = bytearray(srgb_profile())
    count = struct.unpack(">I", data[128:132])[0]
    entries = {bytes(data[132 + 12 * k : 136 + 12 * k]): 132 + 12 * k for k in range(count)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = (
        data[blue + 4 : blue + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)
