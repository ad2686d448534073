"""Joint attention by plain matrix products, for training small models on a CPU.

torch's fused CPU attention runs bf16 at a fifth of the speed of the two matrix products it stands for; at a few hundred
tokens the score matrix is small, so it is simply made. Same values as the stock processor within bf16 rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MatmulAttention:
    """Attention processor for QwenImageTransformer2DModel's blocks: text first, then image tokens."""

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
            raise ValueError("MatmulAttention takes rotary positions and no attention mask of its own")
        image, text = hidden_states, encoder_hidden_states
        split = text.shape[1]
        rotary = torch.cat([image_rotary_emb[1], image_rotary_emb[0]]).unsqueeze(1)
        heads = (attn.heads, attn.inner_dim // attn.heads)

        def joint(
            on_text: nn.Module, on_image: nn.Module, text_norm: nn.Module | None, image_norm: nn.Module | None
        ) -> Tensor:
            a, b = on_text(text).unflatten(-1, heads), on_image(image).unflatten(-1, heads)
            if text_norm is None or image_norm is None:
                return torch.cat([a, b], 1).transpose(1, 2)
            both = torch.cat([text_norm(a), image_norm(b)], 1)
            turned = torch.view_as_real(torch.view_as_complex(both.float().unflatten(-1, (-1, 2))) * rotary)
            return turned.flatten(3).to(b.dtype).transpose(1, 2)

        query = joint(attn.add_q_proj, attn.to_q, attn.norm_added_q, attn.norm_q) * heads[1] ** -0.5
        key = joint(attn.add_k_proj, attn.to_k, attn.norm_added_k, attn.norm_k)
        value = joint(attn.add_v_proj, attn.to_v, None, None)
        scores = torch.matmul(query, key.transpose(-1, -2))
        if encoder_hidden_states_mask is not None:
            hidden = torch.zeros(len(text), 1, 1, scores.shape[-1], dtype=scores.dtype, device=scores.device)
            hidden[..., :split].masked_fill_(~encoder_hidden_states_mask.bool()[:, None, None], -1e4)
            scores = scores + hidden
        out = torch.matmul(scores.softmax(-1).to(value.dtype), value).transpose(1, 2).flatten(2)
        return attn.to_out[0](out[:, split:]), attn.to_add_out(out[:, :split])
