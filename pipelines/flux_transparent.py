"""A prompt, or a prompt and a picture, to one transparent layer on FLUX.

LayerDiffuse (arXiv 2402.17113): FLUX's own VAE with the published U-Net decoder, and the offset encoder for pictures; or
AlphaVAE (arXiv 2507.09308): a 4-channel VAE in its place. Either goes with its LoRA (``load_lora_weights``).

    x_s = (1 - s) encode(picture) + s eps,  s the first sigma of the share of the steps that is run

Differs: one sampler for both. It knows one layer; boxes and stacks are RegionLayersPipeline's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.codecs import Codec, KLRGBACodec, LayerDiffuseCodec
from ..models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
from ..models.layout import Layout
from .flux_arguments import FluxArguments
from .flux_base import FluxParts
from .images import ImageLike, fit_to, read_images, to_tensor
from .outputs import LayersOutput
from .sizes import FLUX_CELL, flux_canvas


class FluxTransparentImagePipeline(FluxParts):
    """FLUX's parts, and for a 3-channel VAE LayerDiffuse's ``transparent_decoder`` and, for pictures, ``offset_encoder``
    (``read_layerdiffuse`` or ``LayerDiffuseCodec.from_file`` gives both). ``augmented``: eight decoding passes or one."""

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae->transparent_decoder"
    _optional_components: ClassVar[list[str]] = [
        *FluxParts._optional_components,
        "transparent_decoder",
        "offset_encoder",
    ]
    task = "transparent"
    published_steps, published_scale, published_guidance = 50, 1.0, 3.5
    published_strength: ClassVar[float] = 0.8

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKL,
        transformer: FluxTransformer2DModel,
        text_encoder: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        text_encoder_2: PreTrainedModel | None = None,
        tokenizer_2: PreTrainedTokenizerBase | None = None,
        transparent_decoder: TransparentUNet | None = None,
        offset_encoder: LatentOffsetEncoder | None = None,
        augmented: bool = True,
    ) -> None:
        super().__init__()
        self.register(
            transparent_decoder,
            "LayerDiffuse's transparent_decoder",
            vae,
            scheduler=scheduler,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            transparent_decoder=transparent_decoder,
            offset_encoder=offset_encoder,
        )
        self.register_to_config(augmented=augmented)

    @property
    def codec(self) -> Codec:
        """Pixels to latents and back, by the parts there are."""
        if self.transparent_decoder is None:
            return KLRGBACodec(self.vae, tiling=self.tiling)
        return LayerDiffuseCodec(
            self.vae,
            self.transparent_decoder,
            self.offset_encoder,
            augmented=self.config.augmented,
            tiling=self.tiling,
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | None = None,
        *,
        image: ImageLike | None = None,
        strength: float | None = None,
        **arguments: Any,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes one layer.

        image: a picture to start from, resized to the canvas; strength: the share of the steps that changes it, in (0, 1],
        by default 0.8.

        arguments: see :class:`~acetate.pipelines.flux_arguments.FluxArguments`; by default 50 steps, guidance 3.5 told to
        dev, no negative branch.

        Returns LayersOutput with one layer, or (images,) with return_dict False. Raises InputError for what cannot be used,
        Cancelled when stopped.
        """
        call = FluxArguments(**arguments)
        if image is None and strength is not None:
            raise InputError("strength changes a picture; give one as image.")
        picture = None if image is None else _one_picture(image)
        aspect = None if picture is None else (picture.shape[1], picture.shape[0])
        width, height = flux_canvas(call.width, call.height, aspect)
        given = None
        if picture is not None and self.transparent_decoder is not None and self.offset_encoder is None:
            raise InputError(
                "There is no offset encoder, so LayerDiffuse cannot start from a picture; give the published "
                "TransparentVAE, which holds both, or leave the picture out."
            )
        if picture is not None:
            pixels = to_tensor(fit_to(picture, width, height))[None].to(self.place)
            given = self.codec.encode(pixels)
            strength = self.published_strength if strength is None else strength
        return self.run_call(
            prompt,
            call,
            Layout.one_layer(height // FLUX_CELL, width // FLUX_CELL),
            given=given,
            strength=1.0 if strength is None else strength,
            facts={"strength": strength},
        )

    def pixels(self, frames: torch.Tensor, layout: Layout) -> torch.Tensor:
        return self.codec.decode(frames)

    def frame_latents(self, backbone: FluxBackbone, tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
        return backbone.unpack(tokens, layout.height, layout.width)


def _one_picture(image: ImageLike) -> np.ndarray:
    pictures = read_images(image)
    if len(pictures) != 1:
        raise InputError(f"One layer is made at a time, but {len(pictures)} pictures were given; give one.")
    return pictures[0]
