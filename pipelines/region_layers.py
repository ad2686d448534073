"""One prompt and a set of boxes to a stack of transparent layers on FLUX: ART (arXiv 2502.18364, section 3.2).

    v = v_- + s (v_+ - v_-)  over the tokens inside the boxes only, at ids (layer, row, column), dev told g

Layer 0 is the whole picture and 1 the background, both full; the others are cropped to their boxes, so time grows
with the boxes' area, not with the number of layers. All layers are decoded together by the region decoder; the
picture and the background come from the VAE. The transformer is stock ``FluxTransformer2DModel`` with ART's layer
embedding added. Differs: latents outside of boxes are never made; a 4-channel VAE may take the decoder's place.
Without weights trained for it the result means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..models.backbones.flux import FluxBackbone
from ..models.codecs import RegionCodec, RegionDecoder
from ..models.family import FLUX
from ..models.frame_embedding import LayerEmbedding
from ..models.layout import Layout
from .arguments import check_layers
from .flux_arguments import FluxArguments
from .flux_base import FluxParts
from .outputs import LayersOutput
from .sizes import FLUX_CELL, check_boxes, flux_canvas, token_box


class RegionLayersPipeline(FluxParts):
    """FLUX's own parts, ART's ``layer_embedding`` and its ``region_decoder`` (None: ``vae`` must be one of 4 channels).

    Lay ART's LoRA over the transformer with ``load_lora_weights``. One pipeline serves one call at a time.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae->region_decoder"
    _optional_components: ClassVar[list[str]] = [
        *FluxParts._optional_components,
        "layer_embedding",
        "region_decoder",
    ]
    task = "generate"
    published_steps, published_scale, published_guidance = 28, 3.5, 4.0

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKL,
        transformer: FluxTransformer2DModel,
        text_encoder: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        text_encoder_2: PreTrainedModel | None = None,
        tokenizer_2: PreTrainedTokenizerBase | None = None,
        layer_embedding: LayerEmbedding | None = None,
        region_decoder: RegionDecoder | None = None,
    ) -> None:
        super().__init__()
        self.register(
            region_decoder,
            "a region_decoder",
            vae,
            scheduler=scheduler,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            layer_embedding=layer_embedding,
            region_decoder=region_decoder,
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | None = None,
        *,
        boxes: Sequence[Sequence[int] | None],
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes one stack of layers.

        prompt: the whole picture. boxes: one per layer, bottom to top, pixels (x0, y0, x1, y1); the first is None, the
        background; at most 51.

        arguments: see :class:`~acetate.pipelines.flux_arguments.FluxArguments`; by default 28 steps, true_cfg_scale 3.5
        and guidance 4 told to dev.

        Returns LayersOutput with one result, or (images,) with return_dict False; "latent" gives normalised latents,
        outside of boxes those of grey. Raises InputError for what cannot be used, Cancelled when stopped.
        """
        call = FluxArguments(**arguments)
        layers, (width, height) = len(boxes), flux_canvas(call.width, call.height)
        check_layers(layers, FLUX.max_layers)
        pixel_boxes = check_boxes(boxes, layers, width, height) or (None,) * layers
        cells = [None if box is None else token_box(box, FLUX_CELL) for box in pixel_boxes]
        return self.run_call(
            prompt,
            call,
            Layout.text_to_layers(height // FLUX_CELL, width // FLUX_CELL, layers, cells),
            boxes=pixel_boxes,
            embedding=self.layer_embedding,
            facts={"boxes": [None if box is None else list(box) for box in pixel_boxes]},
        )

    @property
    def codec(self) -> RegionCodec:
        """Tokens to pixels, by the parts there are."""
        return RegionCodec(self.vae, self.region_decoder, self.tiling)

    def frame_latents(self, backbone: FluxBackbone, tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Outside of boxes the latents of mid grey."""
        return self.codec.frames(tokens, layout)

    def pixels(self, frames: torch.Tensor, layout: Layout) -> torch.Tensor:
        """The picture and the background opaque, all layers decoded together."""
        return self.codec.decode(frames, layout)

    def preview_pixels(self, frames: torch.Tensor, layout: Layout, place: int) -> torch.Tensor:
        if self.region_decoder is None:
            return self.codec.decode_alone(frames, place)
        if place > 1:
            return super().preview_pixels(frames, layout, place)
        return self.codec.decode_opaque(frames[place])
