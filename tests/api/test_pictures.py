"""Every kind of picture comes back from its saved PSD within 1/255, as two foreign programs read it (acceptance 2)."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import acetate
from acetate.layers.io.picture import read_picture
from acetate.layers.io.png import encode_png

IMAGEMAGICK = shutil.which("magick") or shutil.which("convert-im6.q16")


def scene(height: int, width: int) -> np.ndarray:
    """A smooth RGB picture with noise, uint8."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 37), np.cos(y / 53), np.sin((x + y) / 71)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return np.clip(128 + 100 * waves + noise, 0, 255).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def transparent() -> bytes:
    alpha = np.clip(np.mgrid[:60, :80][1] * 4 - 20, 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(np.dstack([scene(60, 80), alpha])), "PNG")


def deep() -> bytes:
    colour = np.random.default_rng(1).integers(0, 65536, (45, 35, 3))
    return encode_png(np.dstack([colour, np.full((45, 35), 65535)]).astype(np.uint16))


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(scene(60, 80)), "JPEG", exif=exif, quality=92)


PICTURES = {
    "transparent": transparent,
    "1x1": lambda: encoded(Image.fromarray(scene(1, 1)), "PNG"),
    "grey": lambda: encoded(Image.fromarray(scene(60, 80)[..., 0]), "PNG"),
    "16 bit": deep,
    "cmyk": lambda: encoded(Image.fromarray(scene(60, 80)).convert("CMYK"), "JPEG", quality=90),
    "exif": turned,
    "4000x3000": lambda: encoded(Image.fromarray(scene(3000, 4000)), "JPEG", quality=92),
}


def psd_tools_flatten(path: Path) -> np.ndarray:
    """The layers as psd-tools composites them: float32 H x W x 4."""
    from psd_tools import PSDImage
    from psd_tools.composite import composite

    colour, _, alpha = composite(PSDImage.open(path), color=0.0, alpha=0.0)
    return np.dstack([colour, alpha])


def imagemagick_flatten(path: Path, layers: int, width: int, height: int) -> np.ndarray:
    """The layers as ImageMagick composites them at 16 bits: float32 H x W x 4."""
    stack = [f"{path}[{index + 1}]" for index in range(layers)]
    out = path.with_suffix(".im.png")
    canvas = ["-size", f"{width}x{height}", "xc:none"]
    command = [
        str(IMAGEMAGICK),
        *canvas,
        *stack,
        "-background",
        "none",
        "-flatten",
        "-depth",
        "16",
        f"PNG64:{out}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return read_picture(out).pixels / np.float32(65535)


def largest_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """In 1/255; colour counts where the picture is visible."""
    assert got.shape == wanted.shape
    visible = wanted[..., 3] > 0
    alpha = np.abs(got[..., 3] - wanted[..., 3]).max()
    return 255 * float(max(alpha, np.abs(got[..., :3] - wanted[..., :3])[visible].max()))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind == "4000x3000" else kind for kind in PICTURES]
)
def test_the_saved_psd_flattens_to_the_picture(kind: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    picture = read_picture(PICTURES[kind]())
    wanted = picture.pixels / np.float32(np.iinfo(picture.pixels.dtype).max)
    document = acetate.decompose(picture, 3, model=str(tiny_checkpoint))
    path = document.save(tmp_path / "result.psd")
    assert len(document.leaves()) == 3
    assert largest_error(psd_tools_flatten(path), wanted) <= 1


@pytest.mark.external
@pytest.mark.skipif(IMAGEMAGICK is None, reason="ImageMagick is not installed")
@pytest.mark.parametrize("kind", [kind for kind in PICTURES if kind != "4000x3000"])
def test_imagemagick_agrees(kind: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    picture = read_picture(PICTURES[kind]())
    wanted = picture.pixels / np.float32(np.iinfo(picture.pixels.dtype).max)
    document = acetate.decompose(picture, 3, model=str(tiny_checkpoint))
    path = document.save(tmp_path / "result.psd")
    flat = imagemagick_flatten(path, 3, picture.width, picture.height)
    assert largest_error(flat, wanted) <= 1
