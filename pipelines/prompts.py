"""Prompts of one call, however they were given, as text features per guidance branch.

Settles counts, blanks and repeats once. Knows text encoders only by their protocol; not images or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch

from ..errors import InputError
from ..models.text import TextEncoder, TextFeatures
from .prediction import COND, UNCOND

Item = TypeVar("Item")

BLANK = " "  # Qwen-Image's published negative prompt; the embedded encoder reads it as an empty prompt.

LayerPromptsArgument = Sequence[str | None] | Sequence[Sequence[str | None]] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """One row per input of a call.

    ``scene``: the prompts, blank where nothing is said. ``layers``: per row, the prompt of each layer or
    None, bottom to top, all rows equally long. ``features`` and ``negative_features`` replace encoding
    where the caller brought embeddings.
    """

    scene: tuple[str, ...]
    layers: tuple[tuple[str | None, ...], ...]
    negative: tuple[str, ...]
    features: TextFeatures | None = None
    negative_features: TextFeatures | None = None

    def spoken_layers(self, row: int) -> tuple[int, ...]:
        """Which layers have a prompt of their own; rows that differ here cannot share a batch exactly."""
        if self.features is not None:
            return ()
        return tuple(number for number, text in enumerate(self.layers[row], start=1) if text)

    def with_scene(self, scene: Sequence[str | None]) -> Prompts:
        """The same with other scene prompts (captions filled in)."""
        return replace(self, scene=tuple(text or "" for text in scene))

    def encoded(self, guided: bool) -> bool:
        """Whether the caller brought all features that a run needs, so that no encoder has to."""
        return self.features is not None and (not guided or self.negative_features is not None)

    def encode(
        self, encoder: TextEncoder | None, rows: Sequence[int], guided: bool
    ) -> dict[str, TextFeatures]:
        """Features of the given rows for each branch that the run needs."""
        conditions = {COND: self._branch(encoder, rows, self.scene, self.features, self.layers)}
        if guided:
            conditions[UNCOND] = self._branch(encoder, rows, self.negative, self.negative_features, None)
        return conditions

    def _branch(
        self,
        encoder: TextEncoder | None,
        rows: Sequence[int],
        texts: Sequence[str],
        features: TextFeatures | None,
        layers: Sequence[Sequence[str | None]] | None,
    ) -> TextFeatures:
        if features is not None:
            return features.select(list(rows))
        if encoder is None:
            raise InputError(
                "This pipeline has no text encoder; give prompt_embeds (and negative_prompt_embeds)."
            )
        spoken = [tuple(text or None for text in layers[row]) for row in rows] if layers is not None else None
        if spoken is not None and not any(any(row) for row in spoken):
            spoken = None
        return encoder.encode([texts[row] for row in rows], spoken)


def collect_prompts(
    *,
    rows: int,
    layers: int,
    prompt: str | Sequence[str | None] | None,
    negative_prompt: str | Sequence[str | None] | None,
    layer_prompts: LayerPromptsArgument,
    prompt_embeds: torch.Tensor | None,
    prompt_embeds_mask: torch.Tensor | None,
    negative_prompt_embeds: torch.Tensor | None,
    negative_prompt_embeds_mask: torch.Tensor | None,
    max_sequence_length: int | None,
) -> Prompts:
    """The prompts of a call with ``rows`` inputs; raises InputError for contradictions and counts that do
    not match."""
    if prompt is not None and prompt_embeds is not None:
        raise InputError("Give either prompt or prompt_embeds, not both.")
    if negative_prompt is not None and negative_prompt_embeds is not None:
        raise InputError("Give either negative_prompt or negative_prompt_embeds, not both.")
    if prompt_embeds is not None and layer_prompts is not None and any(layer_prompts):
        raise InputError(
            "layer_prompts need a text encoder run on the prompt; they cannot join prompt_embeds."
        )
    negative = _texts(negative_prompt, rows, "negative prompts")
    return Prompts(
        scene=tuple(text or "" for text in _texts(prompt, rows, "prompts")),
        layers=_layer_rows(layer_prompts, rows, layers),
        negative=tuple(BLANK if text is None or not text.strip() else text for text in negative),
        features=_features(prompt_embeds, prompt_embeds_mask, rows, max_sequence_length, "prompt_embeds"),
        negative_features=_features(
            negative_prompt_embeds,
            negative_prompt_embeds_mask,
            rows,
            max_sequence_length,
            "negative_prompt_embeds",
        ),
    )


def count_rows(prompt: str | Sequence[str | None] | None, prompt_embeds: torch.Tensor | None) -> int:
    """How many prompts a call has: the length of a list, the batch of embeddings, otherwise 1."""
    if prompt_embeds is not None:
        return int(prompt_embeds.shape[0])
    return 1 if prompt is None or isinstance(prompt, str) else len(prompt)


def repeated(items: Sequence[Item], rows: int, what: str) -> list[Item]:
    """``items`` once per row: as they are, or the only one for every row. Raises InputError for other
    counts."""
    if len(items) == rows:
        return list(items)
    if len(items) == 1:
        return list(items) * rows
    raise InputError(f"{len(items)} {what} were given with {rows} prompts; give one for all or one for each.")


def _texts(texts: str | Sequence[str | None] | None, rows: int, what: str) -> list[str | None]:
    if texts is None or isinstance(texts, str):
        return [texts] * rows
    if len(texts) != rows:
        raise InputError(
            f"{len(texts)} {what} were given for {rows} inputs; give one for all or one for each."
        )
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise InputError(f"Prompts are text; got {type(text).__name__} among the {what}.")
    return list(texts)


def _layer_rows(given: LayerPromptsArgument, rows: int, layers: int) -> tuple[tuple[str | None, ...], ...]:
    if given is None:
        return ((None,) * layers,) * rows
    if isinstance(given, str):
        raise InputError(
            "layer_prompts is a list with one prompt (or None) per layer, bottom to top, not one text."
        )
    one_for_all = all(text is None or isinstance(text, str) for text in given)
    per_row = cast("list[Sequence[str | None]]", [given] * rows if one_for_all else list(given))
    if len(per_row) != rows:
        raise InputError(f"Layer prompts were given for {len(per_row)} inputs, but there are {rows}.")
    result = []
    for texts in per_row:
        if len(texts) > layers:
            raise InputError(
                f"{len(texts)} layer prompts were given for {layers} layers; give at most one for each."
            )
        cleaned = tuple(text.strip() or None if text else None for text in texts)
        result.append((*cleaned, *(None,) * (layers - len(cleaned))))
    return tuple(result)


def _features(
    embeds: torch.Tensor | None, mask: torch.Tensor | None, rows: int, limit: int | None, what: str
) -> TextFeatures | None:
    if embeds is None:
        if mask is not None:
            raise InputError(f"{what}_mask was given without {what}.")
        return None
    if embeds.ndim != 3 or embeds.shape[0] not in (1, rows):
        raise InputError(f"{what} must have shape ({rows}, tokens, width); got {tuple(embeds.shape)}.")
    features = TextFeatures.from_embeds(embeds[:, :limit], None if mask is None else mask[:, :limit])
    return features if features.batch_size == rows else features.select([0] * rows)
