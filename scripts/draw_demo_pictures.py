"""Draw the two made pictures of `make demo`, docs/pictures/poster.png and stickers.png (run once; the results ship).

The stickers are colour glyphs of Noto Color Emoji (OFL) with a die-cut rim; the poster is shapes and type.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from acetate.datasets.sprites import EMOJI_FONT, find_font

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
    """1200 x 1600: a sun, a wave, a title and a badge."""
    scale, (width, height) = 2, (2400, 3200)
    canvas = gradient((width, height), (32, 44, 96), (238, 120, 140))

    def layer() -> tuple[Image.Image, ImageDraw.ImageDraw]:
        picture = Image.new("RGBA", (width, height))
        return picture, ImageDraw.Draw(picture)

    sun, draw = layer()
    draw.ellipse((560, 700, 1840, 1980), fill=(255, 196, 60, 255))
    canvas.alpha_composite(sun)
    wave, draw = layer()
    x = np.linspace(0, width, 400)
    crest = 2060 + 120 * np.sin(x / width * 4 * np.pi + 0.6)
    draw.polygon([(0, height), *zip(x, crest, strict=True), (width, height)], fill=(20, 110, 130, 255))
    canvas = shadowed(canvas, wave, 30, -20, 0.35)
    title, draw = layer()
    font = ImageFont.truetype(str(find_font("DejaVuSans-Bold.ttf")), 560)
    draw.text((width / 2, 420), "JAZZ", font=font, anchor="mm", fill=(250, 246, 236, 255))
    canvas = shadowed(canvas, title, 18, 20, 0.5)
    badge, draw = layer()
    points = [
        (
            1860 + (330 if i % 2 == 0 else 265) * np.cos(i * np.pi / 16),
            2600 + (330 if i % 2 == 0 else 265) * np.sin(i * np.pi / 16),
        )
        for i in range(32)
    ]
    draw.polygon(points, fill=(214, 40, 60, 255))
    small = ImageFont.truetype(str(find_font("DejaVuSans-Bold.ttf")), 150)
    draw.text((1860, 2600), "FREE", font=small, anchor="mm", fill=(255, 255, 255, 255))
    canvas = shadowed(canvas, badge, 18, 18, 0.45)
    return canvas.resize((width // scale, height // scale), Image.Resampling.LANCZOS).convert("RGB")


def sticker(character: str, size: int, angle: float) -> Image.Image:
    """One emoji at ``size`` pixels with a white die-cut rim, turned by ``angle`` degrees."""
    font = ImageFont.truetype(str(find_font(EMOJI_FONT)), 109)
    glyph = Image.new("RGBA", (176, 176))
    ImageDraw.Draw(glyph).text((88, 88), character, font=font, embedded_color=True, anchor="mm")
    glyph = glyph.convert("RGBa").resize(
        (size, size), Image.Resampling.LANCZOS
    )  # premultiplied: no dark fringe
    glyph = glyph.rotate(angle, Image.Resampling.BICUBIC).convert("RGBA")
    rim = (
        glyph.getchannel("A")
        .filter(ImageFilter.GaussianBlur(size / 34))
        .point(lambda a: min(255, max(0, (a - 40) * 9)))
    )
    out = Image.new("RGBA", glyph.size, (255, 255, 255, 0))
    out.putalpha(rim)
    out.alpha_composite(glyph)
    return out


def stickers() -> Image.Image:
    """1280 x 1280: four stickers, two of them overlapping, on a two-colour ground."""
    side = 1280
    canvas = gradient((side, side), (70, 170, 190), (34, 84, 150))
    for character, size, angle, x, y in (
        ("🦊", 560, 8, 40, 60),
        ("🍕", 520, -14, 690, 150),
        ("🚀", 560, 0, 130, 660),
        ("🌻", 480, 6, 560, 620),
    ):
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
