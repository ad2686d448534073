"""Draw a layered poster such as a designer's file holds it: 35 layers in groups, clipped, masked, in several blend modes.

    python -P scripts/draw_layered_poster.py poster.psd

The guests and the food are colour glyphs of Noto Color Emoji (OFL), everything else is shapes and type. The studio's
picture of many layers shows it; the format follows from the file's name, as with `acetate convert`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from acetate.datasets.sprites import draw_emoji, find_font, load_emoji_font
from acetate.layers import LayeredImage
from acetate.layers.document import Group, Layer, Mask

SIZE = (1600, 1200)
LONG = "The other sky, for the poster of the summer months, if the printer can still take it: 夏天的海报"
Colour = tuple[int, int, int]
Ink = tuple[int, int, int, int]
Point = tuple[float, float]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="where it goes: .psd, .psb, .ora, .zip, .pptx, .png ...")
    print(layered_poster().save(parser.parse_args().file))
    return 0


def layered_poster() -> LayeredImage:
    """1600 x 1200, 35 layers in 9 groups."""
    ground = Layer(pixels=gradient((30, 26, 70), (226, 112, 120)), name="Evening", locked=True)
    other = Layer(pixels=gradient((86, 170, 226), (240, 232, 200)), name=LONG, visible=False)
    nodes = (ground, other, sky(), hills(), lights(), guests(), table(), title(), vignette())
    return LayeredImage(width=SIZE[0], height=SIZE[1], layers=nodes)


def sky() -> Group:
    stars, moon, craters, shine = (Sheet() for _ in range(4))
    random = np.random.default_rng(3)
    for x, y, size in zip(*random.uniform((0, 0, 1), (1600, 560, 3), (110, 3)).T, strict=True):
        stars.ellipse((x, y), (size, size), (255, 255, 255, 220))
    middle = (1375, 470)
    moon.ellipse(middle, (104, 104), (255, 244, 214, 255))
    for dx, dy, size in ((-34, -36, 24), (30, 34, 34), (10, -78, 14), (-58, 40, 17)):
        craters.ellipse((middle[0] + dx, middle[1] + dy), (size, size), (226, 206, 170, 150))
    shine.ellipse(middle, (170, 170), (255, 226, 170, 200))
    return Group(
        name="Sky",
        layers=(
            layer("Stars", stars.done(), blend="screen", opacity=0.85),
            layer("Moonshine", shine.done(blur=50), blend="screen", opacity=0.7),
            layer("Moon", moon.done()),
            layer("Craters", craters.done(), clipping=True),
            layer("Cloud", cloud(170, 500), opacity=0.4),
        ),
    )


def hills() -> Group:
    far, near = hill(690, 60, 0.4, (88, 58, 112, 255)), hill(790, 46, 2.2, (44, 40, 84, 255))
    mist = Sheet()
    mist.rectangle((-99, 740, 1700, 900), (255, 170, 150, 150))
    return Group(
        name="Hills",
        layers=(
            layer("Far hills", far),
            layer("Mist", mist.done(blur=40), clipping=True, blend="screen"),
            layer("Near hills", near),
        ),
    )


def lights() -> Group:
    places = [(x, 200 + 170 * (1 - ((x - 800) / 800) ** 2)) for x in range(-40, 1641, 8)]
    cord = Sheet()
    cord.line(places, (30, 24, 48, 255), 5)
    colours = ((255, 206, 84), (255, 120, 120), (120, 220, 232), (170, 230, 130), (255, 150, 220))
    bulbs = []
    for number, colour in enumerate(colours):
        x, y = places[25 + 40 * number]
        glow, bulb = Sheet(), Sheet()
        glow.ellipse((x, y + 28), (48, 48), (*colour, 220))
        bulb.ellipse((x, y + 28), (18, 24), (*(min(255, value + 60) for value in colour), 255))
        lit = Image.alpha_composite(glow.done(blur=26), bulb.done())
        bulbs.append(layer(f"Bulb {number + 1}", lit, blend="screen"))
    return Group(name="Lights", layers=(layer("Cord", cord.done()), Group(name="Bulbs", layers=tuple(bulbs))))


def guests() -> Group:
    """Each a layer of its own, the shadows of all one layer below them."""
    row = (("Fox", "🦊", 20, 6), ("Panda", "🐼", 325, -4), ("Frog", "🐸", 615, 3), ("Lion", "🦁", 915, -5),
           ("Unicorn", "🦄", 1205, 4))  # fmt: skip
    figures = {name: sticker(glyph, 380, angle, (x, 540)) for name, glyph, x, angle in row}
    shade = Image.new("RGBA", SIZE)
    for figure in figures.values():
        shade.alpha_composite(figure)
    shadow = Image.new("RGBA", SIZE, (38, 16, 60, 255))
    shadow.putalpha(shade.getchannel("A").filter(ImageFilter.GaussianBlur(16)))
    moved = Image.new("RGBA", SIZE)
    moved.alpha_composite(shadow, (14, 22))
    shadows = layer("Shadows of the guests", moved, blend="multiply", opacity=0.6)
    return Group(name="Guests", layers=(shadows, *(layer(*figure) for figure in figures.items())))


def table() -> Group:
    cloth, columns, rows = Sheet(), Sheet(), Sheet()
    cloth.rectangle((0, 840, 1600, 1200), (252, 244, 232, 255))
    for x in range(-40, 1600, 80):
        columns.rectangle((x, 840, x + 39.5, 1200), (232, 84, 96, 130))
    for y in range(840, 1200, 80):
        rows.rectangle((0, y, 1600, y + 39.5), (232, 84, 96, 130))
    checks = Image.alpha_composite(columns.done(), rows.done())
    food = (("Cake", "🎂", 595, 400, 0), ("Pizza", "🍕", 150, 300, 12), ("Melon", "🍉", 390, 270, -10),
            ("Strawberry", "🍓", 960, 240, 8), ("Ice cream", "🍨", 1180, 310, 0))  # fmt: skip
    dishes = [
        layer(name, sticker(glyph, size, angle, (x, 1180 - size))) for name, glyph, x, size, angle in food
    ]
    flowers = tuple(
        layer(name, sticker(glyph, 240, angle, (x, 960)))
        for name, glyph, x, angle in (("Sunflower", "🌻", -30, 14), ("Tulip", "🌷", 1400, -10))
    )
    return Group(
        name="Table",
        layers=(
            layer("Cloth", cloth.done()),
            layer("Checks", checks, clipping=True, blend="multiply"),
            Group(name="Food", layers=tuple(dishes)),
            Group(name="Flowers", layers=flowers),
        ),
    )


def title() -> Group:
    """Letters, gold over them that a mask lets fade, clipped to them."""
    letters, gold, day = Sheet(), Sheet(), Sheet()
    letters.text((800, 130), "MOON PARTY", 176, (255, 250, 240, 255))
    gold.rectangle((0, 0, 1600, 260), (255, 176, 46, 255))
    fade = np.tile(np.linspace(0, 255, 260)[:, None], (1, 1600)).astype(np.uint8)
    day.text((800, 262), "SATURDAY, 8 PM, ON THE HILL", 44, (255, 214, 170, 255))
    return Group(
        name="Title",
        layers=(
            layer("Letters", letters.done()),
            layer("Gold", gold.done(), clipping=True, mask=Mask(pixels=fade, default=0.0)),
            layer("When and where", day.done()),
        ),
    )


def vignette() -> Layer:
    """Darker towards the corners."""
    y, x = np.mgrid[-1 : 1 : SIZE[1] * 1j, -1 : 1 : SIZE[0] * 1j]
    pixels = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
    pixels[..., :3] = (24, 10, 50)
    pixels[..., 3] = (np.clip(x**2 + y**2 - 0.7, 0, None) * 150).clip(0, 255)
    return Layer(pixels=pixels, name="Vignette", blend="multiply", opacity=0.55)


# -- what the layers are drawn with


class Sheet:
    """An empty canvas to draw on in its own pixels; drawn at twice the size, so that edges are soft."""

    def __init__(self) -> None:
        self._picture = Image.new("RGBA", (2 * SIZE[0], 2 * SIZE[1]))
        self._draw = ImageDraw.Draw(self._picture)

    def ellipse(self, middle: Point, radii: Point, fill: Ink) -> None:
        (x, y), (rx, ry) = middle, radii
        self._draw.ellipse(_twice((x - rx, y - ry, x + rx, y + ry)), fill=fill)

    def rectangle(self, box: tuple[float, float, float, float], fill: Ink) -> None:
        self._draw.rectangle(_twice(box), fill=fill)

    def polygon(self, points: Sequence[Point], fill: Ink) -> None:
        self._draw.polygon([_twice(point) for point in points], fill=fill)

    def line(self, points: Sequence[Point], fill: Ink, width: int) -> None:
        self._draw.line([_twice(point) for point in points], fill=fill, width=2 * width, joint="curve")

    def text(self, middle: Point, text: str, size: int, fill: Ink) -> None:
        font = ImageFont.truetype(str(find_font("DejaVuSans-Bold.ttf")), 2 * size)
        self._draw.text(_twice(middle), text, font=font, anchor="mm", fill=fill)

    def done(self, blur: float = 0.0) -> Image.Image:
        """RGBA of the canvas' size; ``blur`` in its pixels."""
        premultiplied = self._picture.convert("RGBa").reduce(2)
        return premultiplied.filter(ImageFilter.GaussianBlur(blur)).convert("RGBA")


def _twice(values: tuple[float, ...]) -> Any:
    return tuple(2 * value for value in values)


def layer(
    name: str,
    picture: Image.Image,
    *,
    blend: str = "normal",
    opacity: float = 1.0,
    clipping: bool = False,
    mask: Mask | None = None,
) -> Layer:
    """What is not empty of a picture as large as the canvas."""
    box = picture.getbbox()
    assert box is not None
    pixels = np.asarray(picture.crop(box))
    return Layer(
        pixels=pixels, name=name, offset=box[:2], blend=blend, opacity=opacity, clipping=clipping, mask=mask
    )


def gradient(top: Colour, bottom: Colour) -> np.ndarray:
    """From one colour down to another, uint8 (H, W, 4)."""
    mix = np.linspace(0, 1, SIZE[1])[:, None, None]
    colours = np.array([*top, 255]) * (1 - mix) + np.array([*bottom, 255]) * mix
    return np.repeat(colours.round().astype(np.uint8), SIZE[0], 1)


def hill(height: int, swing: int, phase: float, ink: Ink) -> Image.Image:
    drawn = Sheet()
    line = [
        (x, height + swing * (np.sin(x / 260 + phase) + 0.5 * np.sin(x / 97 + 2 * phase)))
        for x in range(0, 1601, 4)
    ]
    drawn.polygon([(0, SIZE[1]), *line, (SIZE[0], SIZE[1])], ink)
    return drawn.done()


def cloud(x: int, y: int) -> Image.Image:
    drawn = Sheet()
    for dx, dy, radius in ((0, 0, 50), (64, -30, 66), (140, -10, 58), (200, 8, 40)):
        drawn.ellipse((x + dx, y + dy), (radius, radius), (255, 255, 255, 255))
    return drawn.done(blur=5)


def sticker(character: str, size: int, angle: float, place: tuple[int, int]) -> Image.Image:
    """One glyph at ``size`` pixels, turned, with its top left corner at ``place`` of an empty canvas."""
    glyph = Image.fromarray(draw_emoji(character, load_emoji_font()))
    bands = [
        band.resize((size, size), Image.Resampling.LANCZOS).rotate(angle, Image.Resampling.BICUBIC)
        for band in glyph.split()
    ]
    premultiplied = np.stack([np.asarray(band) for band in bands], -1).astype(np.float32)
    alpha = premultiplied[..., 3:]
    colour = premultiplied[..., :3] * 255 / np.maximum(alpha, 1)
    pixels = np.concatenate([colour, alpha], -1).clip(0, 255).astype(np.uint8)
    picture = Image.new("RGBA", SIZE)
    picture.paste(Image.fromarray(pixels), place)
    return picture


if __name__ == "__main__":
    sys.exit(main())
