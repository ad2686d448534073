"""Joint attention for training small models: the stock processor's values by other means, one for CPUs, one for GPUs.

torch's fused CPU attention runs bf16 at a fifth of the speed of the two matrix products it stands for; at a few hundred
tokens the score matrix is small, so :class:`MatmulAttention` simply makes it. On a GPU the flash kernel is far the fastest
and takes no mask; :class:`FlashAttention` hides padding through eight more channels per head instead.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = -1e4
"""Added to the score of a key that must not be seen, before the softmax: its weight is exactly 0 in float32."""


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """(B, S, heads, D) turned in the planes of neighbouring channels; turns: (S, D/2, 2) cosines and sines, float32."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = turns[:, None].unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


class _JointAttention:
    """Queries, keys and values of both streams as the stock processor makes them, text first."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        if attention_mask is not None or image_rotary_emb is None:
            raise ValueError("attention for training takes rotary positions and no attention mask of its own")
        image, text = hidden_states, encoder_hidden_states
        turns = torch.cat([image_rotary_emb[1], image_rotary_emb[0]])
        turns = torch.view_as_real(turns) if turns.is_complex() else turns
        heads = (attn.heads, attn.inner_dim // attn.heads)

        def joint(on_text: nn.Module, on_image: nn.Module) -> tuple[Tensor, Tensor]:
            return on_text(text).unflatten(-1, heads), on_image(image).unflatten(-1, heads)

        a, b = joint(attn.add_q_proj, attn.to_q)
        query = rotated(torch.cat([attn.norm_added_q(a), attn.norm_q(b)], 1), turns)
        a, b = joint(attn.add_k_proj, attn.to_k)
        key = rotated(torch.cat([attn.norm_added_k(a), attn.norm_k(b)], 1), turns)
        value = torch.cat(joint(attn.add_v_proj, attn.to_v), 1)
        bias = None
        if encoder_hidden_states_mask is not None:
            bias = value.new_zeros(key.shape[:2])
            bias[:, : text.shape[1]].masked_fill_(~encoder_hidden_states_mask.bool(), HIDDEN)
        mixed = self.attend(query.to(value.dtype), key.to(value.dtype), value, bias).flatten(2)
        return attn.to_out[0](mixed[:, text.shape[1] :]), attn.to_add_out(mixed[:, : text.shape[1]])

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """(B, S, heads, D) each; bias (B, S) is added to the scores of every key. Returns (B, S, heads, D)."""
        raise NotImplementedError


class MatmulAttention(_JointAttention):
    """By plain matrix products."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
        if bias is not None:
            scores = scores + bias[:, None, None]
        return torch.matmul(scores.softmax(-1).to(value.dtype), value).transpose(1, 2)


class FlashAttention(_JointAttention):
    """By torch's fused kernel without a mask: where one is needed, every query gets a channel of 1 and every key one that
    holds its bias."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        width = query.shape[-1]
        if bias is not None:
            one, hidden = (
                torch.ones_like(query[..., :1]),
                bias[:, :, None, None].expand(-1, -1, query.shape[2], 1),
            )
            query, key = (
                F.pad(torch.cat([query, one], -1), (0, 7)),
                F.pad(torch.cat([key, hidden], -1), (0, 7)),
            )
            value = F.pad(value, (0, 8))
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, scale=width**-0.5)
        return mixed.transpose(1, 2)[..., :width]
