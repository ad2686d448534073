"""Makes ``documents`` importable by the tests beside it, and keeps the programs tests start away from the
home folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from documents import nasty

from acetate.layers import LayeredImage


@pytest.fixture(params=[8, 16], ids=["8bit", "16bit"])
def document(request: pytest.FixtureRequest) -> LayeredImage:
    return nasty(request.param)
