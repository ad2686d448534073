"""Small pictures: of a run's layers while it lasts, as long as they cost little, and of files. Knows jobs and steps only."""

from __future__ import annotations

import base64
import functools
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..layers.composite import flatten_array, to_depth
from ..layers.io import open_document
from .jobs import Job

if TYPE_CHECKING:
    from ..pipelines.progress import Progress

PREVIEW_SIDE = 256
PREVIEW_SHARE = 0.25
"""Part of a run's time that previews may take; the first step always has one."""


class Previews:
    """Turns the steps of a run into small pictures of its layers, bottom to top, the first ``layers`` of them."""

    def __init__(self, job: Job, layers: int) -> None:
        self._job = job
        self._layers = layers
        self._spent = 0.0
        self._began = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        first = not self._job.preview
        if progress.preview is None or (not first and self._spent > PREVIEW_SHARE * (now - self._began)):
            return
        self._job.show([data_url(progress.preview(frame)[0]) for frame in range(1, self._layers + 1)])
        self._spent += time.perf_counter() - now


def data_url(picture: Image.Image, side: int = PREVIEW_SIDE) -> str:
    """A small PNG of a picture as a data URL."""
    small = picture.convert("RGBA")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@functools.cache
def small_picture(path: Path, side: int = PREVIEW_SIDE) -> bytes:
    """A JPEG, at most ``side`` pixels a side, of one of the studio's own pictures or documents; made once."""
    if path.suffix == ".zip":
        small = Image.fromarray(to_depth(flatten_array(open_document(path)), 8)).convert("RGB")
    else:
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * side, 2 * side))
            small = picture.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=86)
    return buffer.getvalue()
