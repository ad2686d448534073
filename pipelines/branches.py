"""Putting the text of two branches into one batch, exactly. Knows text features only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from ..errors import InputError
from ..models.layout import TextSpan
from ..models.text import TextFeatures


def join_branches(first: TextFeatures, second: TextFeatures) -> TextFeatures:
    """Rows of ``first``, then rows of ``second``: (B1 + B2, T, D).

    A shorter scene prompt is padded at its end and masked, which moves no token's position, so every row
    predicts what it would alone. Raises InputError when the spans differ in another way: padding inside would
    move later spans.
    """
    if first.spans == second.spans:
        spans = first.spans
    elif len(first.spans) == len(second.spans) == 1:
        spans = (TextSpan(length=max(first.num_tokens, second.num_tokens)),)
    else:
        raise InputError(
            "Guidance cannot be batched when only one branch has layer prompts; run the branches one after another."
        )
    first, second = (_padded(text, sum(span.length for span in spans), spans) for text in (first, second))
    embeds = torch.cat([first.embeds, second.embeds.to(first.embeds.dtype)])
    pooled = None
    if first.pooled is not None and second.pooled is not None:
        pooled = torch.cat([first.pooled, second.pooled.to(first.pooled.dtype)])
    if first.mask is None and second.mask is None:
        return TextFeatures(embeds=embeds, spans=spans, pooled=pooled)
    mask = torch.cat([_mask(first), _mask(second)])
    return TextFeatures(embeds=embeds, mask=mask, spans=spans, pooled=pooled)


def _mask(text: TextFeatures) -> torch.Tensor:
    if text.mask is not None:
        return text.mask
    return torch.ones(text.embeds.shape[:2], dtype=torch.bool, device=text.embeds.device)


def _padded(text: TextFeatures, length: int, spans: tuple[TextSpan, ...]) -> TextFeatures:
    extra = length - text.num_tokens
    if not extra:
        return text
    return replace(
        text,
        embeds=functional.pad(text.embeds, (0, 0, 0, extra)),
        mask=functional.pad(_mask(text), (0, extra), value=False),
        spans=spans,
    )
