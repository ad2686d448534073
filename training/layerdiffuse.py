"""Training LayerDiffuse's latent transparency (arXiv 2402.17113, section 3.1): offset encoder and U-Net, the VAE frozen.

    L = |C - C'| + |A - A'|  +  w_i |I - D(x_a)|  +  w_d L_adv(C', A')

(C', A') = g(D(x_a), x_a) is what comes out, I the picture on grey that the VAE was shown: the second term keeps the
latents what the VAE and a diffusion model know. Differs: the first term weighs colour by alpha and adds a share
``hidden`` for colour that nobody sees, so that it stays as the padded picture; one decoding pass. Knows the codec;
not data or optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.codecs.layerdiffuse import LayerDiffuseCodec, pad_rgb
from .critic import PatchCritic, adversarial_loss
from .precision import mixed
from .vae import premultiplied


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDiffuseLossSettings:
    """Weights of the terms; the paper's. ``hidden``: weight of colour under alpha 0 against colour under alpha 1."""

    alpha: float = 1.0
    identity: float = 1.0
    adversarial: float = 0.01
    hidden: float = 0.1


def trainable(codec: LayerDiffuseCodec) -> list[torch.nn.Parameter]:
    """The parameters of offset encoder and U-Net, which are set to train; the VAE is frozen."""
    assert codec.encoder is not None
    codec.vae.requires_grad_(False)
    parts = (codec.encoder, codec.decoder)
    return [p for part in parts for p in part.train().requires_grad_(True).parameters()]


def layerdiffuse_loss(
    codec: LayerDiffuseCodec,
    pixels: Tensor,
    settings: LayerDiffuseLossSettings,
    critic: PatchCritic | None = None,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(loss, RGBA that came out in [0, 1] about, what to log) of a batch (B, 4, H, W) in [-1, 1].

    H and W are multiples of 8; the codec decodes in one pass whatever its setting. Logged: PSNR of premultiplied RGBA in dB,
    and of the VAE's own picture. ``critic`` sees RGBA in [-1, 1]; its own loss is ``critic_loss``.
    """
    augmented, codec.augmented = codec.augmented, False
    try:
        with mixed(pixels.device.type):
            raw, shown = codec.hide(pixels)
            picture, seen = codec.reveal(raw)
            adversarial = 0.0 if critic is None else adversarial_loss(critic, 2 * seen - 1)
    finally:
        codec.augmented = augmented
    picture, seen = picture.float(), seen.float()
    target = (pixels + 1) / 2
    colour, alpha = pad_rgb(target), target[:, 3:]
    weight = settings.hidden + (1 - settings.hidden) * alpha
    identity = (2 * picture - 1 - shown).abs().mean()
    loss = (
        (weight * (seen[:, :3] - colour).abs()).mean()
        + settings.alpha * (seen[:, 3:] - alpha).abs().mean()
        + settings.identity * identity
        + settings.adversarial * adversarial
    )
    with torch.no_grad():
        error = premultiplied(2 * seen.clamp(0, 1) - 1) - premultiplied(pixels)
        plain = (picture.clamp(0, 1) - (shown + 1) / 2).square().mean()
        log = {"psnr": -10 * torch.log10(error.square().mean()), "identity_psnr": -10 * torch.log10(plain)}
    return loss, seen, log
