"""acetate: layered RGBA images with diffusion transformers.

The names below are the public surface; each loads on first use, so that ``import acetate`` and ``acetate --help``
stay quick and ``acetate.layers`` never brings torch along.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import decompose, generate
    from .errors import AcetateError, Cancelled, InputError, OutputError
    from .layers.document import BlendMode, Group, Layer, LayeredImage
    from .pipelines.image_to_layers import ImageToLayersPipeline
    from .pipelines.text_to_layers import TextToLayersPipeline

__version__ = "0.1.0"

__all__ = [
    "AcetateError",
    "BlendMode",
    "Cancelled",
    "Group",
    "ImageToLayersPipeline",
    "InputError",
    "Layer",
    "LayeredImage",
    "OutputError",
    "TextToLayersPipeline",
    "__version__",
    "decompose",
    "generate",
]

_HOMES = {
    "AcetateError": ".errors",
    "BlendMode": ".layers.blend",
    "Cancelled": ".errors",
    "Group": ".layers.document",
    "ImageToLayersPipeline": ".pipelines.image_to_layers",
    "InputError": ".errors",
    "Layer": ".layers.document",
    "LayeredImage": ".layers.document",
    "OutputError": ".errors",
    "TextToLayersPipeline": ".pipelines.text_to_layers",
    "decompose": ".api",
    "generate": ".api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'acetate' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
