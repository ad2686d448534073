"""What a pipeline, a control or an accelerator may ask of a transformer: the ``Backbone`` protocol.

One adapter per diffusers transformer class implements it. Nothing here knows a particular network.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from ..frame_embedding import AddedEmbedding
from ..layout import Layout
from ..text import TextFeatures


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backbone can be asked for; pipelines refuse early what it cannot do."""

    latent_channels: int
    """Channels of the codec's latents (before patches are packed)."""
    text_dim: int
    """Width of the prompt embeddings it takes."""
    hidden_size: int
    """Width of its image tokens inside, and of a frame embedding for it."""
    num_blocks: int
    layer_axis: bool
    """Trained with the layer axis in its rotary embedding; without it, layers are told apart by their order only."""
    additional_condition: bool
    """Has the extra (RGB or RGBA) timestep condition of Qwen-Image-Layered; 0 is always given."""
    clean_at_zero: bool
    """Clean frames are modulated with timestep 0 (`zero_cond_t`)."""
    distilled_guidance: bool
    """Takes guidance as a number; none of the layered checkpoints does."""
    max_position: int
    """Rotary positions run from -max_position to max_position - 1 on every axis."""


@runtime_checkable
class Backbone(Protocol):
    """A velocity field over the tokens of a layout."""

    transformer: nn.Module
    frame_embedding: AddedEmbedding | None
    patch_size: int

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks in order of execution."""
        ...

    def installed(self, layout: Layout) -> AbstractContextManager[None]:
        """While open, the transformer's positions and frame embedding are those of ``layout``; then as found."""
        ...

    def cache_context(self, name: str, **state: Any) -> AbstractContextManager[None]:
        """Opens the transformer's context for diffusers' caches, one name per guidance branch."""
        ...

    def expect_times(self, times: torch.Tensor) -> None:
        """Told before a run which sigmas (n,) it will visit, in the network's dtype; a modulation table plans by it."""
        ...

    def velocity(
        self, tokens: torch.Tensor, sigma: torch.Tensor, text: TextFeatures, layout: Layout
    ) -> torch.Tensor:
        """(B, S, C), (B,) in 0..1 -> (B, num_noisy_tokens, C): the predicted eps - x0, in the dtype of ``tokens``."""
        ...

    def pack(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, c, h, w) latents of one frame -> (B, (h/p)*(w/p), c*p*p) tokens, row by row."""
        ...

    def unpack(self, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The inverse of :meth:`pack`; ``height`` and ``width`` count tokens."""
        ...
