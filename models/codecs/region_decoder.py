"""ART's joint multi-layer transparency decoder (arXiv 2502.18364, section 3.3): all layers' latents in one sequence to RGBA.

With z_i the raw latent of token i at position p_i = (layer, row, column) on the latent grid, x = W_in z, and per block

    q = k = R(p) ln_1(x),  v = ln_1(x);   x <- x + MHA(q, k, v);   x <- x + MLP(ln_2(x))

and one 8 x 8 patch of RGBA per token, W_out ln(x). The rotation R comes before the attention's own projections, for queries
and keys only: a quirk of the published code that its weights depend on. Only tokens inside a layer's box take part;
outside of it colour is 0 and alpha -1. Never tiled: every token sees every other, of all layers. Differs: no
ImageNet weights to start from. Knows latents and boxes; not the VAE, nor the sampler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from torch import nn

from ..inventory import expected_shapes
from ..layout import Layout
from .tensor_file import check_state, fill, read_tensors

PATCH = 8
REMEDY = "use ART's transparent decoder as it was published"


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-6)
        # The published names count a dropout that is never on.
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        value = self.ln_1(x)
        turned = apply_rotary_emb(value.unflatten(-1, (self.heads, -1)).transpose(1, 2), rotation)
        turned = turned.transpose(1, 2).flatten(2)
        x = x + self.self_attention(turned, turned, value, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class _Encoder(nn.Module):
    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for number in range(layers):
            self.layers.add_module(f"encoder_layer_{number}", _Block(dim, heads))
        self.ln = nn.LayerNorm(dim, eps=1e-6)


class _Decoder(nn.Module):
    def __init__(self, dim: int, heads: int, layers: int, latent_channels: int) -> None:
        super().__init__()
        self.encoder = _Encoder(dim, heads, layers)
        self.fc_in = nn.Linear(latent_channels, dim)
        self.fc_out = nn.Linear(dim, 4 * PATCH**2)


class RegionDecoder(ModelMixin, ConfigMixin):
    """Names and shapes of ART's transparent VAE: 150 tensors, 85,265,920 parameters."""

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        dim: int = 768,
        heads: int = 12,
        layers: int = 12,
        axes: tuple[int, int, int] = (8, 28, 28),
    ) -> None:
        super().__init__()
        self.decoder = _Decoder(dim, heads, layers, latent_channels)
        self.pos_embedding = FluxPosEmbed(theta=10000, axes_dim=list(axes))

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        **config: Any,
    ) -> Self:
        """The decoder of a published file (``transparent_decoder_ckpt.pt``, or safetensors), strict by name and shape.

        Raises InputError that names the file and the tensor.
        """
        path = Path(path)
        state = read_tensors(path, REMEDY, inside="model")
        check_state(state, expected_shapes(cls, config), path, REMEDY)
        with torch.device("meta"):
            made = cls(**config)
        fill(made, state, device, dtype)
        return made

    def forward(self, latents: torch.Tensor, layout: Layout) -> torch.Tensor:
        """(L, c, h, w) raw latents of the frames of ``layout``, whose grid is h x w and whose boxes count latents ->
        (L, 4, 8h, 8w) straight RGBA, about [-1, 1]; outside a frame's box (0, 0, 0, -1)."""
        count, channels, height, width = latents.shape
        if (count, height, width) != (len(layout.frames), layout.height, layout.width):
            raise ValueError(f"latents are {tuple(latents.shape)}, the layout has {len(layout.frames)} frames of "
                             f"{layout.height} x {layout.width}")  # fmt: skip
        rows = latents.reshape(count, channels, -1).transpose(1, 2)
        kept = [layout.crop(rows[i : i + 1], frame) for i, frame in enumerate(layout.frames)]
        # Never in the network's dtype: bf16 counts by twos above 256, and a canvas of 4096 pixels has 512 rows.
        rotation = self.pos_embedding(layout.positions().to(latents.device, torch.float32))
        x = self.decoder.fc_in(torch.cat(kept, 1))
        for block in self.decoder.encoder.layers:
            x = block(x, rotation)
        x = self.decoder.fc_out(self.decoder.encoder.ln(x))
        empty = torch.zeros(4, PATCH**2, dtype=x.dtype, device=x.device)
        empty[3] = -1
        frames = [
            layout.scatter(x[:, where], frame, empty.flatten())
            for where, frame in zip(layout.slices, layout.frames, strict=True)
        ]
        cells = torch.cat(frames).reshape(count, height, width, 4, PATCH, PATCH)
        return cells.permute(0, 3, 1, 4, 2, 5).reshape(count, 4, height * PATCH, width * PATCH)
