"""Layers brought to the picture's size: edges follow the picture, colours come from it, structure stays."""

from __future__ import annotations

import numpy as np
import pytest
from layer_scenes import random_pixels, rich_document

from acetate.layers import Group, Layer, LayeredImage, Mask, Provenance, recompose, upsample_layers
from acetate.layers.composite import flatten_array
from acetate.layers.resample import resize


def scene(width: int, height: int) -> LayeredImage:
    """A textured plate and a disc, at full size."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    plate = np.stack([0.3 + 0.1 * np.sin(x / 7), 0.4 + 0.1 * np.cos(y / 5), 0 * x + 0.6, 0 * x + 1], axis=2)
    radius = min(width, height) / 4
    alpha = np.clip(radius + 0.5 - np.hypot(x - width / 2, y - height / 2), 0, 1)
    disc = np.stack([0 * x + 0.9, 0.7 + 0.1 * np.sin(x / 9), 0 * x + 0.2, alpha], axis=2)
    layers = [
        Layer(pixels=(p * 255 + 0.5).astype(np.uint8), name=n) for p, n in ((plate, "plate"), (disc, "disc"))
    ]
    return LayeredImage(width=width, height=height, layers=tuple(layers))


def shrunk(doc: LayeredImage, width: int, height: int) -> LayeredImage:
    layers = tuple(leaf.replace(pixels=resize(leaf.pixels, (width, height))) for leaf in doc.leaves())
    return LayeredImage(width=width, height=height, layers=layers)


def canvas(doc: LayeredImage, name: str) -> np.ndarray:
    leaf = doc.find(name)
    whole = np.zeros((doc.height, doc.width, 4), np.uint8)
    x0, y0, x1, y1 = leaf.box
    whole[y0:y1, x0:x1] = leaf.pixels
    return whole


def test_edges_and_colours_come_from_the_picture() -> None:
    full = scene(240, 200)
    picture = flatten_array(full)
    small = shrunk(full, 60, 50)
    large = upsample_layers(small, picture)
    assert (large.width, large.height) == (240, 200)
    true, ours = canvas(full, "disc")[..., 3].astype(int), canvas(large, "disc")[..., 3].astype(int)
    plain = resize(small.find("disc").pixels, (240, 200))[..., 3].astype(int)
    assert np.abs(ours - true).mean() < 0.25 * np.abs(plain - true).mean()
    inside = true == 255
    assert (ours[inside] == 255).mean() > 0.99 and (ours[true == 0] == 0).mean() > 0.99
    color = np.abs(canvas(large, "disc")[..., :3].astype(int) - picture[..., :3])[inside & (ours == 255)]
    assert np.median(color) == 0
    result, report = recompose(large, picture)
    assert report.error_after_max <= 1
    hidden = np.abs(canvas(result, "plate").astype(int) - canvas(full, "plate"))[inside]
    assert hidden.mean() < 6, "what the disc hides is the enlarged plate, not the disc"


def test_strips_make_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    full = scene(90, 120)
    small, picture = shrunk(full, 33, 41), flatten_array(full)
    whole = upsample_layers(small, picture)
    monkeypatch.setattr("acetate.layers.upsample.STRIP", 7)
    strips = upsample_layers(small, picture)
    for a, b in zip(whole.leaves(), strips.leaves(), strict=True):
        assert a.box == b.box
        np.testing.assert_array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 90), (60, 50), (61, 50), (333, 55)])
def test_every_size_recomposes(size: tuple[int, int]) -> None:
    small = shrunk(scene(240, 200), 60, 50)
    rng = np.random.default_rng(0)
    for picture in (random_pixels(rng, *size), random_pixels(rng, *size, depth=16)):
        doc = small if picture.dtype == np.uint8 else small.replace(depth=16)
        large = upsample_layers(doc, picture)
        assert (large.width, large.height) == size
        result, report = recompose(large, picture)
        assert report.error_after_max <= 1 and flatten_array(result).shape == picture.shape
        np.testing.assert_array_equal(flatten_array(result)[..., 3], picture[..., 3])


def test_own_size_is_the_same_document() -> None:
    doc = scene(30, 20)
    assert upsample_layers(doc, doc.flatten()) is doc


def test_boxes_masks_groups_and_names_scale_along() -> None:
    doc = rich_document(3, size=24)
    layer = doc.leaves()[0].replace(provenance=Provenance(box=(1, 2, 3, 4)))
    doc = doc.with_layers((layer, *doc.layers[1:]))
    for factor in (3, 0.5):
        size = int(24 * factor)
        large = upsample_layers(doc, random_pixels(np.random.default_rng(1), size, size))
        pairs = list(zip(doc.walk(), large.walk(), strict=True))
        for (path, old), (path2, new) in pairs:
            assert path == path2 and (old.name, old.id, old.opacity, old.blend) == (
                new.name,
                new.id,
                new.opacity,
                new.blend,
            )
            if isinstance(old, Group) or old.mask is not None:
                assert (old.mask is None) == (new.mask is None)
            if isinstance(old, Layer):
                assert all(
                    abs(n - o * factor) <= 2 * factor + 3 for n, o in zip(new.box, old.box, strict=True)
                )
    assert upsample_layers(doc, np.zeros((72, 48, 4), np.uint8)).leaves()[0].provenance.box == (2, 6, 6, 12)


def test_half_transparent_layers_keep_their_alpha() -> None:
    pixels = np.full((20, 30, 4), (10, 20, 200, 128), np.uint8)
    mask = Mask(pixels=np.full((20, 30), 255, np.uint8))
    doc = LayeredImage(
        width=30, height=20, layers=(Layer(pixels=pixels, name="a"), Layer(pixels=pixels, mask=mask))
    )
    large = upsample_layers(doc, random_pixels(np.random.default_rng(2), 91, 64))
    for leaf in large.leaves():
        assert (leaf.pixels[..., 3] == 128).all()
        np.testing.assert_allclose(leaf.pixels[..., :3], np.broadcast_to((10, 20, 200), (64, 91, 3)), atol=1)
