"""Encoded prompts as the backbones take them. Knows shapes, masks and spans; not tokenizers, not networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from ...errors import InputError
from ..layout import TextSpan

LayerPrompts = Sequence[Sequence[str | None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextFeatures:
    """``embeds`` (B, T, D) float; ``mask`` (B, T) bool, True where a token counts, or None when all do; ``spans`` that
    cover the T tokens in order; ``pooled`` (B, P), one vector per prompt, for models that take one (FLUX). Every row of a
    mask has at least one True."""

    embeds: torch.Tensor
    mask: torch.Tensor | None = None
    spans: tuple[TextSpan, ...] = ()
    pooled: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.embeds.ndim != 3:
            raise InputError(
                f"Prompt embeddings must be (batch, tokens, dim), not {tuple(self.embeds.shape)}."
            )
        batch, length = self.embeds.shape[:2]
        if not self.spans:
            object.__setattr__(self, "spans", (TextSpan(length=length),))
        if sum(span.length for span in self.spans) != length:
            raise InputError(
                f"The text spans {self.spans} do not cover the {length} tokens of the embeddings."
            )
        if self.pooled is not None and (self.pooled.ndim != 2 or len(self.pooled) != batch):
            raise InputError(
                f"Pooled prompt embeddings must be ({batch}, dim), not {tuple(self.pooled.shape)}."
            )
        if self.mask is not None:
            if tuple(self.mask.shape) != (batch, length):
                raise InputError(
                    f"The prompt mask is {tuple(self.mask.shape)} but the embeddings have {batch} x {length} tokens."
                )
            object.__setattr__(self, "mask", self.mask.bool())

    @classmethod
    def from_embeds(
        cls, embeds: torch.Tensor, mask: torch.Tensor | None = None, spans: Sequence[TextSpan] = ()
    ) -> TextFeatures:
        """Features from embeddings computed elsewhere; a mask that hides nothing is dropped, as attention is then
        free to use its fastest kernels. Raises InputError when a prompt is hidden entirely."""
        if mask is not None:
            mask = mask.bool()
            if not bool(mask.any(dim=1).all()):
                raise InputError(
                    "A prompt mask hides every token of a prompt; give at least one visible token."
                )
            if bool(mask.all()):
                mask = None
        return cls(embeds=embeds, mask=mask, spans=tuple(spans))

    @property
    def batch_size(self) -> int:
        return self.embeds.shape[0]

    @property
    def num_tokens(self) -> int:
        return self.embeds.shape[1]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TextFeatures:
        """The same features elsewhere; the mask stays bool."""
        mask = None if self.mask is None else self.mask.to(device=device)
        pooled = None if self.pooled is None else self.pooled.to(device=device, dtype=dtype)
        return replace(self, embeds=self.embeds.to(device=device, dtype=dtype), mask=mask, pooled=pooled)

    def repeat(self, times: int) -> TextFeatures:
        """Each prompt ``times`` times in a row, [p0, p0, p1, p1]: embeddings and mask in the same order."""
        mask = None if self.mask is None else self.mask.repeat_interleave(times, dim=0)
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(times, dim=0)
        return replace(self, embeds=self.embeds.repeat_interleave(times, dim=0), mask=mask, pooled=pooled)

    def select(self, rows: slice | Sequence[int]) -> TextFeatures:
        """The prompts at ``rows`` of the batch."""
        picked = rows if isinstance(rows, slice) else list(rows)
        mask, pooled = (None if one is None else one[picked] for one in (self.mask, self.pooled))
        return replace(self, embeds=self.embeds[picked], mask=mask, pooled=pooled)


@runtime_checkable
class TextEncoder(Protocol):
    """Turns prompts into features. Gradients flow unless the caller turns them off."""

    def encode(self, prompts: Sequence[str], layer_prompts: LayerPrompts | None = None) -> TextFeatures:
        """One row per prompt. ``layer_prompts[b][i]`` describes layer i+1 (bottom to top) of prompt b, None: nothing
        said. Raises InputError when the two lists do not match."""
        ...


def check_layer_prompts(prompts: Sequence[str], layer_prompts: LayerPrompts | None) -> list[list[str | None]]:
    """Layer prompts as one equally long list per prompt; [] each when none are given."""
    if isinstance(prompts, str):
        raise TypeError("encode() takes a list of prompts, not one string")
    if not prompts:
        raise InputError("At least one prompt is needed; give an empty prompt to say nothing.")
    if layer_prompts is None:
        return [[] for _ in prompts]
    rows = [list(row) for row in layer_prompts]
    if len(rows) != len(prompts):
        raise InputError(f"{len(prompts)} prompts were given, but layer prompts for {len(rows)}.")
    longest = max(len(row) for row in rows)
    return [row + [None] * (longest - len(row)) for row in rows]
