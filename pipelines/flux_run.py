"""One call of a pipeline on FLUX, from its noise to its document: sampling, progress with previews, decoding.

Knows tokens, frames and what a caller wants back; not prompts, nor how frames become pixels, which is the pipeline's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from PIL import Image
from torch import nn

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.layout import Layout
from ..models.text import TextFeatures
from .arguments import recorded
from .cancel import cancellable, check_cancelled
from .flux_arguments import FluxArguments
from .guidance import Guidance
from .outputs import LayersOutput, as_output, as_picture, clear_outside, joined, make_document
from .prediction import SamplerSettings
from .progress import Progress
from .revise import mix
from .sampler import Sampler
from .schedule import Schedule
from .sizes import FLUX_CELL, Box
from .stack import picture_places, redraws
from .step import StepState

DECODERS = ("vae", "transparent_decoder", "region_decoder")


@dataclass(frozen=True, kw_only=True, eq=False)
class FluxRun:
    """``start``: (1, num_noisy_tokens, C) tokens at the first sigma. ``steps``: as asked for, before any tail of the
    schedule. ``seed`` None: the caller brought a generator or the noise."""

    pipeline: Any
    call: FluxArguments
    backbone: FluxBackbone
    layout: Layout
    conditions: dict[str, TextFeatures]
    guidance: Guidance
    schedule: Schedule
    steps: int
    start: torch.Tensor
    seed: int | None

    def from_latents(self, given: torch.Tensor, strength: float) -> Self:
        """The same from latents (1, C, h, w) that exist, over the last ``strength`` share of the steps."""
        schedule = self.schedule.tail(strength)
        start = mix(self.backbone.pack(given), self.start, float(schedule.sigmas[0]))
        return replace(self, schedule=schedule, start=start)

    def sample(self) -> torch.Tensor:
        """The tokens at the end of the schedule, under diffusers' progress bar unless the caller watches."""
        watched = self.call.on_progress is not None
        bar = nullcontext() if watched else self.pipeline.progress_bar(total=self.schedule.num_steps)
        with bar as shown:
            tokens = Sampler().run(
                self.backbone,
                self.layout,
                self.start,
                None,
                self.conditions,
                SamplerSettings(schedule=self.schedule, guidance=self.guidance),
                on_step=self._on_step(shown),
                cancel=self.call.cancel,
            )
        check_cancelled(self.call.cancel)
        return tokens

    def _on_step(self, bar: Any) -> Callable[[StepState], None]:
        def preview(state: StepState, number: int | None = None) -> list[Image.Image]:
            places = picture_places(self.layout)
            number = next(iter(places)) if number is None else number
            if number not in places:
                raise InputError(
                    f"There is no frame {number} to preview; there are {', '.join(map(str, places))}."
                )
            with torch.no_grad():
                frames = self.pipeline.frame_latents(self.backbone, state.x0(), self.layout)
                return [as_picture(self.pipeline.preview_pixels(frames, self.layout, places[number]))]

        def on_step(state: StepState) -> None:
            if bar is not None:
                bar.update()
            self.call.report(
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
        parts = [part for name in DECODERS if (part := self.pipeline.components.get(name)) is not None]
        rows = [
            one for part in parts for one in part.modules() if isinstance(one, nn.ModuleList | nn.Sequential)
        ]
        return [stage for row in rows for stage in row]

    def output(
        self,
        frames: torch.Tensor,
        prompt: str | None,
        boxes: Sequence[Box | None] | None,
        facts: dict[str, Any],
    ) -> LayersOutput:
        """What the caller gets of (frames, C, h, w) normalised latents. ``boxes``: in pixels, of the layers; a picture that
        is drawn beside them has the whole canvas. ``facts``: recorded in the document."""
        lead, kind = int(redraws(self.layout)), self.call.output_type
        if kind == "latent":
            return LayersOutput(images=[frames[lead:]], composites=list(frames[:lead]))
        self.call.report(Progress(phase="decode", done=0, total=1, results=(0,)))
        with cancellable(self._decoding(), self.call.cancel):
            pixels = self.pipeline.pixels(frames, self.layout).float()
        places = [None] * len(pixels) if boxes is None else [*[None] * lead, *boxes]
        cleared = torch.cat([clear_outside(one[None], box) for one, box in zip(pixels, places, strict=True)])
        shown = [as_output(one, kind) for one in cleared.cpu()]
        self.call.report(Progress(phase="decode", done=1, total=1, results=(0,)))
        output = LayersOutput(images=[joined(shown[lead:], kind)], composites=shown[:lead])
        if kind not in ("document", "pil"):
            return output
        alone = not lead and len(shown) == 1
        arguments = {
            "steps": self.steps,
            "guidance": self.guidance.scale,
            "distilled_guidance": self.backbone.guidance
            if self.pipeline.transformer.config.guidance_embeds
            else None,
            "height": self.layout.height * FLUX_CELL,
            "width": self.layout.width * FLUX_CELL,
            **facts,
        }
        known = {
            "model": self.pipeline.name,
            "revision": self.pipeline.model_revision,
            "seed": self.seed,
            "prompt": prompt,
        }
        document = make_document(
            shown[lead:],
            layer_prompts=[prompt] if alone else [],
            boxes=boxes,
            seed=self.seed,
            model=self.pipeline.name,
            revision=self.pipeline.model_revision,
            metadata=recorded({**known, "arguments": recorded(arguments)}),
            lowest=1 if alone else 0,
        )
        output.documents = [document]
        return output
