"""The arguments that all pipelines take, with their defaults, and what they come to for one model.

Knows numbers, callbacks and prompts as given; no images and no networks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..controls.base import Control
from ..errors import InputError
from .given import LayersLike
from .guidance import Guidance
from .images import ImageLike
from .outputs import check_output_type
from .progress import Progress
from .prompts import LayerPromptsArgument
from .step import Accelerator

CALLBACK_TENSORS = ("latents", "prompt_embeds", "negative_prompt_embeds", "image_latents")


@dataclass(frozen=True, kw_only=True, eq=False)
class CallArguments:
    """Keyword arguments that every pipeline takes."""

    negative_prompt: str | Sequence[str | None] | None = None
    """What to stay away from; blank by default. Read only while guidance is on."""
    layer_prompts: LayerPromptsArgument = None
    """One prompt or None per layer, bottom to top; or one such list per input."""
    boxes: Sequence[Sequence[int] | None] | None = None
    """A pixel box (x0, y0, x1, y1) or None per layer, bottom to top; a layer is empty outside its box."""
    num_inference_steps: int | None = None
    """Steps; the model's own default."""
    true_cfg_scale: float | None = None
    """Guidance; the model's own default. 1 runs no unconditional branch."""
    cfg_normalize: bool = True
    """Keep the length that each token has without guidance."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Guide only while low <= sigma <= high."""
    batch_guidance: bool = False
    """Both branches in one call of the network: the same result, twice the memory."""
    sigmas: Sequence[float] | None = None
    """Own noise levels in (0, 1], falling, before the model's shift; replaces the steps."""
    seed: int | Sequence[int] | None = None
    """One number that every input uses, or one per input; further results of an input count on from it."""
    layer_seeds: Sequence[int | None] | None = None
    """A seed of its own for each layer, bottom to top, or None where the layer keeps the common draw."""
    generator: torch.Generator | Sequence[torch.Generator] | None = None
    """Instead of a seed: one generator, drawn from in order, or one per result."""
    latents: torch.Tensor | None = None
    """Instead of both: the initial noise (B, layers + 1, C, h, w), composite first where the task has one, given
    layers included, or packed as in diffusers."""
    num_images_per_prompt: int = 1
    """Results per input."""
    init_layers: LayersLike | Sequence[LayersLike] | None = None
    """Layers to start from: a document, or one picture per layer bottom to top; or a list of those per
    input."""
    strength: float = 1.0
    """How much to change ``init_layers``: the share of the steps that is run, in (0, 1]."""
    mask: ImageLike | Sequence[ImageLike] | None = None
    """Where ``init_layers`` may change: white; elsewhere they are kept. One for all inputs or one each."""
    prompt_embeds: torch.Tensor | None = None
    """Encoded prompts (B, T, D) instead of ``prompt``; nothing is captioned then."""
    prompt_embeds_mask: torch.Tensor | None = None
    """(B, T), nonzero where a token counts."""
    negative_prompt_embeds: torch.Tensor | None = None
    """Encoded negative prompts (B or 1, T, D)."""
    negative_prompt_embeds_mask: torch.Tensor | None = None
    """(B or 1, T), nonzero where a token counts."""
    max_sequence_length: int | None = None
    """Longest prompt in tokens (Qwen: 512 by default, 1024 at most)."""
    output_type: str = "document"
    """"document", "pil", "np", "pt" or "latent"."""
    return_dict: bool = True
    """False returns (images,)."""
    controls: Sequence[Control] = ()
    """Steering methods, applied in this order."""
    accelerators: Sequence[Accelerator] = ()
    """Policies that decide what is computed, the first one innermost."""
    on_progress: Callable[[Progress], None] | None = None
    """Called with every Progress; replaces the progress bar."""
    cancel: threading.Event | None = None
    """Set it to stop within one transformer block; the call raises Cancelled."""
    callback_on_step_end: Callable[..., Any] | None = None
    """diffusers' callback (pipe, step, timestep, tensors) -> dict; it may replace the latents."""
    callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",)
    """Which of latents, prompt_embeds, negative_prompt_embeds and image_latents the callback is given."""

    def __post_init__(self) -> None:
        check_output_type(self.output_type)
        unknown = [name for name in self.callback_on_step_end_tensor_inputs if name not in CALLBACK_TENSORS]
        if unknown:
            raise InputError(
                f"callback_on_step_end can be given {', '.join(CALLBACK_TENSORS)}; not {unknown}."
            )
        if self.num_images_per_prompt < 1:
            raise InputError(f"num_images_per_prompt must be at least 1; got {self.num_images_per_prompt}.")
        if not 0.0 < self.strength <= 1.0:
            raise InputError(f"strength must lie above 0 and at most 1; got {self.strength}.")
        if self.init_layers is None and (self.strength < 1.0 or self.mask is not None):
            raise InputError("strength and mask change layers that exist; give them as init_layers.")
        if self.init_layers is not None and self.strength == 1.0 and self.mask is None:
            raise InputError("init_layers have no effect at strength 1 without a mask; lower the strength.")
        if self.max_sequence_length is not None and not 1 <= self.max_sequence_length <= 1024:
            raise InputError(
                f"max_sequence_length must lie between 1 and 1024; got {self.max_sequence_length}."
            )
        if self.latents is not None and (self.seed is not None or self.generator is not None):
            raise InputError("Give either latents or a seed or generator; latents are the noise itself.")

    def refuse(self, what: str, **reasons: str) -> None:
        """Raises InputError when one of the named arguments is given to a task that has no use for it."""
        for name, reason in reasons.items():
            if getattr(self, name) is not None:
                raise InputError(f"{name} cannot be given for {what}: {reason}.")

    def guidance(self, default_scale: float) -> Guidance:
        """The guidance of the call; ``default_scale`` is the model's own."""
        return Guidance(
            scale=default_scale if self.true_cfg_scale is None else self.true_cfg_scale,
            renormalise=self.cfg_normalize,
            interval=self.guidance_interval,
            batched=self.batch_guidance,
        )


def check_layers(layers: int, most: int) -> None:
    """Raises InputError unless 1 <= layers <= most; ``layers`` counts every layer, the background
    included."""
    if isinstance(layers, bool) or not isinstance(layers, int):
        raise InputError(f"The number of layers must be a whole number; got {layers!r}.")
    if not 1 <= layers <= most:
        raise InputError(
            f"The number of layers must lie between 1 and {most}, the background included; got {layers}."
        )


def recorded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as plain JSON values, without those that are None."""
    return {name: _plain(value) for name, value in arguments.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
