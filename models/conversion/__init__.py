"""Checkpoints from one published layout into another, exactly: every tensor keeps its bytes and its dtype.

``convert.py`` is the entrance. Knows names, rows and files; loads no network and computes nothing but where bytes go.
"""

from __future__ import annotations

from .convert import convert_checkpoint, describe_checkpoint
from .result import Conversion
from .source import Source, open_checkpoint

__all__ = ["Conversion", "Source", "convert_checkpoint", "describe_checkpoint", "open_checkpoint"]
