"""Damage depends on the seed alone, touches colour alone, and one kind does not move another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acetate.datasets.degrade import Degradation, degrade, degrade_batch
from acetate.errors import InputError

EVERY = Degradation(blur_share=1, noise_share=1, jpeg_share=1)


@pytest.fixture
def picture() -> np.ndarray:
    y, x = np.mgrid[0:40, 0:48]
    return np.stack([5 * x, 6 * y, 200 * (x % 16 > 8), np.where(x > 20, 255, 90)], -1).astype(np.uint8)


def test_the_same_seed_does_the_same_damage(picture: np.ndarray) -> None:
    assert np.array_equal(degrade(picture, EVERY, [3, 1]), degrade(picture, EVERY, [3, 1]))
    assert not np.array_equal(degrade(picture, EVERY, [3, 1]), degrade(picture, EVERY, [3, 2]))


@pytest.mark.parametrize("share", ["blur_share", "noise_share", "jpeg_share"])
def test_each_kind_changes_colour_a_little_and_alpha_not(picture: np.ndarray, share: str) -> None:
    damaged = degrade(picture, Degradation(**{share: 1.0}), [5])
    assert np.array_equal(damaged[..., 3], picture[..., 3])
    difference = np.abs(damaged[..., :3].astype(int) - picture[..., :3])
    assert 0 < difference.mean() < 6
    assert np.array_equal(degrade(picture[..., :3], Degradation(**{share: 1.0}), [5]), damaged[..., :3])


def test_quality_is_obeyed(picture: np.ndarray) -> None:
    good, bad = (Degradation(jpeg_share=1, quality=(q, q)) for q in (95, 20))
    error = [
        np.abs(degrade(picture, s, [1])[..., :3].astype(int) - picture[..., :3]).mean() for s in (good, bad)
    ]
    assert error[0] < error[1]


def test_no_share_leaves_the_picture(picture: np.ndarray) -> None:
    assert np.array_equal(degrade(picture, Degradation(), [1]), picture)
    batch = torch.rand(2, 4, 8, 8)
    assert degrade_batch(batch, Degradation(), 1) is batch


def test_a_batch_is_its_pictures(picture: np.ndarray) -> None:
    batch = torch.from_numpy(np.stack([picture, picture[::-1]])).movedim(-1, 1).float() / 255
    damaged = degrade_batch(batch, EVERY, 9, first=4)
    for k, source in enumerate((picture, picture[::-1])):
        np.testing.assert_array_equal(
            (damaged[k].movedim(0, -1).numpy() * 255).round(), degrade(source, EVERY, [9, 4 + k])
        )


def test_bad_settings_and_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="jpeg_share"):
        Degradation(jpeg_share=2)
    with pytest.raises(InputError, match="quality"):
        Degradation(quality=(90, 50))
    with pytest.raises(InputError, match="blur must be two rising numbers"):
        Degradation(blur=(2, 1))
    with pytest.raises(InputError, match="uint8"):
        degrade(np.zeros((4, 4, 3), np.float32), EVERY, [1])
