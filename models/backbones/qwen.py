"""Adapter of diffusers' ``QwenImageTransformer2DModel``, the network of Qwen-Image, its Edit and its Layered models.

The stock class is used as it is: positions and the frame embedding are hooked in for the time of a call. With a
standard layout and no (or a zero) frame embedding the result is bit-identical to the stock model. It knows tokens and
layouts; not schedules, guidance, prompts' words or pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..attention import check_masks
from ..frame_embedding import FrameEmbedding
from ..layout import Layout
from ..text import TextFeatures
from .adapter import Adapter
from .base import Capabilities
from .qwen_rope import Frequencies, LayoutFrequencies

_ABSENT = object()


class QwenBackbone(Adapter):
    """One adapter per transformer. ``frequencies`` are what the attention processors get for a layout, the stock complex
    ones by default.

    Raises InputError when the frame embedding's width is not the transformer's.
    """

    def __init__(
        self,
        transformer: Any,
        frame_embedding: FrameEmbedding | None = None,
        *,
        frequencies: LayoutFrequencies | None = None,
    ) -> None:
        if frequencies is None:
            layered = bool(transformer.config.use_layer3d_rope)
            frequencies = LayoutFrequencies(transformer.pos_embed, layer_axis=layered)
        self._frequencies = frequencies
        super().__init__(transformer, frame_embedding, int(transformer.config.patch_size))

    @property
    def capabilities(self) -> Capabilities:
        config = self.transformer.config
        return Capabilities(
            latent_channels=config.in_channels // self.patch_size**2,
            text_dim=config.joint_attention_dim,
            hidden_size=config.num_attention_heads * config.attention_head_dim,
            num_blocks=config.num_layers,
            layer_axis=bool(config.use_layer3d_rope),
            additional_condition=bool(config.use_additional_t_cond),
            clean_at_zero=bool(config.zero_cond_t),
            distilled_guidance=bool(config.guidance_embeds),
            max_position=self._frequencies.max_position,
        )

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.transformer_blocks

    @property
    def patch_embedding(self) -> nn.Module:
        return self.transformer.img_in

    def frequencies(self, layout: Layout, device: torch.device | str = "cpu") -> Frequencies:
        """Rotary frequencies (image (S, D/2), text (T, D/2)) complex64 of a layout, from a bounded cache."""
        return self._frequencies(layout, device)

    def velocity(
        self,
        tokens: torch.Tensor,
        sigma: torch.Tensor,
        text: TextFeatures,
        layout: Layout,
        *,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """Predicted eps - x0 of the noisy frames.

        tokens: (B, layout.num_image_tokens, C) packed latents, noisy then clean. sigma: (B,) float in 0..1. The spans
        of ``text`` replace those of ``layout``. Returns (B, layout.num_noisy_tokens, C) in the dtype of ``tokens``.
        ``attention_kwargs`` goes to the attention processors ("scale": LoRA strength). Gradients flow.
        """
        config = self.transformer.config
        batch = self.check_batch(tokens, sigma, text, layout, config.in_channels)
        if text.mask is not None:
            check_masks(self.transformer, tokens.device)
        clean = layout.num_image_tokens - layout.num_noisy_tokens
        extra = None
        if config.use_additional_t_cond:
            # zero_cond_t doubles the timesteps inside the network, and the extra condition must follow.
            extra = torch.zeros(
                batch * (2 if config.zero_cond_t else 1), dtype=torch.long, device=tokens.device
            )
        dtype = self.dtype
        with self.installed(layout.with_text(text.spans)):
            output = self.transformer(
                hidden_states=tokens.to(dtype),
                encoder_hidden_states=text.embeds.to(dtype),
                encoder_hidden_states_mask=text.mask,
                timestep=sigma.to(dtype),
                # Read only by zero_cond_t: the first entry is what is sampled, the others are given.
                img_shapes=[[(1, 1, layout.num_noisy_tokens), (1, 1, clean)]] * batch,
                attention_kwargs=attention_kwargs,
                additional_t_cond=extra,
                return_dict=False,
            )[0]
        return output[:, layout.noisy_slice].to(tokens.dtype)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """The positions of the layout in the place of the stock ones."""
        module = self.transformer.pos_embed
        found = module.__dict__.get("forward", _ABSENT)

        def forward(img_shapes: Any = None, max_txt_seq_len: Any = None, device: Any = None) -> Frequencies:
            return self._frequencies(self._layouts[-1], device)

        # Replacing the instance's forward, not adding a hook, keeps the stock one (and its endless caches) from running.
        module.forward = forward
        try:
            yield
        finally:
            if found is _ABSENT:
                del module.forward
            else:
                module.forward = found
