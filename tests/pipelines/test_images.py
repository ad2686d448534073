"""Reading images, sizes, boxes, noise and prompts: the parts that need no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acetate.errors import InputError
from acetate.pipelines.images import fit_to, read_images, to_pixels, to_tensor
from acetate.pipelines.noise import draw_noise, noise_sources
from acetate.pipelines.outputs import layer_name
from acetate.pipelines.revise import mix, token_mask
from acetate.pipelines.sizes import bucket_size, check_boxes, token_box, working_size


def test_pixels_and_tensors_are_inverse() -> None:
    pixels = np.random.default_rng(0).random((5, 7, 4), np.float32)
    tensor = to_tensor(pixels)
    assert tensor.shape == (4, 5, 7)
    np.testing.assert_allclose(to_pixels(tensor), pixels, atol=1e-6)
    assert float(to_tensor(np.ones((1, 1, 4), np.float32)).max()) == 1.0


def test_resizing_is_premultiplied() -> None:
    pixels = np.zeros((8, 8, 4), np.float32)
    pixels[:, :4] = (1, 0, 0, 1)  # opaque red
    pixels[:, 4:] = (0, 1, 0, 0)  # green that nobody can see
    small = fit_to(pixels, 3, 3)
    seen = small[..., 3] > 0.01
    np.testing.assert_allclose(small[seen][:, :3], np.tile([1.0, 0.0, 0.0], (seen.sum(), 1)), atol=1e-5)
    assert not small[~seen][:, :3].any() or small[~seen][:, 1].max() == 0
    assert not fit_to(pixels, 8, 8)[:, 4:].any()


def test_resizing_keeps_constants_and_limits() -> None:
    flat = np.full((9, 5, 4), 0.3, np.float32)
    np.testing.assert_allclose(fit_to(flat, 32, 16), np.full((16, 32, 4), 0.3), atol=1e-5)
    hard = np.zeros((16, 16, 4), np.float32)
    hard[..., 3] = 1
    hard[8:] = 1
    assert fit_to(hard, 40, 40).min() >= 0 and fit_to(hard, 40, 40).max() <= 1


def test_forms_of_the_same_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    expected = np.dstack([pixels / 255, np.ones((6, 4, 1))]).astype(np.float32)
    tensor = torch.from_numpy(pixels).movedim(-1, 0)
    forms: list[Any] = [
        pixels,
        Image.fromarray(pixels),
        path,
        str(path),
        path.read_bytes(),
        tensor,
        tensor.float() / 255,
    ]
    forms.append(tensor.to(torch.float64) / 255)
    for form in forms:
        (actual,) = read_images(form)
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert len(read_images([forms[0], forms[1], np.stack([pixels] * 3)])) == 5
    grey = read_images(pixels[..., 0])[0]
    np.testing.assert_allclose(grey[..., 2], pixels[..., 0] / 255, atol=1e-6)
    assert read_images(pixels[..., :2])[0][..., 3].max() == pixels[..., 1].max() / np.float32(255)
    assert read_images(np.ones((2, 2), bool))[0].min() == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 5)), "1 to 4 channels"),
        (np.zeros((0, 4, 3)), "shape"),
        (np.zeros(3), "shape"),
        (np.full((2, 2, 3), 200.0), "0..255"),
        (np.full((2, 2, 3), np.nan), "0..255"),
        (np.zeros((2, 2, 3), np.int64), "int64"),
        (42, "int"),
        ([], "empty"),
        ("/nowhere/picture.png", "picture.png"),
    ],
)
def test_what_is_no_image_is_named(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_images(image)


def test_extreme_aspects_stay_within_the_area() -> None:
    for width, height in [(1, 100000), (100000, 1), (7, 5000)]:
        wide, tall = bucket_size(width, height, 640)
        assert wide % 32 == 0 and tall % 32 == 0 and min(wide, tall) >= 32
        assert 0.9 * 640**2 <= wide * tall <= 1.1 * 640**2


def test_explicit_working_sizes() -> None:
    rule = {"resolution": 640, "multiple": 32, "cell": 16}
    assert working_size(200, 100, **rule, wanted_width=160, wanted_height=48) == (160, 48)
    assert working_size(200, 100, **rule, wanted_width=160) == (160, 80)
    assert working_size(1, 1000, **rule, wanted_height=160) == (16, 160)


def test_boxes() -> None:
    assert check_boxes(None, 3, 10, 10) is None
    assert check_boxes([None, None], 3, 10, 10) is None
    assert check_boxes([None, [0, 0, 4, 10]], 3, 10, 10) == (None, (0, 0, 4, 10), None)
    assert token_box((15, 16, 17, 33), 16) == (0, 1, 2, 3)


def test_noise_is_the_published_draw_with_the_composite_first() -> None:
    (source,) = noise_sources(5, None, 1, 1)
    noise = draw_noise(source, (3, 16, 4, 6))
    expected = torch.randn(1, 3, 16, 4, 6, generator=torch.Generator().manual_seed(5))[0]
    assert torch.equal(noise, expected)


def test_seeds_and_generators() -> None:
    assert [source.seed for source in noise_sources(3, None, 2, 2)] == [3, 4, 3, 4]
    assert [source.seed for source in noise_sources([1, 9], None, 2, 2)] == [1, 2, 9, 10]
    assert [source.seed for source in noise_sources([1, 2, 3, 4], None, 2, 2)] == [1, 2, 3, 4]
    assert noise_sources(np.int64(3), None, 1, 1)[0].seed == 3
    generator = torch.Generator().manual_seed(0)
    shared = noise_sources(None, generator, 2, 1)
    first, second = (draw_noise(source, (1, 2, 3, 4)) for source in shared)
    assert not torch.equal(first, second) and shared[0].seed is None
    drawn = noise_sources(None, None, 2, 1)
    assert drawn[0].seed == drawn[1].seed
    for bad in ("1", 1.5, True):
        with pytest.raises(InputError, match="seed"):
            noise_sources(bad, None, 1, 1)
    with pytest.raises(InputError, match="layer seeds"):
        draw_noise(shared[0], (3, 1, 2, 2), [1])


def test_layer_names() -> None:
    assert [layer_name(n, None) for n in range(3)] == ["Background", "Layer 1", "Layer 2"]
    assert layer_name(1, " a\n cat ") == "a cat"
    assert len(layer_name(1, "x" * 999)) == 255


def test_masks_on_the_token_grid() -> None:
    mask = np.zeros((32, 48), np.float32)
    mask[17, 40] = 1
    assert token_mask(mask, 2, 3).tolist() == [0, 0, 0, 0, 0, 1]
    assert token_mask(np.ones((1, 1), np.float32), 2, 2).tolist() == [1] * 4
    given, noise = torch.zeros(1), torch.ones(1)
    assert mix(given, noise, 0.25).item() == 0.25
