"""The pictures of the documentation can be taken at any time, and show what they are said to show."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import picture_studio

pytestmark = [pytest.mark.ui, pytest.mark.slow]

SHOWN = {
    "dark": ".tree .row.selected",
    "light": ".split",
    "generating": ".live-row figure >> nth=3",
    "regions": ".overlay .region >> nth=1",
    "many": ".tree .row.selected >> nth=2",
    "empty": ".examples img >> nth=2",
}


@pytest.mark.parametrize("name", sorted(picture_studio.PICTURES))
def test_a_picture_of_the_studio(visitor: Callable[..., Any], tmp_path: Path, name: str) -> None:
    scheme, width, draw = picture_studio.PICTURES[name]
    page = visitor(width=width, scheme=scheme)
    draw(page)
    assert page.locator(SHOWN[name]).is_visible()
    with Image.open(picture_studio.save(picture_studio.taken(page), tmp_path / "picture.png")) as picture:
        pixels = np.asarray(picture.convert("L"), float)
    assert pixels.shape[1] == width
    stage = pixels[60:-60, 320 : width - 320]
    assert stage.std() > 2 and len(np.unique(stage)) > 16


def test_a_run_that_ended_too_soon_is_no_picture(visitor: Callable[..., Any], tmp_path: Path) -> None:
    page = visitor()
    assert len(picture_studio.taken(page)) > 1000  # nothing runs: nothing to miss
    page.evaluate("acetate.job = {}; setTimeout(() => { acetate.job = null; }, 100)")
    with pytest.raises(RuntimeError, match="ended before"):
        picture_studio.taken(page)
    with pytest.raises(RuntimeError, match="more than"):
        noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
        data = io.BytesIO()
        Image.fromarray(noise).save(data, "PNG")
        picture_studio.save(data.getvalue(), tmp_path / "noise.png")
