"""Turns an RGB VAE into an RGBA one that starts as an exact identity (Qwen-Image-Layered, arXiv 2512.15603, RGBA-VAE;
AlphaVAE, arXiv 2507.09308, has the same rule).

The first encoder convolution and the last decoder convolution grow a fourth channel: W_E0[:, 3] = 0, W_D[3] = 0,
b_D[3] = 1. So alpha is ignored on the way in, RGB is untouched, and every pixel decodes as opaque (exactly 1).
"""

from __future__ import annotations

from typing import Any

import torch

from ...errors import InputError

_FIRST = "encoder.conv_in.weight"
_LAST_WEIGHT = "decoder.conv_out.weight"
_LAST_BIAS = "decoder.conv_out.bias"
_CHANNELS: dict[str, tuple[str, ...]] = {
    "AutoencoderKLQwenImage": ("input_channels",),
    "AutoencoderKL": ("in_channels", "out_channels"),
}


def widen_rgb_vae(vae: Any) -> Any:
    """A new 4-channel VAE with the weights of the 3-channel ``vae`` (AutoencoderKLQwenImage or AutoencoderKL), which is
    left as it is.

    Same dtype, device and training mode. Raises InputError when ``vae`` has not 3 channels or is of another class.
    """
    names = _CHANNELS.get(type(vae).__name__)
    if names is None:
        raise InputError(f"Only {' and '.join(_CHANNELS)} can be widened to RGBA, not {type(vae).__name__}.")
    for name in names:
        if (channels := int(vae.config[name])) != 3:
            raise InputError(
                f"Only a 3-channel VAE can be widened to RGBA; this one has {channels} channels."
            )
    state = dict(vae.state_dict())
    for key in (_FIRST, _LAST_WEIGHT, _LAST_BIAS):
        axis = 1 if key == _FIRST else 0
        old = state[key]
        fourth = torch.full_like(old.narrow(axis, 0, 1), 1.0 if key == _LAST_BIAS else 0.0)
        state[key] = torch.cat((old, fourth), dim=axis)
    wide = type(vae).from_config(dict(vae.config), **dict.fromkeys(names, 4))
    wide.load_state_dict(state, strict=True)
    return wide.to(device=vae.device, dtype=vae.dtype).train(vae.training)
