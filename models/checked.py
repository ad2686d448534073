"""What the checks of a model folder leave behind. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .family import Family


@dataclass(frozen=True, kw_only=True)
class CheckedFolder:
    """A model folder whose parts fit together. ``parts``: the configs of its components by their folders' names, as read."""

    path: Path
    family: Family
    parts: Mapping[str, dict[str, Any]]
    encoder_class: str
    """Which class its (first) text encoder is."""
    has_processor: bool = False
