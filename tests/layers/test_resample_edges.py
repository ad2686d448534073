"""Resampling of premultiplied values, padding under transparency, fringes."""

from __future__ import annotations

import numpy as np
import pytest
from layer_scenes import random_pixels

from acetate.errors import InputError
from acetate.layers.edges import decontaminate, defringe, fringe, pad_colours
from acetate.layers.resample import affine, resize, resize_plane, rotate


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (7, 5), (200, 90)])
def test_constants_stay_constant(dtype: type, size: tuple[int, int]) -> None:
    levels = 1 if dtype == np.float32 else np.iinfo(dtype).max
    for alpha in (1.0, 0.4):
        color = (np.array([0.2, 0.6, 1.0, alpha]) * levels).astype(dtype)
        result = resize(np.broadcast_to(color, (31, 47, 4)).copy(), size)
        assert result.shape == (size[1], size[0], 4) and result.dtype == dtype
        np.testing.assert_allclose(
            result, np.broadcast_to(color, result.shape), atol=2e-6 if dtype == np.float32 else 0
        )
        plane = resize_plane(np.full((31, 47), color[1], dtype), size)
        np.testing.assert_allclose(plane, color[1], atol=2e-6 if dtype == np.float32 else 0)


def test_colours_under_transparency_never_bleed() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, :, :3] = (0, 255, 0)
    pixels[10:30, 10:30] = (255, 0, 0, 255)
    for result in (resize(pixels, (13, 17)), resize(pixels, (99, 77)), rotate(pixels, 20)[0]):
        seen = result[..., 3] > 4
        assert (result[seen][:, 0] > 250).all() and (result[seen][:, 1] < 5).all()


def test_shrinking_averages() -> None:
    rng = np.random.default_rng(0)
    pixels = random_pixels(rng, 64, 64)
    small = resize(pixels, (1, 1))[0, 0].astype(float)
    assert abs(small[3] - pixels[..., 3].mean()) < 8


def test_same_size_is_the_same_and_bad_sizes_are_refused() -> None:
    pixels = random_pixels(np.random.default_rng(1), 5, 4)
    np.testing.assert_array_equal(resize(pixels, (5, 4)), pixels)
    with pytest.raises(InputError, match="0x4"):
        resize(pixels, (0, 4))
    with pytest.raises(InputError, match="squeezes"):
        affine(pixels, np.zeros((2, 2)))


def test_turning_back_and_forth_is_close() -> None:
    y, x = np.mgrid[:41, :61].astype(np.float32)
    alpha = np.clip(15 - np.hypot(x - 30, y - 20), 0, 1)
    pixels = np.stack([x / 61, y / 41, np.full_like(x, 0.5), alpha], axis=-1).astype(np.float32)
    turned, shift = rotate(pixels, 30)
    back, shift2 = rotate(turned, -30)
    dy, dx = -round(shift[1] + shift2[1]), -round(shift[0] + shift2[0])
    middle = back[dy : dy + 41, dx : dx + 61]
    assert np.abs(middle[..., 3] - alpha).mean() < 0.01
    inside = np.hypot(x - 30, y - 20) < 12
    assert np.abs(middle[inside] - pixels[inside]).max() < 0.01


def test_pad_colours() -> None:
    pixels = random_pixels(np.random.default_rng(2), 33, 21)
    padded = pad_colours(pixels)
    seen = pixels[..., 3] > 0
    np.testing.assert_array_equal(padded[seen], pixels[seen])
    np.testing.assert_array_equal(padded[..., 3], pixels[..., 3])
    one = np.zeros((37, 50, 4), np.uint16)
    one[11, 3] = (65535, 300, 7, 2)
    assert (pad_colours(one)[..., :3] == (65535, 300, 7)).all()
    nothing = np.zeros((4, 4, 4), np.uint8)
    assert pad_colours(nothing) is nothing or np.array_equal(pad_colours(nothing), nothing)


def _dirty_disc() -> np.ndarray:
    """A red disc whose soft edge still holds a blue background."""
    y, x = np.mgrid[:60, :60]
    alpha = np.clip(20 - np.hypot(x - 30, y - 30), 0, 4) / 4
    color = alpha[..., None] * (1, 0, 0) + (1 - alpha[..., None]) * (0, 0, 1)
    return np.concatenate([color, alpha[..., None]], axis=2).astype(np.float32)


def test_defringe_takes_the_fringe_away() -> None:
    dirty = _dirty_disc()
    clean = defringe(dirty)
    assert fringe(dirty) > 0.2 and fringe(clean) < 1e-6
    np.testing.assert_array_equal(clean[..., 3], dirty[..., 3])
    glass = np.full((9, 9, 4), 0.5, np.float32)
    assert defringe(glass) is glass or np.array_equal(defringe(glass), glass)
    assert fringe(glass) == 0


def test_decontaminate_solves_for_the_foreground() -> None:
    dirty = _dirty_disc()
    background = np.zeros((60, 60, 3), np.float32)
    background[..., 2] = 1
    clean = decontaminate(dirty, background)
    np.testing.assert_allclose(clean[..., :3], np.broadcast_to([1, 0, 0], (60, 60, 3)), atol=1e-5)
