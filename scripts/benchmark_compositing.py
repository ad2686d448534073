"""Time and peak memory of compositing, upsampling and recomposition; each case runs in a process of its own.

    python scripts/benchmark_compositing.py                   # every case
    python scripts/benchmark_compositing.py flatten --side 4096 --layers 20

``flatten``: one opaque layer and discs of radius 0.15 to 0.25 of the side, cropped, 8 bit, on a square canvas.
``native``: layers of a 640 pixel model brought to a picture of 4000x3000 (and 1500x1000), then recomposed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from acetate.layers import Layer, LayeredImage, recompose, upsample_layers
from acetate.layers.composite import composite, flatten_array
from acetate.layers.resample import resize


def disc(rng: np.random.Generator, side: int) -> Layer:
    """A disc with a one pixel soft edge and a texture, cropped to its box, somewhere on the canvas."""
    radius = float(rng.uniform(0.15, 0.25)) * side
    size = int(2 * radius)
    pixels = np.empty((size, size, 4), np.uint8)
    axis = np.arange(size, dtype=np.float32) - size / 2
    for row in range(size):
        distance = np.hypot(axis, axis[row])
        pixels[row, :, 3] = np.clip((radius - distance) * 255, 0, 255)
        pixels[row, :, :3] = rng.integers(0, 256, 3)
    x, y = (int(value) for value in rng.uniform(0, side - size, 2))
    return Layer(pixels=pixels, offset=(x, y), name="disc")


def stack(side: int, layers: int) -> LayeredImage:
    rng = np.random.default_rng(0)
    plate = np.full((side, side, 4), 255, np.uint8)
    plate[..., :3] = np.arange(side, dtype=np.uint32)[:, None, None] % 251
    nodes = (Layer(pixels=plate, name="plate"), *(disc(rng, side) for _ in range(layers - 1)))
    return LayeredImage(width=side, height=side, layers=nodes)


def report(what: str, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:<44} {seconds:7.2f} s   peak {peak:5.2f} GiB", flush=True)


def flatten_case(side: int, layers: int) -> None:
    doc = stack(side, layers)
    report(f"{side}x{side} x {layers}: building the layers", 0)
    start = time.perf_counter()
    flatten_array(doc)
    report(f"{side}x{side} x {layers}: flatten to 8 bit", time.perf_counter() - start)
    start = time.perf_counter()
    composite(doc)
    report(f"{side}x{side} x {layers}: composite to float32", time.perf_counter() - start)


def native_case(width: int, height: int, layers: int) -> None:
    full = stack(max(width, height), layers).replace(width=width, height=height)
    picture = flatten_array(full)
    picture[..., 0] ^= 1  # as a model's layers, none of these is exactly right
    model = (640, round(640 * height / width))
    small = []
    for leaf in full.leaves():
        canvas = np.zeros((height, width, 4), np.uint8)
        x, y = leaf.offset
        seen = leaf.pixels[: max(0, height - y), : max(0, width - x)]
        canvas[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        small.append(Layer(pixels=resize(canvas, model), name=leaf.name))
    del full, canvas, seen
    doc = LayeredImage(width=model[0], height=model[1], layers=tuple(small))
    report(f"{width}x{height} x {layers}: building the layers", 0)
    start = time.perf_counter()
    large = upsample_layers(doc, picture)
    report(f"{width}x{height} x {layers}: upsample", time.perf_counter() - start)
    start = time.perf_counter()
    _, result = recompose(large, picture)
    report(f"{width}x{height} x {layers}: recompose", time.perf_counter() - start)
    print(f"    error before: mean {result.error_before_mean:.3f} max {result.error_before_max:.0f} levels, "
          f"after: max {result.error_after_max:.0f}, forced pixels {result.forced_pixels}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", nargs="?", choices=["all", "flatten", "native"], default="all")
    parser.add_argument("--side", type=int, default=8192, help="side of the canvas of the flatten case")
    parser.add_argument("--width", type=int, default=4000, help="width of the picture of the native case")
    parser.add_argument("--height", type=int, default=3000, help="height of that picture")
    parser.add_argument("--layers", type=int, default=0, help="number of layers (flatten 20, native 4)")
    options = parser.parse_args()
    if options.case == "flatten":
        flatten_case(options.side, options.layers or 20)
    elif options.case == "native":
        native_case(options.width, options.height, options.layers or 4)
    else:
        for arguments in (["flatten"], ["native"], ["native", "--width", "1500", "--height", "1000"]):
            done = subprocess.run([sys.executable, "-P", __file__, *arguments])
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
