"""A patch critic for codecs: PatchGAN (arXiv 1611.07004, section 3.2.2) with the hinge loss and VQGAN's adaptive weight
(arXiv 2012.09841, eq. 7).

    critic: mean max(0, 1 - c(real)) + mean max(0, 1 + c(made));  codec: -mean c(made) * lambda
    lambda = |grad rec| / (|grad adv| + 1e-4), gradients at the codec's last layer, at most 1e4

Differs: group norm, which is right for batches of one, where the paper normalises batches. Knows pictures of any channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class PatchCritic(ModelMixin, ConfigMixin):
    """(B, channels, H, W) -> (B, 1, h, w): how real each patch looks. ``layers`` halvings (3: AlphaVAE, 5: LayerDiffuse)."""

    config_name = "config.json"

    @register_to_config
    def __init__(self, channels: int = 4, layers: int = 3, width: int = 64) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        before = width
        for level in range(1, layers + 1):
            after, stride = width * min(2**level, 8), 2 if level < layers else 1
            parts += [nn.Conv2d(before, after, 4, stride, 1), nn.GroupNorm(8, after), nn.LeakyReLU(0.2)]
            before = after
        self.blocks = nn.Sequential(*parts, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.blocks(pixels)


def critic_loss(critic: PatchCritic, real: Tensor, made: Tensor) -> Tensor:
    """What the critic minimises; no gradient reaches the codec."""
    return F.relu(1 - critic(real.detach())).mean() + F.relu(1 + critic(made.detach())).mean()


def adversarial_loss(critic: PatchCritic, made: Tensor) -> Tensor:
    """What the codec minimises."""
    return -critic(made).mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor) -> Tensor:
    """lambda above; ``last`` is the weight of the codec's last layer."""
    rec = torch.autograd.grad(reconstruction, last, retain_graph=True)[0].norm()
    adv = torch.autograd.grad(adversarial, last, retain_graph=True)[0].norm()
    return (rec / (adv + 1e-4)).clamp(0, 1e4).detach()
