"""What the pipelines on FLUX share: parts, prompts to conditions, and the way from arguments to a document.

A subclass says which layout a call has and how its frames become pixels. Knows tokens and diffusers' pipeline class; no
file formats.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import FluxLoraLoaderMixin
from PIL import Image
from torch import nn

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.frame_embedding import AddedEmbedding
from ..models.layout import Layout
from ..models.loading import load_components
from ..models.text import FluxTextEncoder, TextFeatures
from .arguments import recorded
from .cancel import cancellable, check_cancelled
from .flux_arguments import FluxArguments, Spoken
from .guidance import Guidance
from .model_name import ModelName
from .modulation_option import ModulationOption
from .noise import draw_noise, noise_sources
from .outputs import LayersOutput, as_output, as_picture, clear_outside, joined, make_document
from .prediction import COND, UNCOND, SamplerSettings
from .progress import Progress
from .revise import mix
from .sampler import Sampler
from .schedule import Schedule, flux_mu, make_schedule
from .sizes import FLUX_CELL, Box
from .stack import picture_places, redraws
from .step import StepState

if TYPE_CHECKING:
    from ..models.loading import Components

FAST_STEPS = 4  # schnell's
FAST_TOKENS = 256
TOKENS = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One call, ready to be sampled."""

    call: FluxArguments
    backbone: FluxBackbone
    layout: Layout
    conditions: dict[str, TextFeatures]
    guidance: Guidance
    schedule: Schedule
    start: torch.Tensor
    seed: int | None


class FluxParts(ModelName, ModulationOption, DiffusionPipeline, FluxLoraLoaderMixin):
    """Use ``RegionLayersPipeline`` or ``FluxTransparentImagePipeline``. One pipeline serves one call at a time."""

    _optional_components: ClassVar[list[str]] = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]
    task: ClassVar[str]
    published_steps: ClassVar[int]
    published_scale: ClassVar[float]
    published_guidance: ClassVar[float]

    # -- loading

    @classmethod
    def from_components(cls, parts: Components) -> Self:
        """The pipeline over parts that are loaded already. Raises InputError for parts of another family, or without
        what this pipeline takes alpha from."""
        if not isinstance(parts.backbone, FluxBackbone):
            raise InputError(f"{parts.entry.name} is no FLUX; {cls.__name__} runs FLUX only.")
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
        return pipeline

    @classmethod
    def load(cls, model: str | Path, **kwargs: Any) -> Self:
        """The pipeline of a FLUX model by its acetate name or folder, checked file by file first; ``kwargs`` go to
        :func:`acetate.models.loading.load_components` (``transparency``, ``modulation_table`` ...). Raises InputError that
        names the file and the remedy."""
        return cls.from_components(load_components(model, **{"task": cls.task, **kwargs}))

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
            schedule = run.schedule.tail(strength)
            start = mix(run.backbone.pack(given), run.start, float(schedule.sigmas[0]))
            run = _Run(**{**vars(run), "schedule": schedule, "start": start})
        try:
            tokens = self._sample(run)
            frames = self.frame_latents(run.backbone, tokens, layout)
            output = self._output(run, frames, prompt, boxes, facts)
        finally:
            self.maybe_free_model_hooks()
        return output if call.return_dict else (output.images,)

    def _prepare(
        self, prompt: str | None, call: FluxArguments, layout: Layout, embedding: AddedEmbedding | None
    ) -> _Run:
        told = self._told(call)
        backbone = FluxBackbone(self.transformer, embedding, guidance=told)
        scale = self.published_scale if call.true_cfg_scale is None else call.true_cfg_scale
        guidance = Guidance(scale=scale, renormalise=False, batched=call.batch_guidance)
        spoken = {COND: call.positive(prompt)}
        if guidance.enabled:
            spoken[UNCOND] = call.negative()
        device = self._execution_device
        conditions = {name: self._features(one, call).to(device=device) for name, one in spoken.items()}
        shape = (
            len(layout.frames),
            backbone.capabilities.latent_channels,
            2 * layout.height,
            2 * layout.width,
        )
        source = noise_sources(call.seed, call.generator, 1, 1)[0]
        noise = draw_noise(source, shape) if call.latents is None else call.latents.float()
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
        return _Run(
            call=call,
            backbone=backbone,
            layout=layout,
            conditions=conditions,
            guidance=guidance,
            schedule=make_schedule(config, self._steps(call), 0, mu=mu),
            start=torch.cat(start, 1),
            seed=source.seed,
        )

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

    def _features(self, spoken: Spoken, call: FluxArguments) -> TextFeatures:
        prompt, embeds, pooled = spoken
        if embeds is not None and pooled is not None:
            return TextFeatures(embeds=embeds, pooled=pooled)
        if embeds is not None or pooled is not None:
            raise InputError(
                "FLUX takes prompt_embeds and pooled_prompt_embeds together; give both or neither."
            )
        if self.text_encoder is None or self.text_encoder_2 is None:
            raise InputError(
                "This pipeline has no text encoders; give prompt_embeds and pooled_prompt_embeds."
            )
        if prompt is None:
            raise InputError("Say what to make: give a prompt, or prompt_embeds and pooled_prompt_embeds.")
        length = call.max_sequence_length or (FAST_TOKENS if self.fast else TOKENS)
        parts: tuple[Any, ...] = (self.tokenizer, self.text_encoder, self.tokenizer_2, self.text_encoder_2)
        return FluxTextEncoder(*parts, max_tokens=length).encode([prompt])

    def _sample(self, run: _Run) -> torch.Tensor:
        """The tokens at the end of the schedule, under diffusers' progress bar unless the caller watches."""
        watched = run.call.on_progress is not None
        bar = nullcontext() if watched else self.progress_bar(total=run.schedule.num_steps)
        with bar as shown:
            tokens = Sampler().run(
                run.backbone,
                run.layout,
                run.start,
                None,
                run.conditions,
                SamplerSettings(schedule=run.schedule, guidance=run.guidance),
                on_step=self._on_step(run, shown),
                cancel=run.call.cancel,
            )
        check_cancelled(run.call.cancel)
        return tokens

    def _on_step(self, run: _Run, bar: Any) -> Callable[[StepState], None]:
        def preview(state: StepState, number: int | None = None) -> list[Image.Image]:
            places = picture_places(run.layout)
            number = next(iter(places)) if number is None else number
            if number not in places:
                raise InputError(
                    f"There is no frame {number} to preview; there are {', '.join(map(str, places))}."
                )
            with torch.no_grad():
                frames = self.frame_latents(run.backbone, state.x0(), run.layout)
                return [as_picture(self.preview_pixels(frames, run.layout, places[number]))]

        def on_step(state: StepState) -> None:
            if bar is not None:
                bar.update()
            run.call.report(
                Progress(
                    phase="sample",
                    done=state.context.step + 1,
                    total=state.context.num_steps,
                    elapsed=state.elapsed,
                    remaining=state.remaining,
                    results=(0,),
                    preview=lambda frame=None: preview(state, frame),
                )
            )

        return on_step

    def _decoding(self) -> list[nn.Module]:
        """The stages of whatever turns latents into pixels: between two of them a run may be stopped."""
        names = ("vae", "transparent_decoder", "region_decoder")
        parts = [part for name in names if (part := self.components.get(name)) is not None]
        rows = [
            one for part in parts for one in part.modules() if isinstance(one, nn.ModuleList | nn.Sequential)
        ]
        return [stage for row in rows for stage in row]

    def _output(
        self,
        run: _Run,
        frames: torch.Tensor,
        prompt: str | None,
        boxes: Sequence[Box | None] | None,
        facts: dict[str, Any],
    ) -> LayersOutput:
        """``boxes``: of the layers; a picture that is drawn beside them has the whole canvas."""
        lead, kind = int(redraws(run.layout)), run.call.output_type
        if kind == "latent":
            return LayersOutput(images=[frames[lead:]], composites=list(frames[:lead]))
        run.call.report(Progress(phase="decode", done=0, total=1, results=(0,)))
        with cancellable(self._decoding(), run.call.cancel):
            pixels = self.pixels(frames, run.layout).float()
        places = [None] * len(pixels) if boxes is None else [*[None] * lead, *boxes]
        cleared = torch.cat([clear_outside(one[None], box) for one, box in zip(pixels, places, strict=True)])
        shown = [as_output(one, kind) for one in cleared.cpu()]
        run.call.report(Progress(phase="decode", done=1, total=1, results=(0,)))
        output = LayersOutput(images=[joined(shown[lead:], kind)], composites=shown[:lead])
        if kind not in ("document", "pil"):
            return output
        alone = not lead and len(shown) == 1
        arguments = {
            "steps": self._steps(run.call),
            "guidance": run.guidance.scale,
            "distilled_guidance": run.backbone.guidance if self.transformer.config.guidance_embeds else None,
            "height": run.layout.height * FLUX_CELL,
            "width": run.layout.width * FLUX_CELL,
            **facts,
        }
        known = {"model": self.name, "revision": self.model_revision, "seed": run.seed, "prompt": prompt}
        document = make_document(
            shown[lead:],
            layer_prompts=[prompt] if alone else [],
            boxes=boxes,
            seed=run.seed,
            model=self.name,
            revision=self.model_revision,
            metadata=recorded({**known, "arguments": recorded(arguments)}),
            lowest=1 if alone else 0,
        )
        output.documents = [document]
        return output
