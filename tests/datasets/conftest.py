"""The sprite atlas, drawn once: procedural scenes need the Noto Color Emoji font (.ci/run installs it)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # import-mode=importlib: lets the tests share paintings.py

from acetate.datasets.sprites import Atlas, build_atlas


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return build_atlas()
