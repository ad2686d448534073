"""The sprite atlas, drawn once: procedural scenes need the Noto Color Emoji font (.ci/run installs it)."""

from __future__ import annotations

import pytest

from acetate.datasets.sprites import Atlas, build_atlas


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return build_atlas()
