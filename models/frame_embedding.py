"""What a frame is, told to the network: one zero-initialised embedding added after the patch embedding.

Covers ART's layer embedding, the type embeddings of LayerDecomp and LASAGNA and the semantic embeddings of the anime
workflow as settings of one table. It knows roles and noisy/clean states only: not steps, prompts or pixels. With zero
tables (a fresh module, or a public checkpoint that has none) the network's output is unchanged bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from ..errors import InputError
from .layout import Layout, Role

NUM_ROLES = len(Role)
_ROW = {role: row for row, role in enumerate(Role)}


class AddedEmbedding(ModelMixin, ConfigMixin):
    """Something that ``forward(layout)`` makes of a layout, (num_image_tokens, dim), to be added after the patch
    embedding."""

    config_name = "config.json"

    @contextmanager
    def installed(self, patch_embedding: nn.Module, layout: Layout | Callable[[], Layout]) -> Iterator[None]:
        """While open, adds this embedding to the output (B, S, dim) of ``patch_embedding``.

        ``layout`` may be a function that tells the current layout at each call, so one hook serves nested layouts.
        """

        def add(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            now = layout() if callable(layout) else layout
            return output + self(now).to(dtype=output.dtype, device=output.device)

        handle = patch_embedding.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()


class FrameEmbedding(AddedEmbedding):
    """Tables ``role`` (roles x dim) and ``state`` (noisy, clean; 2 x dim), both zero at the start.

    Saved and loaded by ``save_pretrained`` and ``from_pretrained`` like any diffusers component.
    """

    @register_to_config
    def __init__(self, dim: int, num_roles: int = NUM_ROLES) -> None:
        super().__init__()
        self.role = nn.Parameter(torch.zeros(num_roles, dim))
        self.state = nn.Parameter(torch.zeros(2, dim))

    def forward(self, layout: Layout) -> torch.Tensor:
        """(num_image_tokens, dim) in the tables' dtype: per token, its frame's role plus its state."""
        parts = []
        for frame, where in zip(layout.frames, layout.slices, strict=True):
            vector = self.role[_ROW[frame.role]] + self.state[0 if frame.noisy else 1]
            parts.append(vector.expand(where.stop - where.start, -1))
        return torch.cat(parts)


class LayerEmbedding(AddedEmbedding):
    """ART's layer embedding (arXiv 2502.18364, section 3.2): one vector per layer index, whatever the frame's role.

    Table ``layer_pe`` (1, layers, 1, 1, dim) under the published name, zero at the start.
    """

    @register_to_config
    def __init__(self, dim: int, layers: int = 52) -> None:
        super().__init__()
        self.layer_pe = nn.Parameter(torch.zeros(1, layers, 1, 1, dim))

    def forward(self, layout: Layout) -> torch.Tensor:
        """(num_image_tokens, dim). Raises InputError for a layer that the table does not know."""
        most = max(frame.index for frame in layout.frames)
        if most >= self.layer_pe.shape[1] or min(frame.index for frame in layout.frames) < 0:
            raise InputError(f"The layer embedding knows {self.layer_pe.shape[1]} layers, not layer {most}.")
        rows = [self.layer_pe[0, frame.index, 0] for frame in layout.frames]
        sizes = [where.stop - where.start for where in layout.slices]
        return torch.cat([row.expand(size, -1) for row, size in zip(rows, sizes, strict=True)])
