"""acetate: layered RGBA images with diffusion transformers.

The names below are the public surface; each loads on first use, so that ``import acetate`` and ``acetate --help``
stay quick and ``acetate.layers`` never brings torch along.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import decompose, generate
    from .api_layers import complete, extract, transparent
    from .errors import AcetateError, Cancelled, InputError, OutputError
    from .layers.document import BlendMode, Group, Layer, LayeredImage
    from .pipelines.extract_object import ExtractObjectPipeline
    from .pipelines.flux_transparent import FluxTransparentImagePipeline
    from .pipelines.image_to_layers import ImageToLayersPipeline
    from .pipelines.layers_to_layers import LayersToLayersPipeline
    from .pipelines.region_layers import RegionLayersPipeline
    from .pipelines.text_to_layers import TextToLayersPipeline
    from .pipelines.transparent_image import TransparentImagePipeline

__version__ = "0.1.0"

__all__ = [
    "AcetateError",
    "BlendMode",
    "Cancelled",
    "ExtractObjectPipeline",
    "FluxTransparentImagePipeline",
    "Group",
    "ImageToLayersPipeline",
    "InputError",
    "Layer",
    "LayeredImage",
    "LayersToLayersPipeline",
    "OutputError",
    "RegionLayersPipeline",
    "TextToLayersPipeline",
    "TransparentImagePipeline",
    "__version__",
    "complete",
    "decompose",
    "extract",
    "generate",
    "transparent",
]

# diffusers imports bitsandbytes where it is installed, which then misses, on CPUs with AVX-512 BF16, a kernel that nothing
# here would call.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda record: "gemm_4bit_forward" not in record.msg)

_HOMES = {
    "AcetateError": ".errors",
    "BlendMode": ".layers.blend",
    "Cancelled": ".errors",
    "ExtractObjectPipeline": ".pipelines.extract_object",
    "FluxTransparentImagePipeline": ".pipelines.flux_transparent",
    "Group": ".layers.document",
    "ImageToLayersPipeline": ".pipelines.image_to_layers",
    "InputError": ".errors",
    "Layer": ".layers.document",
    "LayeredImage": ".layers.document",
    "LayersToLayersPipeline": ".pipelines.layers_to_layers",
    "OutputError": ".errors",
    "RegionLayersPipeline": ".pipelines.region_layers",
    "TextToLayersPipeline": ".pipelines.text_to_layers",
    "TransparentImagePipeline": ".pipelines.transparent_image",
    "complete": ".api_layers",
    "decompose": ".api",
    "extract": ".api_layers",
    "generate": ".api",
    "transparent": ".api_layers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'acetate' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
