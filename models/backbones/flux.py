"""Adapter of diffusers' ``FluxTransformer2DModel``: FLUX.1 dev, schnell and Depth, and what was trained from them.

The stock class is used as it is: positions go in as ids, the frame embedding is hooked in for the time of a call. Token at
(layer, row, column) has exactly that id, uncentred and global, so a cropped frame keeps its place (ART, arXiv 2502.18364,
section 3.2); text has id 0, a layer's own prompt its layer's. With one frame at index 0 and no frame embedding the result
is bit-identical to what FluxPipeline asks for. It knows tokens and layouts; not schedules, prompts' words or pixels.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..attention import check_masks
from ..frame_embedding import AddedEmbedding
from ..layout import Layout
from ..text import TextFeatures
from .adapter import Adapter
from .base import Capabilities

PATCH = 2  # FLUX packs 2 x 2 latents outside of the transformer; its own patch_size is 1


class FluxBackbone(Adapter):
    """``guidance``: what a guidance-distilled transformer (dev) is told; one without (schnell) is told nothing. True
    guidance with two branches is the sampler's and goes with either.

    A transformer with twice as many channels in as out (Depth, Canny) takes its one clean frame on the channels, not in the
    sequence. Raises InputError when the frame embedding's width is not the transformer's.
    """

    def __init__(
        self, transformer: Any, frame_embedding: AddedEmbedding | None = None, *, guidance: float = 3.5
    ) -> None:
        super().__init__(transformer, frame_embedding, PATCH)
        self.guidance = guidance
        self._ids: dict[tuple[Layout, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def capabilities(self) -> Capabilities:
        config = self.transformer.config
        return Capabilities(
            latent_channels=(config.out_channels or config.in_channels) // PATCH**2,
            text_dim=config.joint_attention_dim,
            hidden_size=config.num_attention_heads * config.attention_head_dim,
            num_blocks=config.num_layers + config.num_single_layers,
            layer_axis=False,
            additional_condition=False,
            clean_at_zero=False,
            distilled_guidance=bool(config.guidance_embeds),
            max_position=sys.maxsize,  # rotary angles are computed, not looked up
        )

    @property
    def blocks(self) -> nn.ModuleList:
        return nn.ModuleList(
            [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]
        )

    @property
    def patch_embedding(self) -> nn.Module:
        return self.transformer.x_embedder

    @property
    def channel_condition(self) -> bool:
        """Whether the clean frame goes in on the channels."""
        config = self.transformer.config
        return config.in_channels == 2 * (config.out_channels or config.in_channels)

    def ids(self, layout: Layout, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
        """(image (S, 3), text (T, 3)) float32 ids of a layout; the last eight layouts are remembered. FluxPipeline rounds
        them to the network's dtype, which is the same up to 256 tokens a side and wrong beyond."""
        key = (layout, torch.device(device))
        if key not in self._ids:
            text = torch.zeros(layout.num_text_tokens, 3, dtype=torch.int64)
            for span, where in zip(layout.text, layout.text_slices, strict=True):
                text[where, 0] = span.index or 0
            self._ids[key] = layout.positions().float().to(device), text.float().to(device)
            while len(self._ids) > 8:
                del self._ids[next(iter(self._ids))]
        return self._ids[key]

    def velocity(
        self,
        tokens: torch.Tensor,
        sigma: torch.Tensor,
        text: TextFeatures,
        layout: Layout,
        *,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """Predicted eps - x0 of the noisy frames, in the dtype of ``tokens``.

        tokens: (B, layout.num_image_tokens, C) packed latents, noisy then clean. sigma: (B,) float in 0..1. ``text``
        needs its pooled embedding; a mask hides text tokens from everything. Gradients flow.
        """
        self._check(tokens, sigma, text, layout)
        dtype = self.dtype
        full = layout.with_text(text.spans)
        noisy = layout.num_noisy_tokens
        image_ids, text_ids = self.ids(full, tokens.device)
        hidden = tokens.to(dtype)
        if self.channel_condition:
            hidden, image_ids = torch.cat([hidden[:, :noisy], hidden[:, noisy:]], dim=2), image_ids[:noisy]
            full = Layout(height=full.height, width=full.width, frames=full.noisy_frames, text=full.text)
        kwargs = dict(attention_kwargs or {})
        if text.mask is not None:
            check_masks(self.transformer, tokens.device)
            seen = torch.ones(len(tokens), hidden.shape[1], dtype=torch.bool, device=tokens.device)
            kwargs["attention_mask"] = torch.cat([text.mask.to(tokens.device), seen], 1)[:, None, None]
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full((len(tokens),), self.guidance, device=tokens.device)
        assert text.pooled is not None
        with self.installed(full):
            output = self.transformer(
                hidden_states=hidden,
                encoder_hidden_states=text.embeds.to(dtype),
                pooled_projections=text.pooled.to(dtype),
                timestep=sigma.to(dtype),
                img_ids=image_ids,
                txt_ids=text_ids,
                guidance=guidance,
                joint_attention_kwargs=kwargs,
                return_dict=False,
            )[0]
        return output[:, :noisy].to(tokens.dtype)

    def _check(self, tokens: torch.Tensor, sigma: torch.Tensor, text: TextFeatures, layout: Layout) -> None:
        config = self.transformer.config
        width = config.in_channels // (2 if self.channel_condition else 1)
        self.check_batch(tokens, sigma, text, layout, width)
        pooled = None if text.pooled is None else text.pooled.shape[1]
        self.check_width("pooled prompt", pooled, config.pooled_projection_dim)
        if self.channel_condition and 2 * layout.num_noisy_tokens != layout.num_image_tokens:
            raise InputError(
                "This transformer (Depth, Canny) sees its condition on the channels: give it layouts with one clean frame "
                "for each noisy one, of the same size."
            )
