"""`make demo`: take three pictures apart at their own size, generate a fourth from text, and write each as PSD, OpenRaster
and a contact sheet into ``out/``. Prints one line per document; the error is measured on the PSD read back from disk."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

import acetate
from acetate.contact_sheet import contact_sheet
from acetate.layers.io.picture import read_picture

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
OUT = ROOT / "out"
DECOMPOSED = {"poster.png": 4, "stickers.png": 5, "photo.jpg": 4}
SCENE = "a red circle and a yellow star on a blue background"


def main() -> int:
    OUT.mkdir(exist_ok=True)
    began = time.perf_counter()
    for name, layers in DECOMPOSED.items():
        start = time.perf_counter()
        picture = read_picture(PICTURES / name)
        document = acetate.decompose(picture, layers)
        deliver(Path(name).stem, name, document, Image.fromarray(eight_bits(picture.pixels)), start)
    start = time.perf_counter()
    document = acetate.generate(SCENE, 3)
    deliver("generated", f"“{SCENE}”", document, None, start)
    print(
        f"{len(DECOMPOSED) + 1} documents in {time.perf_counter() - began:.1f} s, in {OUT.relative_to(ROOT)}/"
    )
    return 0


def deliver(
    stem: str, title: str, document: acetate.LayeredImage, picture: Image.Image | None, start: float
) -> None:
    """Write one document three ways and print its line. A generated document is compared with itself before saving."""
    psd = document.save(OUT / f"{stem}.psd")
    document.save(OUT / f"{stem}.ora")
    error = largest_difference(acetate.LayeredImage.open(psd).flatten(), picture or document.flatten())
    seconds = time.perf_counter() - start
    size = f"{document.width} x {document.height} px"
    count = f"{len(document.leaves())} layers"
    facts = f"{count}, {size}, {seconds:.1f} s, recomposition error {error}/255"
    contact_sheet(document, picture, title=title, facts=facts).save(OUT / f"{stem}_sheet.png")
    print(f"{stem:<12}{count:>10}  {size:>15}  {seconds:6.1f} s  recomposition error {error}/255", flush=True)


def largest_difference(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of two RGBA pictures in 8-bit levels; colour counts where something is visible."""
    a, b = (np.asarray(image.convert("RGBA")).astype(np.int16) for image in (first, second))
    visible = (a[..., 3] > 0) | (b[..., 3] > 0)
    return int(np.abs(a - b)[visible].max(initial=0))


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
