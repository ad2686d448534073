"""A model that does nothing: what a render costs by itself, for ``scripts/benchmark_render.py`` and the engine's tests."""

from __future__ import annotations

import threading

import numpy as np

from ..layers.document import Layer, LayeredImage
from ..progress import OnProgress
from .plan import PlannedJob
from .renderer import RunJob


def open_runner(threads: int, index: int) -> RunJob:
    """See :class:`~acetate.rendering.settings.RenderSettings`."""
    return run_job


def run_job(planned: PlannedJob, on_progress: OnProgress, cancel: threading.Event) -> LayeredImage:
    """Two tiny layers that depend on the seed alone."""
    colour = np.array([planned.job.seed % 256, planned.job.seed // 256 % 256, 128, 255], np.uint8)
    ground = Layer(name="Background", pixels=np.broadcast_to(colour, (8, 8, 4)).copy())
    dot = Layer(name="Layer 1", pixels=np.full((2, 2, 4), 255, np.uint8), offset=(3, 3))
    return LayeredImage(width=8, height=8, layers=(ground, dot))
