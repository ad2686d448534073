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
    assert degrade_batch(batch, Degradation(), torch.Generator()) is batch


@pytest.fixture
def batch(picture: np.ndarray) -> torch.Tensor:
    pictures = np.stack([np.roll(picture, 5 * k, 1) for k in range(24)])
    return torch.from_numpy(pictures).movedim(-1, 1).float() / 255


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_batch_depends_on_its_generator_alone(batch: torch.Tensor) -> None:
    first, second, other = (degrade_batch(batch, EVERY, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert first.shape == batch.shape and first.dtype == batch.dtype
    assert torch.equal(first[:, 3], batch[:, 3])
    torch.testing.assert_close((first * 255).round(), first * 255, atol=1e-3, rtol=0)


def test_a_share_picks_its_part_of_a_batch_and_one_kind_does_not_move_another(batch: torch.Tensor) -> None:
    def changed(**shares: float) -> torch.Tensor:
        return (degrade_batch(batch, Degradation(**shares), seeded(7)) - batch).abs().amax((1, 2, 3)) > 1e-3

    some = changed(jpeg_share=0.5)
    assert 4 < some.sum() < 20
    assert torch.equal(changed(jpeg_share=0.5, blur_share=0.5), some | changed(blur_share=0.5))


@pytest.mark.parametrize(
    ("settings", "mean"),
    [
        (Degradation(blur_share=1, blur=(0.8, 0.8)), 2.0),
        (Degradation(jpeg_share=1, quality=(60, 60)), 1.0),
        (Degradation(jpeg_share=1, quality=(90, 90)), 1.0),
    ],
)
def test_a_batch_is_damaged_as_its_pictures_are(
    batch: torch.Tensor, settings: Degradation, mean: float
) -> None:
    damaged = degrade_batch(batch, settings, seeded(1)).movedim(1, -1).numpy() * 255
    for given, ours in zip(batch, damaged, strict=True):
        levels = (given.movedim(0, -1).numpy() * 255).round().astype(np.uint8)
        wanted = degrade(levels, settings, [1]).astype(int)
        assert np.abs(ours - wanted).mean() < mean
        assert np.abs(levels.astype(int) - wanted).mean() > 2 * np.abs(ours - wanted).mean()


def test_noise_has_its_strength(batch: torch.Tensor) -> None:
    grey = torch.full_like(batch, 0.5)
    noisy = degrade_batch(grey, Degradation(noise_share=1, noise=(3, 3)), seeded(2))
    assert abs(float((noisy - grey)[:, :3].std()) * 255 - 3) < 0.1


def test_bad_settings_and_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="jpeg_share"):
        Degradation(jpeg_share=2)
    with pytest.raises(InputError, match="quality"):
        Degradation(quality=(90, 50))
    with pytest.raises(InputError, match="blur must be two rising numbers"):
        Degradation(blur=(2, 1))
    with pytest.raises(InputError, match=r"\(B, 4, H, W\)"):
        degrade_batch(torch.zeros(2, 3, 8, 8), EVERY, torch.Generator())
    with pytest.raises(InputError, match="uint8"):
        degrade(np.zeros((4, 4, 3), np.float32), EVERY, [1])
