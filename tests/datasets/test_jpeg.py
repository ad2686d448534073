"""JPEG in torch is held against Pillow's, at several qualities and sizes that are no multiples of a block."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from acetate.datasets.jpeg import compress, quantisation
from acetate.datasets.render import Renderer
from acetate.datasets.scenes import SceneSampler
from acetate.datasets.sprites import Atlas

QUALITIES = (10, 30, 50, 75, 84, 92)


def pillow(picture: np.ndarray, quality: int, halved: bool) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=2 if halved else 0)
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


@pytest.fixture(scope="module", params=[(64, 64), (75, 101)])
def pictures(atlas: Atlas, request: pytest.FixtureRequest) -> torch.Tensor:
    scenes = [SceneSampler(atlas).scene(17, index) for index in range(len(QUALITIES))]
    composite = Renderer(atlas).render(scenes, *request.param).composite
    return (composite[:, :3] * 255).round()


@pytest.mark.parametrize("halved", [True, False])
def test_a_batch_is_what_pillow_makes_of_each_picture(pictures: torch.Tensor, halved: bool) -> None:
    ours = compress(pictures, np.array(QUALITIES), halved=halved)
    assert ours.dtype == torch.float32 and ours.shape == pictures.shape
    for picture, result, quality in zip(pictures, ours, QUALITIES, strict=True):
        given = picture.movedim(0, -1).numpy().astype(np.uint8)
        wanted = pillow(given, quality, halved)
        error = np.abs(result.movedim(0, -1).numpy() - wanted)
        assert error.mean() < 0.6, (quality, error.mean())
        assert np.abs(given.astype(int) - wanted).mean() > 2 * error.mean()


def test_the_tables_are_pillows() -> None:
    for quality in (1, 20, 50, 77, 95):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        stored = Image.open(file).quantization
        ours = quantisation(np.array([quality]))[0]
        assert [sorted(stored[k]) for k in (0, 1)] == [sorted(table.astype(int).tolist()) for table in ours]
