"""Sprites: the small RGBA pictures that procedural scenes are made of.

Three sources, all drawn on the machine that trains: colour glyphs of Noto Color Emoji (OFL; names from
``unicodedata``), vector shapes with shading, and words set in several fonts. The result is one atlas of equal
square cells. One sprite in ten is held out by the hash of its name and never seen in training.
This module knows nothing of scenes or tensors.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import minimum_filter

from ..errors import InputError
from .atlas import CELL, Atlas, Sprite

__all__ = ["CELL", "Atlas", "Sprite", "build_atlas", "draw_emoji", "find_font",
           "load_emoji_font"]  # fmt: skip

EMOJI_FONT = "NotoColorEmoji.ttf"
TEXT_FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf", "NotoSans-Bold.ttf", "DejaVuSansMono-Bold.ttf")
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")

SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "hexagon", "cross", "arrow", "crescent", "drop",
          "diamond", "panel", "banner", "glow", "pill")  # fmt: skip
WORDS = (  # noqa: SIM905 - one word a line would be a page
    "SALE NEW HELLO OPEN FREE LOVE PARTY MUSIC SUMMER WINTER SPRING COFFEE PIZZA BOOK NOW WOW YES STOP GO TOP "
    "BEST STAR MOON SUN CITY PARK ZOO ART JAZZ ROCK FILM SHOP FOOD FISH CAKE TEA MENU GAME PLAY WIN RACE FUN JOY "
    "HOPE DREAM NIGHT DAY WEEK LIVE SHOW TOUR EXPO CLUB BAR SPA GYM RUN YOGA 50% 2026 100 24H VIP OK HI BYE ECO "
    "BIO MAX PRO MINI MEGA"
).split()


def find_font(name: str) -> Path:
    """Path of an installed font file; InputError names the file and the Debian packages that hold it."""
    for folder in FONT_FOLDERS:
        for path in sorted(Path(folder).expanduser().rglob(name)):
            return path
    raise InputError(
        f"the font {name} is not installed: scenes are drawn with it (Debian: apt-get install "
        "fonts-noto-color-emoji fonts-noto-core fonts-dejavu-core)"
    )


def emoji_characters() -> list[tuple[str, str]]:
    """(character, lower-case name) of every single-code-point colour glyph worth drawing, in code-point order."""
    from PIL import features

    if not features.check("freetype2"):
        raise InputError(
            "Pillow was built without FreeType, so emoji cannot be drawn: install Pillow's own wheel"
        )
    first_blocks = ((0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6FF))
    blocks = (*first_blocks, (0x1F900, 0x1F9FF), (0x1FA70, 0x1FAFF), (0x2600, 0x27BF))
    found = []
    for first, last in blocks:
        for code in range(first, last + 1):
            name = unicodedata.name(chr(code), "").lower()
            if not name or "modifier" in name or "keycap" in name or "zodiac" in name:
                continue
            found.append((chr(code), name.replace("-", " ")))
    return found


def _centre(premultiplied: np.ndarray) -> np.ndarray | None:
    """Premultiplied RGBA cropped to its alpha and fitted into a cell with one pixel to spare; None when empty."""
    box = Image.fromarray(premultiplied[..., 3]).getbbox()
    if box is None:
        return None
    cut = premultiplied[box[1] : box[3], box[0] : box[2]]
    scale = (CELL - 2) / max(cut.shape[:2])
    width, height = (max(1, round(side * scale)) for side in cut.shape[1::-1])
    bands = [Image.fromarray(cut[..., c]).resize((width, height), Image.Resampling.LANCZOS) for c in range(4)]
    cell = np.zeros((CELL, CELL, 4), np.uint8)
    y, x = (CELL - height) // 2, (CELL - width) // 2
    stacked = np.stack([np.asarray(b) for b in bands], -1)
    stacked[..., :3] = np.minimum(stacked[..., :3], stacked[..., 3:])
    cell[y : y + height, x : x + width] = stacked
    return cell


def _premultiply(picture: Image.Image) -> np.ndarray:
    out = np.asarray(picture).astype(np.float32)
    out[..., :3] *= out[..., 3:] / 255
    return (out + 0.5).astype(np.uint8)


def load_emoji_font() -> ImageFont.FreeTypeFont:
    """The font of colour glyphs at its only bitmap size, 136 pixels wide; InputError when it is not installed."""
    return ImageFont.truetype(str(find_font(EMOJI_FONT)), 109)


def draw_emoji(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """A glyph of :func:`load_emoji_font` in the middle of uint8 (176, 176, 4), premultiplied, at the font's own size.

    Pillow darkens edges when it draws colour glyphs on transparency. On opaque grounds it does not, so the glyph is drawn
    on black and on white: black shows colour times alpha, the difference of both shows alpha.
    """
    grounds = []
    for level in (0, 255):
        picture = Image.new("RGB", (176, 176), (level,) * 3)
        ImageDraw.Draw(picture).text((88, 88), character, font=font, embedded_color=True, anchor="mm")
        grounds.append(np.asarray(picture).astype(np.int16))
    black, white = grounds
    alpha = 255 - np.rint((white - black).mean(-1, keepdims=True)).astype(np.int16)
    return np.concatenate([np.minimum(black, alpha), alpha], -1).clip(0, 255).astype(np.uint8)


def _emoji_cell(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray | None:
    glyph = draw_emoji(character, font)
    solid = glyph[glyph[..., 3] > 200][:, :3] @ np.array([1 << 16, 1 << 8, 1])
    if glyph[..., 3].max() == 0 or len(np.unique(solid)) < 4:
        return None  # a missing glyph, or a plain outline without colours
    return _centre(glyph)


def _text_cell(word: str, font_path: Path) -> np.ndarray | None:
    font = ImageFont.truetype(str(font_path), CELL)
    left, top, right, bottom = font.getbbox(word)
    canvas = Image.new("RGBA", (int(right - left) + 8, int(bottom - top) + 8), (255, 255, 255, 0))
    ImageDraw.Draw(canvas).text((4 - left, 4 - top), word, font=font, fill=(255, 255, 255, 255))
    return _centre(_premultiply(canvas))


def _polygon(kind: str, side: float) -> list[tuple[float, float]]:
    """Outline of a polygonal shape in a square of ``side``."""

    def ring(corners: int, turn: float, radii: tuple[float, ...]) -> list[tuple[float, float]]:
        angles = [turn + 2 * np.pi * i / corners for i in range(corners)]
        return [(side / 2 * (1 + radii[i % len(radii)] * np.cos(a)), side / 2 * (1 + radii[i % len(radii)] * np.sin(a)))
                for i, a in enumerate(angles)]  # fmt: skip

    unit = {
        "square": [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)],
        "arrow": [(0, 0.32), (0.55, 0.32), (0.55, 0.06), (1, 0.5), (0.55, 0.94), (0.55, 0.68), (0, 0.68)],
        "cross": [(0.33, 0), (0.67, 0), (0.67, 0.33), (1, 0.33), (1, 0.67), (0.67, 0.67), (0.67, 1), (0.33, 1),
                  (0.33, 0.67), (0, 0.67), (0, 0.33), (0.33, 0.33)],
        "banner": [(0, 0.3), (1, 0.3), (0.88, 0.5), (1, 0.7), (0, 0.7), (0.12, 0.5)],
    }  # fmt: skip
    if kind in unit:
        return [(x * side, y * side) for x, y in unit[kind]]
    if kind == "heart":
        t = np.linspace(0, 2 * np.pi, 120)
        x, y = 16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        return [(side * (0.5 + a / 34), side * (0.47 + b / 34)) for a, b in zip(x, y, strict=True)]
    if kind == "drop":
        t = np.linspace(0, 2 * np.pi, 120)
        return [
            (side * (0.5 + 0.46 * np.sin(v) * np.sin(v / 2) ** 1.6), side * (0.5 - 0.49 * np.cos(v)))
            for v in t
        ]
    corners = {"triangle": (3, -np.pi / 2, (1.0,)), "hexagon": (6, 0.0, (1.0,)), "diamond": (4, 0.0, (1.0, 0.7)),
               "star": (10, -np.pi / 2, (1.0, 0.42))}[kind]  # fmt: skip
    return ring(*corners)


def _shape_cell(kind: str, variant: int) -> np.ndarray | None:
    """A white shape with soft shading (variant 0 flat, 1 lit from above, 2 bevelled rim)."""
    side = 4 * CELL
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    if kind in ("circle", "ring", "crescent", "glow"):
        draw.ellipse((4, 4, side - 4, side - 4), fill=255)
        if kind == "ring":
            draw.ellipse((side * 0.24, side * 0.24, side * 0.76, side * 0.76), fill=0)
        if kind == "crescent":
            draw.ellipse((side * 0.3, -side * 0.02, side * 1.1, side * 0.8), fill=0)
    elif kind == "panel":
        draw.rounded_rectangle((0, side * 0.15, side, side * 0.85), radius=side * 0.1, fill=255)
    elif kind == "pill":
        draw.rounded_rectangle((0, side * 0.32, side, side * 0.68), radius=side * 0.18, fill=255)
    else:
        draw.polygon(_polygon(kind, side), fill=255)
    shade: np.ndarray = np.ones((side, side), np.float32)
    if variant == 1:
        shade *= np.linspace(1.0, 0.72, side, dtype=np.float32)[:, None]
    if variant == 2:
        eroded = Image.fromarray(minimum_filter(np.asarray(mask), side // 28 * 2 + 1, mode="nearest"))
        inner = np.asarray(eroded.filter(ImageFilter.GaussianBlur(side / 54)), np.float32)
        shade = 0.74 + 0.26 * inner / 255
    alpha = np.asarray(mask)
    if kind == "glow":
        yy, xx = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        alpha = (255 * np.clip(1 - np.hypot(xx, yy), 0, 1) ** 1.5).astype(np.uint8)
    grey = (255 * shade).astype(np.uint8)
    return _centre(_premultiply(Image.fromarray(np.stack([grey, grey, grey, alpha], -1))))


def _candidates() -> Iterable[tuple[Sprite, np.ndarray | None]]:
    emoji_font = load_emoji_font()
    for character, name in emoji_characters():
        yield Sprite(name=name, kind="emoji", tinted=False), _emoji_cell(character, emoji_font)
    for kind in SHAPES:
        for variant in (0,) if kind == "glow" else (0, 1, 2):
            yield Sprite(name=kind, kind="shape", tinted=True), _shape_cell(kind, variant)
    fonts = [find_font(name) for name in TEXT_FONTS]
    for word in WORDS:
        for font in fonts:
            yield Sprite(name=word.lower(), kind="text", tinted=True), _text_cell(word, font)


@lru_cache(maxsize=1)
def build_atlas() -> Atlas:
    """Draw every sprite (some seconds, once per process); the order is fixed, so an index names a sprite for good.

    Raises InputError when a font is missing; ``Atlas.load`` needs none.
    """
    drawn = [(sprite, cell) for sprite, cell in _candidates() if cell is not None]
    pixels = np.stack([cell for _, cell in drawn])
    pixels.setflags(write=False)
    return Atlas(pixels=pixels, sprites=tuple(sprite for sprite, _ in drawn))
