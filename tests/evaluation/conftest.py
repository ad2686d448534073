"""Toy stacks with known answers, and held-out scenes drawn once. Run: pytest tests/evaluation"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from acetate.datasets.sprites import Atlas, build_atlas
from acetate.evaluation.scenes import EvaluationScene, evaluation_scenes

Draw = Callable[..., np.ndarray]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return build_atlas()


@pytest.fixture(scope="session")
def scenes(atlas: Atlas) -> list[EvaluationScene]:
    """Four scenes at 64 pixels, of sprites that training never saw."""
    return evaluation_scenes(4, size=64, atlas=atlas)


@pytest.fixture
def square() -> Draw:
    """A layer of 64 x 64 pixels with one opaque square from ``first`` to ``last``, both inside."""

    def draw(first: int, last: int, colour: tuple[int, int, int], alpha: int = 255) -> np.ndarray:
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[first : last + 1, first : last + 1] = (*colour, alpha)
        return pixels

    return draw


@pytest.fixture
def stack(square: Draw) -> list[np.ndarray]:
    """Background, red, green and blue, each square over a part of the one below."""
    return [
        square(0, 63, (200, 200, 180)),
        square(5, 40, (255, 0, 0)),
        square(20, 55, (0, 255, 0)),
        square(30, 60, (0, 0, 255)),
    ]
