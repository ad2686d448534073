"""Times saving a large PSD against a plain RLE encode of the same pixels by psd-tools, side by side in one
run.

    python scripts/benchmark_psd.py                     # 4096 x 4096, 20 layers: issue 2, acceptance 4
    python scripts/benchmark_psd.py --crop              # layers cut to what is visible before either side
    sees them python scripts/benchmark_psd.py --size 1024 --layers 5

Each side runs in a fresh process that first builds the same layers: an opaque ground and discs with soft
edges, both with fine noise as in photographs, every layer as large as the canvas unless cut. "plain" is what
psd-tools does by itself: ``create_pixel_layer`` with RLE, then ``save``, no merged image drawn. "acetate" is
``save_document``: cropping, provenance, our merged image, fsync. Knows nothing of what the file holds; the
tests do.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RATIO_LIMIT = 3.0
PEAK_LIMIT_GIB = 2.5
SIDES = ("plain", "acetate")


def make_layers(size: int, count: int) -> list[np.ndarray]:
    """``count`` canvases of size x size x 4 uint8: one opaque, the others discs of 0.15 to 0.25 of the
    size.
    """
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 8, (size, size), np.uint8)
    ramp = np.linspace(0, 240, size, dtype=np.float32)
    layers = []
    for index in range(count):
        pixels = np.zeros((size, size, 4), np.uint8)
        x, y = rng.uniform(0.2, 0.8, 2) * size
        radius = rng.uniform(0.15, 0.25) * size
        box = (0, 0, size, size) if index == 0 else (x - radius, y - radius, x + radius, y + radius)
        x0, y0, x1, y1 = (int(min(max(edge, 0), size)) for edge in box)
        part = pixels[y0:y1, x0:x1]
        for channel in range(3):
            shade = (
                ramp[x0:x1] if channel == index % 3 else np.full(x1 - x0, rng.uniform(20, 220), np.float32)
            )
            part[..., channel] = shade.astype(np.uint8) + noise[y0:y1, x0:x1]
        if index == 0:
            part[..., 3] = 255
        else:
            rows, columns = np.ogrid[y0:y1, x0:x1]
            reach = np.sqrt((columns - x) ** 2 + (rows - y) ** 2, dtype=np.float32)
            part[..., 3] = np.clip((radius - reach) * 40, 0, 255).astype(np.uint8)
            part[part[..., 3] == 0] = 0
        layers.append(pixels)
    return layers


Placed = tuple[np.ndarray, int, int]
"""Pixels and where their top left corner lies (x, y)."""


def placed(pixels: np.ndarray, crop: bool) -> Placed:
    """A layer whole, or cut to the box of its visible pixels."""
    if not crop:
        return pixels, 0, 0
    seen = pixels[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    x0, y0 = int(columns[0]), int(rows[0])
    return pixels[y0 : int(rows[-1]) + 1, x0 : int(columns[-1]) + 1].copy(), x0, y0


def write_plain(layers: list[Placed], size: int, path: Path) -> None:
    """psd-tools alone: every layer RLE, the document's initial flat image left as it is."""
    from PIL import Image
    from psd_tools import PSDImage
    from psd_tools.constants import Compression

    psd = PSDImage.new("RGBA", (size, size))
    for index, (pixels, x, y) in enumerate(layers):
        psd.create_pixel_layer(Image.fromarray(pixels), f"layer {index}", y, x, Compression.RLE)
    psd._updated = False  # otherwise saving would draw a preview in float32, which takes ten times as long
    psd.save(path)


def measure(side: str, size: int, count: int, crop: bool, path: Path) -> None:
    """Build the layers, write them as ``side`` does, and print seconds and peak memory as JSON."""
    layers = [placed(pixels, crop) for pixels in make_layers(size, count)]
    if side == "acetate":
        from acetate.layers import Layer, LayeredImage
        from acetate.layers.io import save_document
        from acetate.layers.io.psd_write import write_psd  # imports are not what is timed

        assert write_psd
        nodes = tuple(Layer(pixels=p, name=f"layer {k}", offset=(x, y)) for k, (p, x, y) in enumerate(layers))
        doc = LayeredImage(width=size, height=size, layers=nodes)
        start = time.perf_counter()
        save_document(doc, path)
    else:
        import psd_tools  # noqa: F401

        start = time.perf_counter()
        write_plain(layers, size, path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "peak_gib": peak, "bytes": path.stat().st_size}))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096, help="side of the square canvas in pixels")
    parser.add_argument("--layers", type=int, default=20, help="number of layers")
    parser.add_argument("--crop", action="store_true", help="give both sides layers cut to what is visible")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side; the fastest counts")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure(options.side, options.size, options.layers, options.crop, options.out)
        return 0
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for side in SIDES:
                command = [sys.executable, "-P", __file__, "--side", side, "--out", f"{folder}/{side}.psd"]
                command += ["--size", str(options.size), "--layers", str(options.layers)]
                command += ["--crop"] if options.crop else []
                result = json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout
                )
                if side not in best or result["seconds"] < best[side]["seconds"]:
                    best[side] = result
    for side in SIDES:
        row = best[side]
        print(
            f"{side:8} {row['seconds']:6.2f} s  peak {row['peak_gib']:.2f} GiB  {row['bytes'] / 1e6:.0f} MB"
        )
    ratio, peak = best["acetate"]["seconds"] / best["plain"]["seconds"], best["acetate"]["peak_gib"]
    kept = ratio <= RATIO_LIMIT and peak <= PEAK_LIMIT_GIB
    print(f"ratio {ratio:.2f} (at most {RATIO_LIMIT:g}), peak {peak:.2f} GiB (at most {PEAK_LIMIT_GIB:g})")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
