"""Controls: training-free methods that steer a run, one file each, all through one small protocol."""

from __future__ import annotations

from .base import Control, StepContext

__all__ = ["Control", "StepContext"]
