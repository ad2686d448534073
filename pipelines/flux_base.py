"""What the pipelines on FLUX share: parts, loading, and what a call is sampled from: prompts, noise, schedule, guidance.

A subclass says which layout a call has and how its frames become pixels. Knows diffusers' pipeline class; how a call runs
is ``flux_run``'s.
"""

from __future__ import annotations

import inspect
import logging
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import FluxLoraLoaderMixin

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.codecs.tiles import PLANNED, Tiling
from ..models.family import FLUX, check_family
from ..models.frame_embedding import AddedEmbedding
from ..models.layout import Layout
from ..models.loading import load_components
from ..models.memory.residency import Residency
from ..models.text import FluxTextEncoder, TextFeatures
from ..models.text.flux import MAX_TOKENS
from .flux_arguments import FluxArguments, Spoken
from .flux_run import FluxRun
from .guidance import IDLE_NEGATIVE, Guidance
from .model_name import ModelName
from .modulation_option import ModulationOption
from .noise import draw_noise, noise_sources
from .outputs import LayersOutput
from .prediction import COND, UNCOND
from .progress import Progress
from .schedule import flux_mu, make_schedule
from .sizes import Box

if TYPE_CHECKING:
    from ..models.loading import Components

logger = logging.getLogger(__name__)

FAST_STEPS = 4  # schnell's
FAST_TOKENS = 256


class FluxParts(ModelName, ModulationOption, DiffusionPipeline, FluxLoraLoaderMixin):
    """Use ``RegionLayersPipeline`` or ``FluxTransparentImagePipeline``. One pipeline serves one call at a time."""

    _optional_components: ClassVar[list[str]] = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]
    task: ClassVar[str]
    published_steps: ClassVar[int]
    published_scale: ClassVar[float]
    published_guidance: ClassVar[float]
    residency: Residency | None = None
    """What brings parts into memory phase by phase, where a memory plan says so."""
    tiling: Tiling | None = None
    """How the codec saves memory: pictures in tiles. None: it does not."""

    # -- loading

    @classmethod
    def from_components(cls, parts: Components) -> Self:
        """The pipeline over parts that are loaded already. Raises InputError for parts of another family, or without
        what this pipeline takes alpha from."""
        check_family(parts.family, FLUX, parts.entry.name)
        taken = inspect.signature(cls.__init__).parameters
        pipeline = cls(
            scheduler=parts.scheduler,
            vae=parts.vae,
            transformer=parts.transformer,
            text_encoder=parts.encoder,
            tokenizer=parts.tokenizer,
            **{name: part for name, part in parts.more.items() if name in taken},
        )
        pipeline.model_name, pipeline.model_revision = parts.entry.name, parts.revision
        pipeline.residency = parts.residency
        if parts.residency is not None and parts.residency.means.tiling:
            pipeline.tiling = PLANNED
        return pipeline

    @classmethod
    def load(cls, model: str | Path, **kwargs: Any) -> Self:
        """The pipeline of a FLUX model by its acetate name or folder, checked file by file first; ``kwargs`` go to
        :func:`acetate.models.loading.load_components` (``transparency``, ``modulation_table`` ...). Raises InputError that
        names the file and the remedy."""
        return cls.from_components(load_components(model, **{"family": FLUX, "task": cls.task, **kwargs}))

    def register(self, decoder: Any, wanted: str, vae: Any, **modules: Any) -> None:
        """Every part. Raises InputError where neither ``decoder`` nor the VAE gives alpha; ``wanted``: what to bring."""
        if decoder is None and int(vae.config.out_channels) != 4:
            raise InputError(
                f"The VAE makes {vae.config.out_channels} channels, so layers would have no alpha; give {wanted}, or a VAE "
                "of 4 channels."
            )
        self.register_modules(vae=vae, **modules)

    # -- what the parts are

    @property
    def normalisation(self) -> tuple[float, float]:
        """Scale and shift of normalised latents: scale * (raw - shift)."""
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)

    @property
    def place(self) -> torch.device:
        """Where the model computes, also while some of its parts are not in memory."""
        return self._execution_device if self.residency is None else self.residency.device

    @property
    def fast(self) -> bool:
        """Whether the parts are schnell's: distilled to few steps, told no guidance."""
        return not self.transformer.config.guidance_embeds and not self.scheduler.config.use_dynamic_shifting

    # -- a call

    @abstractmethod
    def pixels(self, frames: torch.Tensor, layout: Layout) -> torch.Tensor:
        """(frames, C, h, w) normalised latents -> (frames, 4, H, W) in [-1, 1]."""

    @abstractmethod
    def frame_latents(self, backbone: FluxBackbone, tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
        """The sampled tokens as (frames, C, h, w) normalised latents."""

    def preview_pixels(self, frames: torch.Tensor, layout: Layout, place: int) -> torch.Tensor:
        """(4, H, W) in [-1, 1] of one frame."""
        return self.pixels(frames, layout)[place]

    def run_call(
        self,
        prompt: str | None,
        call: FluxArguments,
        layout: Layout,
        *,
        boxes: Sequence[Box | None] | None = None,
        embedding: AddedEmbedding | None = None,
        given: torch.Tensor | None = None,
        strength: float = 1.0,
        facts: dict[str, Any],
    ) -> LayersOutput | tuple[list[Any]]:
        """Runs one layout. ``boxes``: in pixels, one per layer; ``given``: latents (1, C, h, w) to start from, with
        ``strength``; ``facts``: the subclass's own arguments, recorded in the document."""
        call.report(Progress(phase="encode", done=0, total=1))
        run = self._prepare(prompt, call, layout, embedding)
        if given is not None:
            run = run.from_latents(given, strength)
        try:
            frames = self.frame_latents(run.backbone, run.sample(), layout)
            output = run.output(frames, prompt, boxes, facts)
        finally:
            self.maybe_free_model_hooks()
        return output if call.return_dict else (output.images,)

    def _prepare(
        self, prompt: str | None, call: FluxArguments, layout: Layout, embedding: AddedEmbedding | None
    ) -> FluxRun:
        told = self._told(call)
        backbone = FluxBackbone(self.transformer, embedding, guidance=told)
        scale = self.published_scale if call.true_cfg_scale is None else call.true_cfg_scale
        guidance = Guidance(scale=scale, renormalise=False, batched=call.batch_guidance)
        spoken = {COND: call.positive(prompt)}
        if guidance.enabled:
            spoken[UNCOND] = call.negative()
        elif call.negative_prompt or call.negative_prompt_embeds is not None:
            logger.warning(IDLE_NEGATIVE)
        device = self.place
        conditions = self._conditions(spoken, call)
        shape = (
            len(layout.frames),
            backbone.capabilities.latent_channels,
            2 * layout.height,
            2 * layout.width,
        )
        seed = None
        if call.latents is None:
            source = noise_sources(call.seed, call.generator, 1, 1)[0]
            noise, seed = draw_noise(source, shape), source.seed
        else:
            noise = call.latents.float()
        if shape[0] == 1 and noise.ndim == 3:
            noise = noise[None]
        if tuple(noise.shape) != shape:
            raise InputError(
                f"latents must have shape {shape if shape[0] > 1 else shape[1:]}; got {tuple(noise.shape)}."
            )
        packed = backbone.pack(noise.to(device))
        start = [layout.crop(packed[i : i + 1], frame) for i, frame in enumerate(layout.frames)]
        config = self.scheduler.config
        mu = flux_mu(config, layout.num_noisy_tokens)
        steps = self._steps(call)
        return FluxRun(
            pipeline=self,
            call=call,
            backbone=backbone,
            layout=layout,
            conditions=conditions,
            guidance=guidance,
            schedule=make_schedule(config, steps, 0, mu=mu),
            steps=steps,
            start=torch.cat(start, 1),
            seed=seed,
        )

    def _conditions(self, spoken: dict[str, Spoken], call: FluxArguments) -> dict[str, TextFeatures]:
        """The features of every branch, after which no text encoder is needed any more."""
        if self.residency is not None and any(None in words[1:] for words in spoken.values()):
            self.residency.text()
        found = {
            name: self._features(one, call, "negative_" * (name == UNCOND)).to(device=self.place)
            for name, one in spoken.items()
        }
        if self.residency is not None:
            self.residency.sampling()
        return found

    def _steps(self, call: FluxArguments) -> int:
        if call.num_inference_steps is not None:
            return call.num_inference_steps
        return FAST_STEPS if self.fast else self.published_steps

    def _told(self, call: FluxArguments) -> float:
        if call.guidance_scale is not None and not self.transformer.config.guidance_embeds:
            raise InputError(
                "This FLUX was not trained to be told a guidance (schnell); leave guidance_scale out, or use true_cfg_scale "
                "with a negative prompt."
            )
        return self.published_guidance if call.guidance_scale is None else call.guidance_scale

    def _features(self, spoken: Spoken, call: FluxArguments, kind: str) -> TextFeatures:
        """``kind``: what the arguments of this branch begin with."""
        given = f"{kind}prompt_embeds and {kind}pooled_prompt_embeds"
        prompt, embeds, pooled = spoken
        if embeds is not None and pooled is not None:
            return TextFeatures(embeds=embeds, pooled=pooled)
        if embeds is not None or pooled is not None:
            raise InputError(f"FLUX takes {given} together; give both or neither.")
        if self.text_encoder is None or self.text_encoder_2 is None:
            raise InputError(f"This pipeline has no text encoders; give {given}.")
        if prompt is None:
            raise InputError(f"Say what to make: give a prompt, or {given}.")
        length = call.max_sequence_length or (FAST_TOKENS if self.fast else MAX_TOKENS)
        parts: tuple[Any, ...] = (self.tokenizer, self.text_encoder, self.tokenizer_2, self.text_encoder_2)
        return FluxTextEncoder(*parts, max_tokens=length).encode([prompt])
