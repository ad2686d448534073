"""Single pictures through a causal video VAE at the price of a picture VAE, exactly.

``QwenImageCausalConv3d`` pads k-1 empty frames before its input. With one frame and an empty feature cache only the last
temporal tap meets data, so the 3-D convolution equals the 2-D convolution with that tap, and the time convolutions of
the resampling blocks do not run at all. Here every such convolution runs as 2-D, on the very same parameters: nothing
in the state dict changes, gradients reach the last tap, and videos keep working (only their first frame is short-cut).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import nn

_ABSENT = object()


@contextmanager
def still_convolutions(vae: nn.Module, *, channels_last: bool = False) -> Iterator[None]:
    """While open, one-frame inputs of ``vae`` run on 2-D convolutions; afterwards it is exactly as found.

    ``channels_last`` gives the networks channels-last pictures, which is faster on most CPUs and on tensor cores.
    """
    restore = install_still_convolutions(vae, channels_last=channels_last)
    try:
        yield
    finally:
        restore()


def install_still_convolutions(vae: nn.Module, *, channels_last: bool = False) -> Callable[[], None]:
    """The same for as long as the caller likes; returns the function that restores what was found."""
    found: list[tuple[nn.Module, str, Any]] = []

    def replace(owner: nn.Module, name: str, make: Callable[[Any], Any]) -> None:
        found.append((owner, name, owner.__dict__.get(name, _ABSENT)))
        setattr(owner, name, make(getattr(owner, name)))

    for module in vae.modules():
        if isinstance(module, QwenImageCausalConv3d) and _is_causal_stride_one(module):
            replace(module, "forward", partial(_still_forward, module))
    if found:  # a picture VAE has nothing to shorten
        replace(vae, "_encode", partial(_still_encode, vae, channels_last))
        replace(vae, "_decode", partial(_still_decode, vae, channels_last))

    def restore() -> None:
        while found:
            owner, name, value = found.pop()
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)

    return restore


def _is_causal_stride_one(conv: QwenImageCausalConv3d) -> bool:
    return conv.stride[0] == 1 and conv._padding[4] == conv.kernel_size[0] - 1 and conv._padding[5] == 0


def _still_forward(
    conv: QwenImageCausalConv3d, stock: Callable[..., torch.Tensor]
) -> Callable[..., torch.Tensor]:
    left, _, top, _, _, _ = conv._padding  # symmetric in height and width

    def forward(x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        if cache_x is not None or x.shape[2] != 1:
            return stock(x, cache_x)
        picture = x[:, :, 0]
        nhwc = picture.is_contiguous(memory_format=torch.channels_last) and not picture.is_contiguous()
        weight = conv.weight[:, :, -1]
        weight = weight.contiguous(memory_format=torch.channels_last if nhwc else torch.contiguous_format)
        return F.conv2d(picture, weight, conv.bias, conv.stride[1:], (top, left))[:, :, None]

    return forward


def _still_encode(vae: Any, channels_last: bool, stock: Callable[..., Any]) -> Callable[..., Any]:
    def encode(x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] != 1 or vae.use_tiling:
            return stock(x)
        # Without a feature cache the encoder computes the same and keeps no copy of every activation.
        return vae.quant_conv(vae.encoder(_formatted(x, channels_last)))

    return encode


def _still_decode(vae: Any, channels_last: bool, stock: Callable[..., Any]) -> Callable[..., Any]:
    from diffusers.models.autoencoders.vae import DecoderOutput

    def decode(z: torch.Tensor, return_dict: bool = True) -> Any:
        if z.shape[2] != 1 or vae.use_tiling:
            return stock(z, return_dict=return_dict)
        pixels = vae.decoder(vae.post_quant_conv(_formatted(z, channels_last))).clamp(-1.0, 1.0)
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)

    return decode


def _formatted(x: torch.Tensor, channels_last: bool) -> torch.Tensor:
    return x[:, :, 0].contiguous(memory_format=torch.channels_last)[:, :, None] if channels_last else x
