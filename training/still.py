"""Single-picture forward pass of AutoencoderKLQwenImage in 4-D channels-last tensors, for training.

A picture is a one-frame video: its causal convolutions see zeros in every temporal tap but the last. Running that tap
as a 2-D convolution gives the same values with a third of the work, and without the 5-D permutations the blocks do.
Parameters stay where they are, so gradients reach the 3-D kernels. Equality with the class's own forward is a test.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    AutoencoderKLQwenImage, QwenImageAttentionBlock, QwenImageResample, QwenImageResidualBlock,
)  # fmt: skip
from torch import Tensor, nn


def _conv(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Identity):
        return x
    kernel = layer.weight[:, :, -1]
    return F.conv2d(x, kernel, layer.bias, padding=(layer._padding[2], layer._padding[0]))


def _norm(layer: nn.Module, x: Tensor) -> Tensor:
    inverse = torch.rsqrt(x.float().pow(2).sum(1, keepdim=True).clamp_min(1e-24)) * layer.scale
    return x * inverse.to(x.dtype) * layer.gamma.view(1, -1, 1, 1)


def _residual(block: QwenImageResidualBlock, x: Tensor) -> Tensor:
    h = _conv(block.conv1, F.silu(_norm(block.norm1, x)))
    return _conv(block.conv2, F.silu(_norm(block.norm2, h))) + _conv(block.conv_shortcut, x)


def _attention(block: QwenImageAttentionBlock, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    q, k, v = block.to_qkv(_norm(block.norm, x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
    out = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).reshape(b, c, h, w)
    return x + block.proj(out)


def _resample(block: QwenImageResample, x: Tensor) -> Tensor:
    if block.mode.startswith("upsample"):
        return block.resample[1](F.interpolate(x, scale_factor=2.0, mode="nearest-exact"))
    return block.resample(x)


def _run(block: nn.Module, x: Tensor) -> Tensor:
    if isinstance(block, QwenImageResidualBlock):
        return _residual(block, x)
    if isinstance(block, QwenImageAttentionBlock):
        return _attention(block, x)
    return _resample(block, x)


def _middle(block: nn.Module, x: Tensor) -> Tensor:
    x = _residual(block.resnets[0], x)
    for attention, residual in zip(block.attentions, block.resnets[1:], strict=True):
        x = _residual(residual, _attention(attention, x))
    return x


def encode_moments(vae: AutoencoderKLQwenImage, pixels: Tensor) -> Tensor:
    """Mean and log-variance (B, 2 z_dim, H/8, W/8) of pixels (B, C, H, W) in [-1,1]."""
    encoder = vae.encoder
    x = _conv(encoder.conv_in, pixels.contiguous(memory_format=torch.channels_last))
    for block in encoder.down_blocks:
        x = _run(block, x)
    x = _conv(encoder.conv_out, F.silu(_norm(encoder.norm_out, _middle(encoder.mid_block, x))))
    return _conv(vae.quant_conv, x)


def decode_pixels(vae: AutoencoderKLQwenImage, latents: Tensor) -> Tensor:
    """Unclamped pixels (B, C, 8h, 8w) of raw latents (B, z_dim, h, w)."""
    decoder = vae.decoder
    x = _conv(decoder.conv_in, _conv(vae.post_quant_conv, latents.contiguous(memory_format=torch.channels_last)))
    x = _middle(decoder.mid_block, x)
    for up in decoder.up_blocks:
        for block in [*up.resnets, *(up.upsamplers or [])]:
            x = _run(block, x)
    return _conv(decoder.conv_out, F.silu(_norm(decoder.norm_out, x)))
