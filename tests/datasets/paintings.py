"""Documents that the data pipeline's tests share: soft discs in stacks, groups, masks, clips and blend modes."""

from __future__ import annotations

import numpy as np

from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask
from acetate.layers.document import Node

MODES = tuple(mode for mode in BlendMode if mode is not BlendMode.PASS_THROUGH)


def disc(side: int, colour: tuple[int, int, int], strength: float = 1.0) -> np.ndarray:
    """A soft-edged disc, uint8 (side, side, 4)."""
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.clip((0.9 - np.hypot(x, y) / (side / 2)) * 4, 0, 1) * 255 * strength + 0.5
    return pixels


def plate(width: int, height: int, colour: tuple[int, int, int], alpha: int = 255) -> np.ndarray:
    """An even rectangle with a little texture, so that nothing repeats what lies beneath by chance."""
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 0] ^= (np.indices((height, width)).sum(0) % 7).astype(np.uint8)
    pixels[..., 3] = alpha
    return pixels


def poster(side: int = 96) -> LayeredImage:
    """A background and four named objects; "sun" and "moon" touch nothing but the background, "ball" lies over "box"."""
    layers = (
        Layer(pixels=plate(side, side, (40, 90, 160)), name="Background"),
        Layer(pixels=disc(24, (250, 220, 40)), name="sun", offset=(4, 4)),
        Layer(pixels=disc(20, (230, 230, 230)), name="moon", offset=(70, 6)),
        Layer(pixels=plate(30, 30, (180, 40, 40)), name="box", offset=(30, 50)),
        Layer(pixels=disc(28, (30, 200, 90)), name="ball", offset=(40, 60)),
    )
    return LayeredImage(width=side, height=side, layers=layers)


def random_document(seed: int, side: int = 48, *, opaque: bool = True, blends: bool = True) -> LayeredImage:
    """A tree of discs and plates with random opacity, masks, clipping, groups and, if ``blends``, any blend mode."""
    rng = np.random.default_rng(seed)

    def colour() -> tuple[int, int, int]:
        red, green, blue = rng.integers(0, 256, 3)
        return int(red), int(green), int(blue)

    def mask() -> Mask | None:
        if rng.random() < 0.7:
            return None
        return Mask(pixels=rng.integers(0, 256, (20, 24), dtype=np.uint8), offset=(int(rng.integers(-5, 20)), 9),
                    default=float(rng.integers(0, 2)), enabled=bool(rng.random() < 0.8))  # fmt: skip

    def node(depth: int) -> Node:
        modes = MODES if blends and rng.random() < 0.5 else (BlendMode.NORMAL,)
        common = {
            "opacity": 1.0 if rng.random() < 0.6 else float(rng.integers(0, 256) / 255),
            "visible": bool(rng.random() < 0.9),
            "clipping": bool(rng.random() < 0.3),
            "mask": mask(),
            "name": f"n{rng.integers(1000)}",
        }
        if depth < 2 and rng.random() < 0.3:
            mode = BlendMode.PASS_THROUGH if rng.random() < 0.6 else modes[int(rng.integers(len(modes)))]
            return Group(
                layers=tuple(node(depth + 1) for _ in range(int(rng.integers(1, 4)))), blend=mode, **common
            )
        size = int(rng.integers(8, 40))
        place = (int(rng.integers(-12, side)), int(rng.integers(-12, side)))
        pixels = (
            disc(size, colour(), float(rng.uniform(0.3, 1)))
            if rng.random() < 0.7
            else plate(size, size, colour())
        )
        return Layer(pixels=pixels, offset=place, blend=modes[int(rng.integers(len(modes)))], **common)

    base = [Layer(pixels=plate(side, side, colour()), name="ground")] if opaque else []
    return LayeredImage(width=side, height=side, layers=(*base, *(node(0) for _ in range(7))))
