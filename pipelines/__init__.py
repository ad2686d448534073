"""Tasks as diffusers pipelines over one sampler. The classes load when they are first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .extract_object import ExtractObjectPipeline
    from .flux_transparent import FluxTransparentImagePipeline
    from .image_to_layers import ImageToLayersPipeline
    from .layers_to_layers import LayersToLayersPipeline
    from .outputs import LayersOutput
    from .progress import Progress
    from .region_layers import RegionLayersPipeline
    from .region_plan import RegionPlan, RegionPlanner, parse_plan
    from .sampler import Sampler, SamplerSettings
    from .text_to_layers import TextToLayersPipeline
    from .transparent_image import TransparentImagePipeline

_WHERE = {
    "ExtractObjectPipeline": "extract_object",
    "FluxTransparentImagePipeline": "flux_transparent",
    "ImageToLayersPipeline": "image_to_layers",
    "LayersToLayersPipeline": "layers_to_layers",
    "LayersOutput": "outputs",
    "Progress": "progress",
    "RegionLayersPipeline": "region_layers",
    "RegionPlan": "region_plan",
    "RegionPlanner": "region_plan",
    "Sampler": "sampler",
    "SamplerSettings": "sampler",
    "TextToLayersPipeline": "text_to_layers",
    "TransparentImagePipeline": "transparent_image",
    "parse_plan": "region_plan",
}

__all__ = [
    "ExtractObjectPipeline",
    "FluxTransparentImagePipeline",
    "ImageToLayersPipeline",
    "LayersOutput",
    "LayersToLayersPipeline",
    "Progress",
    "RegionLayersPipeline",
    "RegionPlan",
    "RegionPlanner",
    "Sampler",
    "SamplerSettings",
    "TextToLayersPipeline",
    "TransparentImagePipeline",
    "parse_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
