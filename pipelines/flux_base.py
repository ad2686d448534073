"""What the pipelines on FLUX share: its parts, prompts to conditions, and one sampled layout. Knows tokens; no documents."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import FluxLoraLoaderMixin

from ..errors import InputError
from ..models.backbones.flux import FluxBackbone
from ..models.layout import Layout
from ..models.text import FluxTextEncoder, TextFeatures
from .cancel import check_cancelled
from .guidance import Guidance
from .modulation_option import ModulationOption
from .prediction import COND, UNCOND, SamplerSettings
from .sampler import Sampler
from .schedule import Schedule

CELL = 16  # pixels along each side of a token
MAX_SIDE = 4096


class FluxParts(ModulationOption, DiffusionPipeline, FluxLoraLoaderMixin):
    """Use ``RegionLayersPipeline`` or ``FluxTransparentImagePipeline``. One pipeline serves one call at a time."""

    _optional_components: ClassVar[list[str]] = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]

    @property
    def normalisation(self) -> tuple[float, float]:
        """Scale and shift of normalised latents: scale * (raw - shift)."""
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)

    def check_size(self, width: int, height: int) -> None:
        """Raises InputError for sizes that are no whole tokens or too large."""
        for name, side in (("width", width), ("height", height)):
            if side % CELL or not CELL <= side <= MAX_SIDE:
                raise InputError(
                    f"The {name} must be a multiple of {CELL} between {CELL} and {MAX_SIDE}; got {side}."
                )

    def conditions(
        self,
        guidance: Guidance,
        prompt: tuple[str | None, torch.Tensor | None, torch.Tensor | None],
        negative: tuple[str | None, torch.Tensor | None, torch.Tensor | None],
        max_sequence_length: int,
    ) -> dict[str, TextFeatures]:
        """The text of each branch that ``guidance`` needs; a prompt is (words, embeddings, pooled embeddings)."""
        wanted = {COND: prompt, UNCOND: negative} if guidance.enabled else {COND: prompt}
        device = self._execution_device
        return {name: self._features(*one, max_sequence_length).to(device=device) for name, one in wanted.items()}

    def sampled(
        self,
        backbone: FluxBackbone,
        layout: Layout,
        start: torch.Tensor,
        conditions: dict[str, TextFeatures],
        schedule: Schedule,
        guidance: Guidance,
        cancel: threading.Event | None,
    ) -> torch.Tensor:
        """The tokens at the end of the schedule, under diffusers' progress bar."""
        with self.progress_bar(total=schedule.num_steps) as bar:
            tokens = Sampler().run(
                backbone,
                layout,
                start,
                None,
                conditions,
                SamplerSettings(schedule=schedule, guidance=guidance),
                on_step=lambda state: bar.update(),
                cancel=cancel,
            )
        check_cancelled(cancel)
        return tokens

    def _features(
        self, prompt: str | None, embeds: torch.Tensor | None, pooled: torch.Tensor | None, length: int
    ) -> TextFeatures:
        if embeds is not None and pooled is not None:
            return TextFeatures(embeds=embeds, pooled=pooled)
        if embeds is not None or pooled is not None:
            raise InputError("FLUX takes prompt_embeds and pooled_prompt_embeds together; give both or neither.")
        if self.text_encoder is None or self.text_encoder_2 is None:
            raise InputError("This pipeline has no text encoders; give prompt_embeds and pooled_prompt_embeds.")
        if prompt is None:
            raise InputError("Say what to make: give a prompt, or prompt_embeds and pooled_prompt_embeds.")
        parts: tuple[Any, ...] = (self.tokenizer, self.text_encoder, self.tokenizer_2, self.text_encoder_2)
        return FluxTextEncoder(*parts, max_tokens=length).encode([prompt])
