"""LayerDiffuse's decoder (arXiv 2402.17113, section 3.1): from an RGB picture and its latent to RGBA.

    (C, A) = g(D(x_a), x_a),   D the frozen VAE decoder, g: this U-Net

Seven levels of residual blocks, attention in the three coarsest and in the middle, the latent joining where its size
does. No time embedding. Differs from a diffusion U-Net only in that; names and shapes are those of the published files.
Knows pictures and latents; not the order of channels, nor how often it is run.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_blocks import (
    AttnDownBlock2D,
    AttnUpBlock2D,
    DownBlock2D,
    UNetMidBlock2D,
    UpBlock2D,
)
from torch import nn

LATENT_LEVEL = 3  # the latent is 8 times smaller than the picture
EPS = 1e-5


class TransparentUNet(ModelMixin, ConfigMixin):
    """(B, 3, H, W) pictures and (B, latent_channels, H/8, W/8) latents -> (B, 4, H, W), all about [0, 1].

    H and W are multiples of 2 ** (levels - 1), 64 as published. ``attention_levels`` counts from the coarsest. The
    latent's convolution starts at zero.
    """

    config_name = "config.json"
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        widths: tuple[int, ...] = (32, 32, 64, 128, 256, 512, 512),
        attention_levels: int = 3,
        blocks_per_level: int = 2,
        head_dim: int = 8,
        groups: int = 4,
    ) -> None:
        super().__init__()
        levels = len(widths)
        self.multiple = 2 ** (levels - 1)
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.latent_conv_in = nn.Conv2d(latent_channels, widths[LATENT_LEVEL - 1], 1)
        nn.init.zeros_(self.latent_conv_in.weight)
        nn.init.zeros_(self.latent_conv_in.bias)
        common = {"temb_channels": None, "resnet_eps": EPS, "resnet_groups": groups}
        attentive = {"attention_head_dim": head_dim}
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            last = level == levels - 1
            settings = {
                **common,
                "in_channels": widths[max(level - 1, 0)],
                "out_channels": width,
                "num_layers": blocks_per_level,
            }
            if level >= levels - attention_levels:
                kind = None if last else "conv"
                block = AttnDownBlock2D(**settings, **attentive, downsample_padding=1, downsample_type=kind)
            else:
                block = DownBlock2D(**settings, add_downsample=not last, downsample_padding=1)
            self.down_blocks.append(block)
        self.mid_block = UNetMidBlock2D(
            in_channels=widths[-1], **common, **attentive, resnet_time_scale_shift="default"
        )
        self.up_blocks = nn.ModuleList()
        for level in reversed(range(levels)):
            settings = {
                **common,
                "in_channels": widths[max(level - 1, 0)],
                "prev_output_channel": widths[min(level + 1, levels - 1)],
                "out_channels": widths[level],
                "num_layers": blocks_per_level + 1,
            }
            if level >= levels - attention_levels:
                kind = "conv" if level else None
                block = AttnUpBlock2D(**settings, **attentive, upsample_type=kind)
            else:
                block = UpBlock2D(**settings, add_upsample=level > 0)
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=EPS)
        self.conv_out = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, picture: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        hidden = self.conv_in(picture)
        kept = [hidden]
        for level, block in enumerate(self.down_blocks):
            if level == LATENT_LEVEL:
                hidden = hidden + self.latent_conv_in(latent)
            hidden, outputs = block(hidden)
            kept += outputs
        hidden = self.mid_block(hidden)
        for block in self.up_blocks:
            count = len(block.resnets)
            hidden = block(hidden, tuple(kept[-count:]))
            del kept[-count:]
        return self.conv_out(nn.functional.silu(self.conv_norm_out(hidden)))
