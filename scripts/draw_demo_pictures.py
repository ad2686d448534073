"""Draw the two made pictures of `make demo`, docs/pictures/poster.png and stickers.png (run once; the results ship).

The stickers are colour glyphs of Noto Color Emoji (OFL); the poster is shapes and type.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from acetate.datasets.sprites import draw_emoji, find_font, load_emoji_font

OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def gradient(size: tuple[int, int], top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    """A vertical two-colour gradient, dithered so that no bands show."""
    width, height = size
    mix = np.linspace(0, 1, height)[:, None, None]
    colours = np.array(top) * (1 - mix) + np.array(bottom) * mix
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (height, width, 3))
    return Image.fromarray((colours + noise).round().clip(0, 255).astype(np.uint8)).convert("RGBA")


def shadowed(
    canvas: Image.Image, layer: Image.Image, blur: float, shift: int, strength: float
) -> Image.Image:
    """Canvas with ``layer`` and its soft black shadow on top."""
    alpha = layer.getchannel("A").filter(ImageFilter.GaussianBlur(blur)).point(lambda a: int(a * strength))
    shade = Image.new("RGBA", layer.size)
    shade.putalpha(alpha)
    canvas.alpha_composite(shade, (0, shift))
    canvas.alpha_composite(layer)
    return canvas


def poster() -> Image.Image:
    """1200 x 1600: a title, a sun, a star and the date on a two-colour ground."""
    scale, (width, height) = 2, (2400, 3200)
    canvas = gradient((width, height), (32, 44, 96), (238, 120, 140))

    def layer() -> tuple[Image.Image, ImageDraw.ImageDraw]:
        picture = Image.new("RGBA", (width, height))
        return picture, ImageDraw.Draw(picture)

    bold = str(find_font("DejaVuSans-Bold.ttf"))
    title, draw = layer()
    draw.text(
        (width / 2, 520), "JAZZ", font=ImageFont.truetype(bold, 620), anchor="mm", fill=(250, 246, 236, 255)
    )
    canvas = shadowed(canvas, title, 18, 20, 0.5)
    sun, draw = layer()
    draw.ellipse((560, 1000, 1840, 2280), fill=(255, 196, 60, 255))
    canvas = shadowed(canvas, sun, 24, 30, 0.4)
    star, draw = layer()
    radii = [(400 if i % 2 == 0 else 170) for i in range(10)]
    angles = [i * np.pi / 5 - np.pi / 2 for i in range(10)]
    draw.polygon(
        [(1780 + r * np.cos(a), 2080 + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)],
        fill=(20, 110, 130, 255),
    )
    canvas = shadowed(canvas, star, 18, 20, 0.45)
    date, draw = layer()
    draw.text(
        (width / 2, 2800), "2026", font=ImageFont.truetype(bold, 420), anchor="mm", fill=(40, 40, 60, 255)
    )
    canvas.alpha_composite(date)
    return canvas.resize((width // scale, height // scale), Image.Resampling.LANCZOS).convert("RGB")


def sticker(character: str, size: int, angle: float) -> Image.Image:
    """One emoji at ``size`` pixels, turned by ``angle`` degrees."""
    glyph = Image.fromarray(draw_emoji(character, load_emoji_font()), "RGBA")
    bands = [band.resize((size, size), Image.Resampling.LANCZOS) for band in glyph.split()]
    bands = [band.rotate(angle, Image.Resampling.BICUBIC) for band in bands]
    alpha = np.asarray(bands[3]).astype(np.float32)[..., None]
    colour = (
        np.stack([np.asarray(band) for band in bands[:3]], -1).astype(np.float32) * 255 / np.maximum(alpha, 1)
    )
    return Image.fromarray(np.concatenate([colour, alpha], -1).clip(0, 255).astype(np.uint8))


def stickers() -> Image.Image:
    """1280 x 1280: four stickers, two of them overlapping, on a two-colour ground."""
    side = 1280
    canvas = gradient((side, side), (150, 206, 216), (74, 130, 196))
    places = (
        ("🦊", 600, 8, 40, 50),
        ("🍕", 560, -14, 680, 90),
        ("🚀", 600, 0, 130, 640),
        ("🌻", 560, 6, 560, 640),
    )
    for character, size, angle, x, y in places:
        layer = Image.new("RGBA", (side, side))
        layer.alpha_composite(sticker(character, size, angle), (x, y))
        canvas = shadowed(canvas, layer, 14, 12, 0.5)
    return canvas.convert("RGB")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    poster().save(OUT / "poster.png", optimize=True)
    stickers().save(OUT / "stickers.png", optimize=True)


if __name__ == "__main__":
    main()
