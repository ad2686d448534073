"""Tasks as diffusers pipelines over one sampler. The classes load when they are first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .extract_object import ExtractObjectPipeline
    from .image_to_layers import ImageToLayersPipeline
    from .layers_to_layers import LayersToLayersPipeline
    from .outputs import LayersOutput
    from .progress import Progress
    from .sampler import Sampler, SamplerSettings
    from .text_to_layers import TextToLayersPipeline
    from .transparent_image import TransparentImagePipeline

_WHERE = {
    "ExtractObjectPipeline": "extract_object",
    "ImageToLayersPipeline": "image_to_layers",
    "LayersToLayersPipeline": "layers_to_layers",
    "LayersOutput": "outputs",
    "Progress": "progress",
    "Sampler": "sampler",
    "SamplerSettings": "sampler",
    "TextToLayersPipeline": "text_to_layers",
    "TransparentImagePipeline": "transparent_image",
}

__all__ = [
    "ExtractObjectPipeline",
    "ImageToLayersPipeline",
    "LayersOutput",
    "LayersToLayersPipeline",
    "Progress",
    "Sampler",
    "SamplerSettings",
    "TextToLayersPipeline",
    "TransparentImagePipeline",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
