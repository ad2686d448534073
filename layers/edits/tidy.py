"""Clearing up after a model: layers that hold nothing to speak of are dropped."""

from __future__ import annotations

import numpy as np

from ..composite import to_float
from ..document import Layer, LayeredImage

EMPTY_SHARE = 0.004
"""A layer whose alpha sums to less than this share of the canvas counts as empty: a 40 px speck on a 640 px canvas."""


def drop_empty(
    document: LayeredImage, *, share: float = EMPTY_SHARE, keep_asked: bool = False
) -> LayeredImage:
    """The document without the layers above the bottom one whose alpha, summed, is below ``share`` of the canvas.

    Groups stay, and with ``keep_asked`` layers that were asked for with a prompt of their own. Returns the document itself
    when nothing is dropped.
    """
    limit = share * document.width * document.height
    kept = tuple(
        node
        for position, node in enumerate(document.layers)
        if position == 0
        or not isinstance(node, Layer)
        or (keep_asked and node.provenance.prompt)
        or _amount(node) >= limit
    )
    return document if len(kept) == len(document.layers) else document.with_layers(kept)


def _amount(layer: Layer) -> float:
    return float(np.sum(to_float(layer.pixels[..., 3]), dtype=np.float64)) * layer.opacity
