"""Exact recomposition: the bound at every pixel, on saved values; nothing changes that need not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_scenes import LAYER_MODES, random_layer, random_pixels, rich_document
from PIL import Image

from acetate.errors import InputError
from acetate.layers import (
    BlendMode,
    Group,
    Layer,
    LayeredImage,
    Mask,
    RecomposeReport,
    recompose,
    upsample_layers,
)
from acetate.layers.composite import flatten_array
from acetate.layers.solve import contributions, solve_alpha, solve_colour


def error(doc: LayeredImage, target: np.ndarray) -> int:
    """The largest difference in levels; colour under the target's alpha 0 does not exist."""
    difference = np.abs(flatten_array(doc).astype(int) - target.astype(int))
    difference[..., :3] *= target[..., 3:] > 0
    return int(difference.max())


def assert_recomposes(doc: LayeredImage, target: np.ndarray) -> tuple[LayeredImage, RecomposeReport]:
    result, report = recompose(doc, target)
    assert error(result, target) <= 1
    unit = 255 / np.iinfo(target.dtype).max
    assert report.error_after_max == pytest.approx(error(result, target) * unit)
    assert report.error_before_max >= report.error_after_max
    again, second = recompose(result, target)
    assert again is result
    assert second.colour_change_share == second.alpha_change_share == 0
    return result, report


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), width=st.integers(1, 9), height=st.integers(1, 9), count=st.integers(1, 6),
    depth=st.sampled_from([8, 8, 16]), opaque=st.booleans(),
)  # fmt: skip
def test_any_normal_stack_any_picture(
    seed: int, width: int, height: int, count: int, depth: int, opaque: bool
) -> None:
    rng = np.random.default_rng(seed)
    layers = tuple(random_layer(rng, 10, depth, name=f"L{index}") for index in range(count))
    target = random_pixels(rng, width, height, depth)
    if opaque:
        target[..., 3] = np.iinfo(target.dtype).max
    doc = LayeredImage(width=width, height=height, layers=layers, depth=depth)  # type: ignore[arg-type]
    result, report = assert_recomposes(doc, target)
    assert report.forced_pixels == 0, "an all-normal stack needs no force"
    assert error(result, target) == 0 or depth == 16
    assert len(result.layers) == count


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), modes=st.booleans(), transparent=st.booleans())
def test_any_document_any_picture(seed: int, modes: bool, transparent: bool) -> None:
    doc = rich_document(seed, LAYER_MODES if modes else None, size=9)
    target = random_pixels(np.random.default_rng(seed), 9, 9)
    if not transparent:
        target[..., 3] = 255
    assert_recomposes(doc, target)


def _scene(rng: np.random.Generator, size: int = 40) -> LayeredImage:
    """A plate, a disc that hides part of it, and a veil of half opacity, as a model might draw them."""
    y, x = np.mgrid[:size, :size]
    plate = np.full((size, size, 4), 255, np.uint8)
    plate[..., :3] = rng.integers(40, 200, (size, size, 3))
    disc = np.zeros((size, size, 4), np.uint8)
    disc[..., :3] = (200, 60, 40)
    disc[..., 3] = np.clip(255 * (size / 4 + 0.5 - np.hypot(x - size / 2, y - size / 2)), 0, 255)
    veil = np.full((size // 2, size, 4), (250, 250, 250, 77), np.uint8)
    layers = (
        Layer(pixels=plate, name="plate"),
        Layer(pixels=disc, name="disc"),
        Layer(pixels=veil, name="veil"),
    )
    return LayeredImage(width=size, height=size, layers=layers)


def test_what_is_right_stays_the_same_object() -> None:
    doc = _scene(np.random.default_rng(0))
    same, report = recompose(doc, doc.flatten())
    assert same is doc
    assert report.error_before_max == 0 and report.psnr_before == float("inf")
    assert json.loads(json.dumps(report.as_dict()))["psnr_after"] is None


def test_only_wrong_pixels_change_and_the_hidden_plate_never() -> None:
    doc = _scene(np.random.default_rng(1))
    target = flatten_array(doc)
    target[18:22, 18:22, 0] = 77  # on the disc
    target[38, 2] = (1, 2, 3, 255)  # on the bare plate
    result, report = assert_recomposes(doc, target)
    assert result.layers[0].id == doc.layers[0].id
    before, after = doc.leaves(), result.leaves()
    changed = [np.argwhere((a.pixels != b.pixels).any(axis=2)) for a, b in zip(before, after, strict=True)]
    assert changed[0].tolist() == [[38, 2]]
    assert np.array_equal(np.unique(changed[1], axis=0), np.argwhere(np.ones((4, 4))).astype(int) + 18)
    assert report.colour_change_share == pytest.approx(17 / 1600)
    assert report.alpha_change_share == 0


def test_changes_follow_contributions_and_are_of_minimum_norm() -> None:
    rng = np.random.default_rng(2)
    alpha = rng.uniform(0.2, 0.8, (4, 200)).astype(np.float32)
    shares, _ = contributions(alpha)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    color = rng.integers(20000, 45000, (4, 3, 200)).astype(np.float32)
    target = np.rint((shares[:, None] * color).sum(axis=0)) + 3000
    fresh = color.copy()
    solve_colour(fresh, shares[:, None], target, np.ones(200, bool), 65535)
    residual = target - (shares[:, None].astype(np.float64) * fresh).sum(axis=0)
    assert np.abs(residual).max() < 0.52
    wanted = 3000 * shares / np.square(shares).sum(axis=0)
    np.testing.assert_allclose((fresh - color).mean(axis=1), wanted, atol=1.5)


def test_bounds_are_respected_and_water_filled() -> None:
    shares = np.array([[0.6], [0.4]], np.float32)
    color = np.array([[[250.0]] * 3, [[100.0]] * 3], np.float32)
    target = np.full((3, 1), 215.0, np.float32)
    solve_colour(color, shares[:, None], target, np.ones(1, bool), 255)
    assert color.max() <= 255
    assert np.abs((shares[:, None] * color).sum(axis=0) - target).max() <= 0.5


def test_opaque_picture_over_a_thin_plate_makes_the_plate_opaque() -> None:
    doc = _scene(np.random.default_rng(3))
    plate = np.array(doc.leaves()[0].pixels)
    plate[..., 3] = 240
    thin = doc.with_layers((doc.layers[0].replace(pixels=plate), *doc.layers[1:]))
    target = flatten_array(doc)
    result, report = assert_recomposes(thin, target)
    shown = flatten_array(thin)[..., 3] < 255
    assert (result.leaves()[0].pixels[..., 3][shown] == 255).all()
    np.testing.assert_array_equal(result.leaves()[1].pixels[..., 3], doc.leaves()[1].pixels[..., 3])
    assert report.alpha_change_max == 15


def test_a_hole_is_filled_by_the_lowest_layer_even_outside_its_box() -> None:
    layer = Layer(pixels=np.full((4, 4, 4), 255, np.uint8), offset=(2, 2), name="small")
    target = np.full((10, 12, 4), (10, 20, 30, 255), np.uint8)
    result, report = assert_recomposes(LayeredImage(width=12, height=10, layers=(layer,)), target)
    assert len(result.layers) == 1 and result.leaves()[0].box == (0, 0, 12, 10)
    assert report.forced_pixels == 0


def test_transparent_picture_thins_all_layers_alike() -> None:
    doc = _scene(np.random.default_rng(4))
    target = flatten_array(doc)
    target[..., 3] = 100
    result, report = assert_recomposes(doc, target)
    assert report.forced_pixels == 0
    target[..., 3] = 0
    empty, _ = assert_recomposes(doc, target)
    assert not flatten_array(empty)[..., 3].any()
    assert error(result, np.where(target[..., 3:] == 0, 0, target)) > 0


def test_alpha_solver_meets_every_goal() -> None:
    rng = np.random.default_rng(5)
    alpha = rng.integers(0, 256, (5, 4000)).astype(np.float32)
    factor = rng.choice([0.5, 1.0], (5, 4000)).astype(np.float32)
    factor[0] = 1
    goal = rng.integers(0, 256, 4000).astype(np.float32)
    fresh, possible = solve_alpha(alpha, factor, np.ones((5, 4000), bool), goal, 255)
    assert possible.all() and fresh.min() >= 0 and fresh.max() <= 255
    total = 1 - np.prod(1 - fresh.astype(np.float64) / 255 * factor, axis=0)
    assert np.abs(total * 255 - goal).max() <= 0.5 + 1e-3


def test_opacities_and_masks_are_taken_as_they_are_saved() -> None:
    rng = np.random.default_rng(6)
    mask = Mask(pixels=rng.random((12, 12)).astype(np.float32))
    layers = (
        Layer(pixels=random_pixels(rng, 12, 12).astype(np.float32) / 255, name="float"),
        random_layer(rng, 12, opacity=0.3, name="third"),
        Group(layers=(random_layer(rng, 12, name="inner"),), opacity=0.41, name="group"),
        Layer(pixels=random_pixels(rng, 12, 12), mask=mask, name="masked"),
    )
    target = random_pixels(rng, 12, 12)
    target[..., 3] = 255
    result, _ = assert_recomposes(LayeredImage(width=12, height=12, layers=layers), target)
    for _, node in result.walk():
        assert node.opacity * 255 == pytest.approx(round(node.opacity * 255), abs=1e-9)
        assert node.mask is None or node.mask.pixels.dtype == np.uint8
    assert all(leaf.pixels.dtype == np.uint8 for leaf in result.leaves())


def test_blend_modes_are_solved_before_anything_is_forced() -> None:
    doc = _scene(np.random.default_rng(7))
    doc = doc.with_layers((*doc.layers[:2], doc.layers[2].replace(blend=BlendMode.MULTIPLY)))
    target = flatten_array(doc).astype(int)
    noise = np.random.default_rng(8).integers(-9, 10, (*target.shape[:2], 3))
    target[..., :3] = np.clip(target[..., :3] + noise, 5, 190)
    result, report = assert_recomposes(doc, target.astype(np.uint8))
    assert report.forced_pixels == 0
    assert [node.name for node in result.layers] == ["plate", "disc", "veil"]


def test_residual_layer_only_where_nothing_else_helps() -> None:
    black = np.zeros((6, 6, 4), np.uint8)
    black[..., 3] = 255
    top = Layer(pixels=black, name="ink", blend=BlendMode.MULTIPLY)
    plate = Layer(pixels=np.full((6, 6, 4), 255, np.uint8), name="plate")
    target = np.zeros((6, 6, 4), np.uint8)
    target[..., 3] = 255
    same, report = recompose(LayeredImage(width=6, height=6, layers=(plate, top)), target)
    assert report.forced_pixels == 0 and len(same.layers) == 2
    hidden = top.replace(name="hidden", visible=False)
    subtract = Layer(
        pixels=np.full((6, 6, 4), (0, 0, 0, 255), np.uint8), name="mix", blend=BlendMode.HARD_MIX
    )
    target[2:4, 3] = (90, 120, 33, 255)
    doc = LayeredImage(width=6, height=6, layers=(plate.replace(pixels=black), subtract, hidden))
    result, report = assert_recomposes(doc, target)
    assert report.forced_pixels == 2
    assert result.layers[-1].name == "Residual" and result.layers[-1].box == (3, 2, 4, 4)
    assert result.layers[2] is hidden


def test_empty_documents_and_single_pixels() -> None:
    target = np.full((1, 1, 4), (3, 2, 1, 255), np.uint8)
    result, _ = assert_recomposes(LayeredImage(width=1, height=1, layers=()), target)
    assert result.layers[0].name == "Residual"
    assert_recomposes(
        LayeredImage(width=1, height=1, layers=(Layer(pixels=np.zeros((1, 1, 4), np.uint8)),)), target
    )


def test_pictures_of_every_kind() -> None:
    doc = _scene(np.random.default_rng(9), 8)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    for image in (Image.fromarray(grey), grey, np.stack([grey] * 3, axis=2), Image.fromarray(grey).convert("P"),
                  grey.astype(np.uint16) * 257, grey.astype(np.float32) / 255, grey / 255,
                  Image.fromarray(grey.astype(np.int32) * 257), Image.fromarray(grey.astype(np.uint16) * 257)):  # fmt: skip
        result, _ = recompose(doc, image)
        assert error(result, np.dstack([grey] * 3 + [np.full_like(grey, 255)])) <= 1
    with pytest.raises(InputError, match="9x8 pixels, the document 8x8"):
        recompose(doc, Image.new("RGB", (9, 8)))
    with pytest.raises(InputError, match="must be H x W x 4"):
        recompose(doc, np.zeros((8, 8, 2), np.uint8))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(np.full((8, 8), 0.5, np.float32)), "mode F"),
        (Image.fromarray(np.full((8, 8), 70_000, np.int32)), "32-bit grey"),
        (Image.fromarray(np.full((8, 8), -1, np.int32)), "32-bit grey"),
        (np.full((8, 8, 4), np.nan, np.float32), "none be NaN"),
        (np.full((8, 8, 4), np.inf), r"\[0, 1\]"),
        (np.full((8, 8, 4), 255.0), "divide by 255"),
        (np.full((8, 8, 4), -0.1, np.float32), "divide by 255"),
        (np.zeros((8, 8, 4), np.int64), "int64"),
        (np.zeros((8, 8, 4), bool), "bool"),
        (np.zeros((0, 8, 4), np.uint8), "must be H x W x 4"),
    ],
)
def test_what_is_no_picture_is_not_taken_for_another(image: Image.Image | np.ndarray, words: str) -> None:
    doc = _scene(np.random.default_rng(9), 8)
    for use in (recompose, upsample_layers):
        with pytest.raises(InputError, match=words):
            use(doc, image)
