"""A prompt, or a prompt and a picture, to one transparent layer on FLUX.

LayerDiffuse (arXiv 2402.17113): FLUX's own VAE with the published U-Net decoder, and the offset encoder for pictures; or
AlphaVAE (arXiv 2507.09308): a 4-channel VAE in its place. Either goes with its LoRA (``load_lora_weights``).

    x_s = (1 - s) encode(picture) + s eps,  s the first sigma of the share of the steps that is run

Differs: one sampler for both. It knows one layer; boxes and stacks are RegionLayersPipeline's.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.codecs import Codec, KLRGBACodec, LayerDiffuseCodec, Tiling
from ..models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
from ..models.layout import Layout
from .arguments import recorded
from .flux_base import CELL, FluxParts
from .guidance import Guidance
from .images import ImageLike, fit_to, read_images, to_tensor
from .noise import draw_noise, noise_sources
from .outputs import LayersOutput, as_output, check_output_type, joined, make_document
from .revise import mix
from .schedule import flux_mu, make_schedule


class FluxTransparentImagePipeline(FluxParts):
    """FLUX's parts, and for a 3-channel VAE LayerDiffuse's ``transparent_decoder`` and, for pictures, ``offset_encoder``
    (``read_layerdiffuse`` or ``LayerDiffuseCodec.from_file`` gives both). ``augmented``: eight decoding passes or one."""

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae->transparent_decoder"
    _optional_components: ClassVar[list[str]] = [
        *FluxParts._optional_components,
        "transparent_decoder",
        "offset_encoder",
    ]

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
        if transparent_decoder is None and int(vae.config.out_channels) != 4:
            raise InputError(
                f"The VAE makes {vae.config.out_channels} channels, so the layer would have no alpha; give LayerDiffuse's "
                "transparent_decoder, or a VAE of 4 channels."
            )
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            transparent_decoder=transparent_decoder,
            offset_encoder=offset_encoder,
        )
        self.register_to_config(augmented=augmented)
        self.tiling: Tiling | None = None
        """How the codec saves memory: pictures in tiles. None: it does not."""

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
        strength: float = 0.8,
        negative_prompt: str = "",
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = 50,
        true_cfg_scale: float = 1.0,
        guidance_scale: float = 3.5,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        negative_pooled_prompt_embeds: torch.Tensor | None = None,
        max_sequence_length: int = 512,
        output_type: str = "document",
        return_dict: bool = True,
        cancel: threading.Event | None = None,
    ) -> LayersOutput | tuple[list[Any]]:
        """Makes one layer.

        image: a picture to start from, resized to the canvas; strength: the share of the steps that changes it, in (0, 1].
        height, width: multiples of 16. guidance_scale: told to a guidance-distilled transformer; true_cfg_scale above 1
        runs the negative branch too. latents: initial noise (C, h, w).

        Returns LayersOutput with one layer, or (images,) with return_dict False. Raises InputError for what cannot be used,
        Cancelled when stopped.
        """
        check_output_type(output_type)
        self.check_size(width, height)
        layout = Layout.one_layer(height // CELL, width // CELL)
        backbone = FluxBackbone(self.transformer, guidance=guidance_scale)
        guidance = Guidance(scale=true_cfg_scale, renormalise=False)
        conditions = self.conditions(
            guidance,
            (prompt, prompt_embeds, pooled_prompt_embeds),
            (negative_prompt, negative_prompt_embeds, negative_pooled_prompt_embeds),
            max_sequence_length,
        )
        shape = (1, backbone.capabilities.latent_channels, 2 * layout.height, 2 * layout.width)
        source = noise_sources(seed, generator, 1, 1)[0]
        noise = draw_noise(source, shape) if latents is None else latents.float()[None]
        if tuple(noise.shape) != shape:
            raise InputError(f"latents must have shape {shape[1:]}; got {tuple(noise.shape[1:])}.")
        mu = flux_mu(self.scheduler.config, layout.num_noisy_tokens)
        schedule = make_schedule(self.scheduler.config, num_inference_steps, 0, mu=mu)
        codec, device = self.codec, self._execution_device
        start = backbone.pack(noise.to(device))
        if image is not None:
            schedule = schedule.tail(strength)
            pixels = to_tensor(fit_to(_one_picture(image), width, height))[None].to(device)
            start = mix(backbone.pack(codec.encode(pixels)), start, float(schedule.sigmas[0]))
        tokens = self.sampled(backbone, layout, start, conditions, schedule, guidance, cancel)
        made = backbone.unpack(tokens, layout.height, layout.width)
        if output_type == "latent":
            output = LayersOutput(images=[made])
        else:
            shown = as_output(codec.decode(made).float()[0].cpu(), output_type)
            output = LayersOutput(images=[joined([shown], output_type)])
            if output_type in ("document", "pil"):
                facts = {
                    "steps": num_inference_steps,
                    "guidance": true_cfg_scale,
                    "distilled_guidance": guidance_scale,
                    "strength": None if image is None else strength,
                    "height": height,
                    "width": width,
                }
                metadata = recorded({"seed": source.seed, "prompt": prompt, "arguments": recorded(facts)})
                output.documents = [
                    make_document(
                        [shown],
                        layer_prompts=[prompt],
                        boxes=None,
                        seed=source.seed,
                        model=None,
                        revision=None,
                        metadata=metadata,
                        lowest=1,
                    )
                ]
        self.maybe_free_model_hooks()
        return output if return_dict else (output.images,)


def _one_picture(image: ImageLike) -> np.ndarray:
    pictures = read_images(image)
    if len(pictures) != 1:
        raise InputError(f"One layer is made at a time, but {len(pictures)} pictures were given; give one.")
    return pictures[0]
