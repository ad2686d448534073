"""Objects stay whole: torn ones are put together, each on a layer of its own; what is fine or hopeless stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from acetate.layers.document import Layer, LayeredImage
from acetate.layers.inpaint import fill_smoothly
from acetate.layers.whole import keep_whole, whole_layers

SIDE = 96


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.clip(radius + 0.5 - np.hypot(rows - y, columns - x), 0, 1).astype(np.float32)


def wall() -> np.ndarray:
    """A soft gradient, (H, W, 3)."""
    along = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    return np.broadcast_to((1 - along) * (0.3, 0.6, 0.9) + along * (0.2, 0.3, 0.7), (SIDE, SIDE, 3)).astype(
        np.float32
    )


def layer(colour: tuple[float, float, float], alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([np.broadcast_to(colour, (*alpha.shape, 3)), alpha[..., None]], -1).astype(
        np.float32
    )


def over(stack: list[np.ndarray]) -> np.ndarray:
    out = stack[0][..., :3]
    for one in stack[1:]:
        out = out * (1 - one[..., 3:]) + one[..., :3] * one[..., 3:]
    return out


RED, GREEN = (0.9, 0.2, 0.1), (0.1, 0.8, 0.3)


@pytest.fixture
def truth() -> list[np.ndarray]:
    return [
        layer((0, 0, 0), np.ones((SIDE, SIDE))),
        layer(RED, disc(26, 30, 14)),
        layer(GREEN, disc(68, 66, 16)),
    ]


@pytest.fixture
def torn(truth: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(layers, picture): a third of each disc lies on the other's layer, and a corner of the red one in the background."""
    truth[0][..., :3] = wall()
    picture = over(truth)
    layers = np.stack(truth)
    left = np.arange(SIDE) < 20
    swap = np.zeros((SIDE, SIDE), bool)
    swap[:, np.arange(SIDE) > 74] = True
    swap[38:46, :48] = True
    layers[1][swap], layers[2][swap] = truth[2][swap], truth[1][swap]
    layers[1][:, left, 3] = 0
    layers[0][:, left, :3] = picture[:, left]
    return layers, picture


def test_torn_objects_come_back_whole_each_on_a_layer_of_its_own(
    torn: tuple[np.ndarray, np.ndarray], truth: list[np.ndarray]
) -> None:
    layers, picture = torn
    found = whole_layers(layers, picture)
    for index, alpha in ((1, disc(26, 30, 14)), (2, disc(68, 66, 16))):
        shared = np.minimum(found[index, ..., 3], alpha).sum() / np.maximum(found[index, ..., 3], alpha).sum()
        assert shared > 0.93
    assert np.abs(over(list(found)) - picture).max() < 0.04
    inside = disc(26, 30, 14) > 0.9
    assert np.abs(found[0, ..., :3] - wall())[inside].max() < 0.06  # no corner of the disc is left behind
    middle = disc(26, 30, 12) > 0.9
    assert np.abs(found[1][middle, :3] - RED).max() < 0.03


def test_letters_that_lie_close_and_look_alike_are_one_object() -> None:
    alpha = np.zeros((SIDE, SIDE), np.float32)
    for x in (20, 32, 44, 56):
        alpha[30:44, x : x + 8] = 1
    letters, other = layer((1, 1, 1), alpha), layer(RED, disc(48, 76, 9))
    background = np.concatenate([wall(), np.ones((SIDE, SIDE, 1), np.float32)], -1)
    picture = over([background, letters, other])
    torn = np.stack([background, letters, other, np.zeros_like(other)])
    torn[1, :, 50:60, 3], torn[3, 30:44, 56:64] = 0, letters[30:44, 56:64]
    torn[1, :, 56:64, 3] = 0
    found = whole_layers(torn, picture)
    owners = [found[k, ..., 3][alpha > 0.5].mean() for k in (1, 2, 3)]
    assert max(owners) > 0.95 and sorted(owners)[1] < 0.05


def test_an_object_that_the_model_divides_in_two_stays_divided() -> None:
    background = np.concatenate([wall(), np.ones((SIDE, SIDE, 1), np.float32)], -1)
    lower, upper = layer(RED, disc(40, 48, 18)), layer(GREEN, disc(58, 48, 16))
    stack = np.stack([background, lower, upper])
    found = whole_layers(stack, over(list(stack)))
    assert found[2, 48, 66, 3] > 0.95 and found[1, 48, 28, 3] > 0.95 and found[1, 48, 66, 3] < 0.05
    assert found[1, 48, 50, 3] > 0.9  # what the green disc hides is still there
    assert np.abs(found[1, 48, 50, :3] - RED).max() < 0.05


def test_a_pattern_is_not_painted_over() -> None:
    stripes = np.where((np.arange(SIDE) // 6 % 2)[None, :, None], np.float32(0.9), np.float32(0.1))
    background = layer((0, 0, 0), np.ones((SIDE, SIDE)))
    background[..., :3] = stripes
    stack = np.stack([background, layer(RED, disc(48, 48, 16))])
    found = whole_layers(stack, over(list(stack)))
    for one, other in zip(found, stack, strict=True):
        np.testing.assert_allclose(one[..., 3], other[..., 3], atol=0.02)
        np.testing.assert_allclose(one[..., :3] * one[..., 3:], other[..., :3] * other[..., 3:], atol=0.02)


def test_nothing_to_do_means_nothing_done() -> None:
    empty = np.zeros((3, SIDE, SIDE, 4), np.float32)
    assert whole_layers(empty, wall()) is empty
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    document = LayeredImage(width=SIDE, height=SIDE, layers=(Layer(pixels=pixels), Layer(pixels=pixels)))
    assert keep_whole(document, np.full((SIDE, SIDE, 4), 255, np.uint8)) is document
    assert keep_whole(document, pixels) is document  # a transparent picture
    alone = document.with_layers(document.layers[:1])
    assert keep_whole(alone, np.full((SIDE, SIDE, 4), 255, np.uint8)) is alone


def test_documents_keep_their_names_and_order(torn: tuple[np.ndarray, np.ndarray]) -> None:
    layers, picture = torn
    names = ("Background", "one", "two")
    stack = [
        Layer(pixels=np.uint8(pixels * 255 + 0.5), name=n) for pixels, n in zip(layers, names, strict=True)
    ]
    document = LayeredImage(width=SIDE, height=SIDE, layers=tuple(stack))
    opaque = np.concatenate([picture, np.ones((SIDE, SIDE, 1), np.float32)], -1)
    found = keep_whole(document, opaque)
    assert [one.name for one in found.layers] == list(names) and found is not document
    flat = np.asarray(found.flatten().convert("RGB")) / 255
    assert np.abs(flat - picture).max() < 0.04


def test_filling_keeps_what_is_known_and_follows_gradients() -> None:
    known = disc(48, 48, 12) == 0
    filled = fill_smoothly(np.where(known[..., None], wall(), 0), known)
    assert np.array_equal(filled[known], wall()[known])
    assert np.abs(filled - wall()).max() < 0.04
    with pytest.raises(ValueError, match="no pixel is known"):
        fill_smoothly(wall(), np.zeros((SIDE, SIDE), bool))
