"""LayerDiffuse's offset encoder (arXiv 2402.17113, section 3.1, in the lighter form that was published).

    x_a = mu(I) + s(I) * k * f(A, P),   f: this network, k = 300 (forms.OFFSET_SCALE)

with mu and s the mean and standard deviation of the frozen VAE for the picture I on grey, P the picture with its colour
carried on under alpha 0, A its alpha. Differs from the paper: nine convolutions, not an encoder as heavy as the VAE's.
Names and shapes of the published files. Knows four channels in, latents out; not their order, nor the VAE.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn


class LatentOffsetEncoder(ModelMixin, ConfigMixin):
    """(B, 4, H, W) in [0, 1] -> (B, latent_channels, H/8, W/8). The last convolution starts at zero: no offset."""

    config_name = "config.json"

    @register_to_config
    def __init__(self, latent_channels: int = 16, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        # Per level: one convolution that enters it (halving from the second level on), one that stays.
        layers: list[nn.Module] = []
        before = 4
        for level, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, padding=1, stride=2 if level else 1), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
            before = width
        last = nn.Conv2d(before, latent_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.blocks = nn.Sequential(*layers, last)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.blocks(pixels)
