"""Small random documents for the tests of the layers."""

from __future__ import annotations

import numpy as np

from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask

LAYER_MODES = [mode for mode in BlendMode if mode is not BlendMode.PASS_THROUGH]


def random_pixels(rng: np.random.Generator, width: int, height: int, depth: int = 8) -> np.ndarray:
    """Random colours; about a third of the pixels opaque, a third transparent."""
    top = 255 if depth == 8 else 65535
    pixels = rng.integers(0, top + 1, (height, width, 4)).astype(np.uint8 if depth == 8 else np.uint16)
    pixels[rng.random((height, width)) < 0.33, 3] = top
    pixels[rng.random((height, width)) < 0.33, 3] = 0
    return pixels


def random_layer(rng: np.random.Generator, size: int = 12, depth: int = 8, **changes: object) -> Layer:
    width, height = (int(value) for value in rng.integers(1, size + 1, 2))
    offset = tuple(int(value) for value in rng.integers(-3, 5, 2))
    return Layer(pixels=random_pixels(rng, width, height, depth), offset=offset, **changes)  # type: ignore[arg-type]


def rich_document(seed: int, modes: list[BlendMode] | None = None, size: int = 24) -> LayeredImage:
    """Groups of both kinds, masks, clipping, opacities and the given modes (default: normal only)."""
    rng = np.random.default_rng(seed)
    modes = modes or [BlendMode.NORMAL]

    def layer(**changes: object) -> Layer:
        mode = modes[int(rng.integers(len(modes)))]
        opacity = float(rng.choice([1.0, 0.5, 0.25]))
        return random_layer(
            rng, size, name=f"L{int(rng.integers(1 << 30))}", opacity=opacity, blend=mode, **changes
        )

    mask = Mask(pixels=rng.integers(0, 256, (9, 11)).astype(np.uint8), offset=(2, 3), default=1.0)
    isolated = Group(
        name="isolated", layers=(layer(), layer(clipping=True), layer()), blend=BlendMode.NORMAL, opacity=0.7
    )
    through = Group(name="through", layers=(layer(), isolated, layer(mask=mask)), opacity=0.6, mask=mask)
    plain = Group(name="plain", layers=(layer(), layer()))
    hidden = layer(visible=False)
    return LayeredImage(
        width=size, height=size, layers=(layer(), plain, layer(clipping=True), hidden, through, layer())
    )
