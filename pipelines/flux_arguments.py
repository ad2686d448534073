"""The arguments that the pipelines on FLUX share. Knows numbers and embeddings as given; no images and no networks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import InputError
from ..models.text.flux import MAX_TOKENS
from .outputs import check_output_type
from .progress import Progress

Spoken = tuple[str | None, torch.Tensor | None, torch.Tensor | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class FluxArguments:
    """Keyword arguments that every pipeline on FLUX takes."""

    negative_prompt: str = ""
    """What to stay away from; read only while true guidance is on."""
    height: int | None = None
    """Pixels, a multiple of 16; 1024, or as the aspect of a picture to start from asks."""
    width: int | None = None
    """Pixels, a multiple of 16; as ``height``."""
    num_inference_steps: int | None = None
    """Steps; what the pipeline's method was published with, 4 for schnell."""
    true_cfg_scale: float | None = None
    """Guidance with a second, negative branch; 1 runs none. By default what the method was published with."""
    guidance_scale: float | None = None
    """What a guidance-distilled transformer (dev) is told; schnell cannot be told."""
    batch_guidance: bool = False
    """Both branches in one call of the network: the same result, twice the memory."""
    seed: int | None = None
    """One number; the document records it."""
    generator: torch.Generator | None = None
    """Instead of a seed."""
    latents: torch.Tensor | None = None
    """Instead of both: the initial noise (C, h, w) of one layer, or (layers + 1, C, h, w), the whole picture first;
    the document then records no seed."""
    prompt_embeds: torch.Tensor | None = None
    """T5's features (1, T, D) instead of a prompt, with ``pooled_prompt_embeds``."""
    pooled_prompt_embeds: torch.Tensor | None = None
    """CLIP's (1, P)."""
    negative_prompt_embeds: torch.Tensor | None = None
    """(1, T, D) instead of the negative prompt, with ``negative_pooled_prompt_embeds``."""
    negative_pooled_prompt_embeds: torch.Tensor | None = None
    """(1, P)."""
    max_sequence_length: int | None = None
    """T5's tokens, at most 512; by default 512, for schnell 256."""
    output_type: str = "document"
    """"document", "pil", "np", "pt" or "latent"."""
    return_dict: bool = True
    """False returns (images,)."""
    on_progress: Callable[[Progress], None] | None = None
    """Called with every Progress; replaces the progress bar."""
    cancel: threading.Event | None = None
    """Set it to stop within one transformer block; the call raises Cancelled."""

    def __post_init__(self) -> None:
        check_output_type(self.output_type)
        if self.latents is not None and (self.seed is not None or self.generator is not None):
            raise InputError("Give either latents or a seed or generator; latents are the noise itself.")
        if self.max_sequence_length is not None and not 1 <= self.max_sequence_length <= MAX_TOKENS:
            raise InputError(
                f"max_sequence_length must lie between 1 and {MAX_TOKENS}; got {self.max_sequence_length}."
            )

    def negative(self) -> Spoken:
        """(words, embeddings, pooled embeddings) of the negative branch."""
        return self.negative_prompt, self.negative_prompt_embeds, self.negative_pooled_prompt_embeds

    def positive(self, prompt: str | None) -> Spoken:
        """The same of the prompt."""
        return prompt, self.prompt_embeds, self.pooled_prompt_embeds

    def report(self, progress: Progress) -> None:
        """Tells whoever watches."""
        if self.on_progress is not None:
            self.on_progress(progress)
