"""Layered images: the document, compositing, edits, exact recomposition and files. Loads no torch."""

from __future__ import annotations

from . import edit
from .blend import BlendMode
from .composite import composite
from .document import Group, Layer, LayeredImage, Mask, Provenance
from .recompose import RecomposeReport, recompose
from .upsample import upsample_layers

__all__ = [
    "BlendMode",
    "Group",
    "Layer",
    "LayeredImage",
    "Mask",
    "Provenance",
    "RecomposeReport",
    "composite",
    "edit",
    "recompose",
    "upsample_layers",
]
