"""OpenRaster files of other programs name their colour profile in the PNGs only."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from documents import disc, other_profile, plate
from PIL import Image

from acetate.layers import LayeredImage
from acetate.layers.composite import flatten_array
from acetate.layers.io import open_stream, read_picture
from acetate.layers.io.colour import srgb_profile, to_srgb
from acetate.layers.io.png import encode_png

LOW, HIGH = plate(12, 8), disc(12, 8, (200, 90, 30))
OTHER = other_profile()


def ora(*pictures: bytes, merged: bytes | None = None) -> bytes:
    """An OpenRaster file of layers, bottom to top, called 0, 1, ..."""
    layers = "".join(f'<layer name="{k}" src="data/{k}.png"/>' for k in reversed(range(len(pictures))))
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("mimetype", "image/openraster")
            archive.writestr("stack.xml", f'<image w="12" h="8"><stack>{layers}</stack></image>')
            for number, picture in enumerate(pictures):
                archive.writestr(f"data/{number}.png", picture)
            if merged is not None:
                archive.writestr("mergedimage.png", merged)
        return file.getvalue()


def opened(data: bytes) -> LayeredImage:
    return open_stream(io.BytesIO(data), "a.ora")


def deep(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint16) * 257


def test_the_profile_that_all_layers_share_is_the_documents() -> None:
    data = ora(*(encode_png(pixels, icc=OTHER) for pixels in (LOW, HIGH)))
    doc = opened(data)
    assert doc.icc == OTHER and "dropped" not in doc.metadata
    for layer, pixels in zip(doc.layers, (LOW, HIGH), strict=True):
        assert np.array_equal(layer.pixels, pixels)
    seen, flat = read_picture(data).pixels, flatten_array(doc)
    assert np.array_equal(seen[..., :3], to_srgb(flat[..., :3], OTHER)) and not np.array_equal(seen, flat)


@pytest.mark.parametrize("colours", [3, 4])
def test_16_bits_keep_their_values_with_and_without_alpha(colours: int) -> None:
    pixels = deep(LOW)
    doc = opened(ora(encode_png(pixels[..., :colours], icc=OTHER)))
    assert doc.icc == OTHER and doc.depth == 16 and np.array_equal(doc.leaves()[0].pixels, pixels)


def test_the_merged_picture_speaks_for_layers_that_name_none() -> None:
    bare = encode_png(LOW)
    assert opened(ora(bare)).icc is None
    assert opened(ora(bare, merged=encode_png(LOW, icc=OTHER))).icc == OTHER
    assert opened(ora(encode_png(LOW, icc=srgb_profile()), merged=encode_png(LOW, icc=OTHER))).icc is None


def test_layers_of_different_profiles_become_srgb() -> None:
    doc = opened(ora(encode_png(LOW), encode_png(HIGH, icc=OTHER), encode_png(deep(LOW)[..., :3], icc=OTHER)))
    assert doc.icc is None and "differ" in doc.metadata["dropped"][0]
    low, high, third = (layer.pixels for layer in doc.leaves())
    assert np.array_equal(low, LOW) and np.array_equal(high[..., 3], HIGH[..., 3])
    assert np.array_equal(high[..., :3], to_srgb(HIGH[..., :3], OTHER))
    assert np.array_equal(third[..., :3], to_srgb(deep(LOW)[..., :3], OTHER)) and third.dtype == np.uint16


def test_profiles_that_are_none_and_srgb_of_any_maker_change_nothing() -> None:
    with io.BytesIO() as file:
        Image.fromarray(LOW).save(file, "PNG", icc_profile=b"rubbish")
        rubbish = file.getvalue()
    doc = opened(ora(encode_png(HIGH), encode_png(LOW, icc=srgb_profile()), rubbish))
    assert doc.icc is None and doc.metadata == {}
    assert np.array_equal(doc.leaves()[2].pixels, LOW)
