"""One prompt and a set of boxes to a stack of transparent layers on FLUX: ART (arXiv 2502.18364, section 3.2).

    v = v_- + s (v_+ - v_-)  over the tokens inside the boxes only, at ids (layer, row, column), dev told g

Layer 0 is the whole picture and 1 the background, both full; the others are cropped to their boxes, so time grows
with the boxes' area, not with the number of layers. All layers are decoded together by the region decoder; the
picture and the background come from the VAE. The transformer is stock ``FluxTransformer2DModel`` with ART's layer
embedding added. Differs: latents outside of boxes are never made; a 4-channel VAE may take the decoder's place.
Without weights trained for it the result means nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.codecs import KLRGBACodec, RegionDecoder
from ..models.frame_embedding import LayerEmbedding
from ..models.layout import Frame, Layout
from .arguments import check_layers, recorded
from .flux_base import CELL, FluxParts
from .guidance import Guidance
from .noise import draw_noise, noise_sources
from .outputs import LayersOutput, as_output, check_output_type, clear_outside, joined, make_document
from .schedule import flux_mu, make_schedule
from .sizes import Box, check_boxes, token_box

MAX_LAYERS = 51  # ART's layer embedding has 52 rows, one of them the whole picture's


class RegionLayersPipeline(FluxParts):
    """FLUX's own parts, ART's ``layer_embedding`` and its ``region_decoder`` (None: ``vae`` must be one of 4 channels).

    Lay ART's LoRA over the transformer with ``load_lora_weights``. One pipeline serves one call at a time.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae->region_decoder"
    _optional_components: ClassVar[list[str]] = [*FluxParts._optional_components, "layer_embedding", "region_decoder"]

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
        if region_decoder is None and int(vae.config.out_channels) != 4:
            raise InputError(
                f"The VAE makes {vae.config.out_channels} channels, so layers would have no alpha; give a "
                "region_decoder, or a VAE of 4 channels."
            )
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
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
        negative_prompt: str = "",
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = 28,
        true_cfg_scale: float = 3.5,
        guidance_scale: float = 4.0,
        batch_guidance: bool = False,
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
        """Makes one stack of layers.

        prompt: the whole picture. boxes: one per layer, bottom to top, pixels (x0, y0, x1, y1); the first is None, the
        background; at most 51. height, width: multiples of 16. true_cfg_scale: 1 runs no negative branch.
        guidance_scale: told to a guidance-distilled transformer. latents: initial noise (layers + 1, C, h, w), the
        whole picture first.

        Returns LayersOutput with one result, or (images,) with return_dict False; "latent" gives normalised latents,
        outside of boxes those of grey. Raises InputError for what cannot be used, Cancelled when stopped.
        """
        check_output_type(output_type)
        layers = len(boxes)
        check_layers(layers, MAX_LAYERS)
        self.check_size(width, height)
        pixel_boxes = check_boxes(boxes, layers, width, height) or (None,) * layers
        tokens_of = [None if box is None else token_box(box, CELL) for box in pixel_boxes]
        layout = Layout.text_to_layers(height // CELL, width // CELL, layers, tokens_of)
        device = self._execution_device
        backbone = FluxBackbone(self.transformer, self.layer_embedding, guidance=guidance_scale)
        guidance = Guidance(scale=true_cfg_scale, renormalise=False, batched=batch_guidance)
        conditions = self.conditions(
            guidance,
            (prompt, prompt_embeds, pooled_prompt_embeds),
            (negative_prompt, negative_prompt_embeds, negative_pooled_prompt_embeds),
            max_sequence_length,
        )
        channels = backbone.capabilities.latent_channels
        shape = (layers + 1, channels, 2 * layout.height, 2 * layout.width)
        source = noise_sources(seed, generator, 1, 1)[0]
        noise = draw_noise(source, shape) if latents is None else latents.float()
        if tuple(noise.shape) != shape:
            raise InputError(f"latents must have shape {shape}; got {tuple(noise.shape)}.")
        packed = backbone.pack(noise.to(device))
        start = [layout.crop(packed[i : i + 1], frame) for i, frame in enumerate(layout.frames)]
        mu = flux_mu(self.scheduler.config, layout.num_noisy_tokens)
        schedule = make_schedule(self.scheduler.config, num_inference_steps, 0, mu=mu)
        tokens = self.sampled(backbone, layout, torch.cat(start, 1), conditions, schedule, guidance, cancel)
        frames = self._latents(backbone, tokens, layout)
        if output_type == "latent":
            images: Any = frames[1:]
            output = LayersOutput(images=[images], composites=[frames[0]])
        else:
            pixels = self._decode(frames, layout)
            pairs = zip(pixels, (None, *pixel_boxes), strict=True)
            pixels = torch.cat([clear_outside(one[None], box) for one, box in pairs])
            shown = [as_output(one, output_type) for one in pixels.cpu()]
            images = joined(shown[1:], output_type)
            output = LayersOutput(images=[images], composites=[shown[0]])
            if output_type in ("document", "pil"):
                facts = {
                    "boxes": [None if box is None else list(box) for box in pixel_boxes],
                    "steps": num_inference_steps,
                    "guidance": true_cfg_scale,
                    "distilled_guidance": guidance_scale,
                    "height": height,
                    "width": width,
                }
                output.documents = [self._document(shown[1:], pixel_boxes, source.seed, prompt, facts)]
        self.maybe_free_model_hooks()
        return output if return_dict else (output.images,)

    def _latents(self, backbone: FluxBackbone, tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
        """(frames, C, h, w) normalised; outside of boxes the latents of mid grey."""
        grey: Any = 0.0
        if any(frame.box is not None for frame in layout.frames):
            channels = int(self.vae.config.in_channels)
            canvas = torch.zeros(1, channels, layout.height * CELL, layout.width * CELL, device=tokens.device)
            mode = self.vae.encode(canvas.to(self.vae.dtype)).latent_dist.mode().float()
            scale, shift = self.normalisation
            grey = backbone.pack(scale * (mode - shift))
        parts = [
            layout.scatter(tokens[:, where], frame, grey)
            for where, frame in zip(layout.slices, layout.frames, strict=True)
        ]
        return backbone.unpack(torch.cat(parts), layout.height, layout.width)

    def _decode(self, frames: torch.Tensor, layout: Layout) -> torch.Tensor:
        """(frames, 4, H, W) in [-1, 1]; the picture and the background opaque."""
        if self.region_decoder is None:
            pixels = KLRGBACodec(self.vae, one_at_a_time=True).decode(frames)
            pixels[:2, 3] = 1
            return pixels
        scale, shift = self.normalisation
        raw = frames / scale + shift
        full = [self.vae.decode(one[None].to(self.vae.dtype), return_dict=False)[0].float() for one in raw[:2]]
        opaque = torch.cat([torch.cat([one, torch.ones_like(one[:, :1])], 1) for one in full])
        finer = Layout(
            height=2 * layout.height,
            width=2 * layout.width,
            frames=tuple(
                Frame(role=f.role, index=f.index, box=None if f.box is None else _doubled(f.box))
                for f in layout.frames
            ),
        )
        seen = self.region_decoder(raw.to(self.region_decoder.dtype), finer).float()
        return torch.cat([opaque, seen[2:]]).clamp(-1, 1)

    def _document(
        self, pictures: list[Any], boxes: Sequence[Box | None], seed: int | None, prompt: str | None, facts: dict[str, Any]
    ) -> Any:
        return make_document(
            pictures,
            layer_prompts=[],
            boxes=boxes,
            seed=seed,
            model=None,
            revision=None,
            metadata=recorded({"seed": seed, "prompt": prompt, "arguments": recorded(facts)}),
        )


def _doubled(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return 2 * x0, 2 * y0, 2 * x1, 2 * y1
