"""Flow matching on layouts: x_sigma = (1 - sigma) x0 + sigma eps, and the network predicts eps - x0.

Noise goes on the noisy frames only; the loss is the mean squared error over their tokens, weighted so that the many
fully transparent ones do not drown the rest. Noise levels are logit-normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.backbones.qwen import QwenBackbone
from ..models.layout import Layout
from ..models.text import TextFeatures
from .precision import mixed


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSettings:
    """Logit-normal noise levels, sigmoid(mean + spread * normal), of which a share ``uniform`` is drawn evenly instead."""

    mean: float = 0.3
    spread: float = 1.1
    uniform: float = 0.0


def pack_frames(backbone: QwenBackbone, latents: Tensor, layout: Layout) -> Tensor:
    """(B, F, C, h, w) latents of every frame -> (B, S, 4C) tokens in sequence order, cropped to the frames' boxes."""
    return torch.cat(
        [layout.crop(backbone.pack(latents[:, i]), frame) for i, frame in enumerate(layout.frames)], 1
    )


def pack_weights(weights: Tensor, layout: Layout) -> Tensor:
    """(B, noisy frames, h*w) -> (B, noisy tokens)."""
    noisy = [frame for frame in layout.frames if frame.noisy]
    return torch.cat([layout.crop(weights[:, i, :, None], frame) for i, frame in enumerate(noisy)], 1)[..., 0]


def flow_loss(
    backbone: QwenBackbone,
    tokens: Tensor,
    weights: Tensor,
    text: TextFeatures,
    layout: Layout,
    sigma: Tensor,
    noise: Tensor,
    *,
    clean_head: bool = False,
) -> Tensor:
    """Weighted velocity error, a scalar. tokens (B, S, C) clean; weights and noise over the noisy tokens; sigma (B,).

    ``clean_head``: the network's output is taken for x0, and (x_sigma - x0) / max(sigma, 0.05) for the velocity."""
    clean = tokens[:, layout.noisy_slice]
    level = sigma.view(-1, 1, 1)
    noised = torch.cat([(1 - level) * clean + level * noise, tokens[:, clean.shape[1] :]], 1)
    with mixed(tokens.device.type):
        velocity = backbone.velocity(noised, sigma, text, layout)
    if clean_head:
        velocity = (noised[:, : clean.shape[1]] - velocity.float()) / level.clamp_min(0.05)
    error = (velocity.float() - (noise - clean)).square().mean(-1)
    return (error * weights).sum() / weights.sum()


def draw_sigma(batch: int, settings: FlowSettings, device: torch.device) -> Tensor:
    """(B,) noise levels in (0, 1)."""
    levels = torch.sigmoid(settings.mean + settings.spread * torch.randn(batch, device=device))
    even = torch.rand(batch, device=device)
    return torch.where(torch.rand(batch, device=device) < settings.uniform, even, levels)
