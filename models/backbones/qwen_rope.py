"""Qwen-Image's rotary frequencies for any layout (Qwen-Image-Layered, arXiv 2512.15603, "Layer3D RoPE").

Axes (layer, row, column); rows and columns are centred, row r of h sits at r - (h - h//2); the condition has layer -1;
text token j has k+j on its axes. Frequencies are looked up in the transformer's own tables, so a standard layout gives
bit for bit what the stock module computes. Differs from it in three ways: cropped frames keep their place, any layer
index may be used, and a layer's prompt sits on its layer. It knows positions only, nothing of the network.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from ...errors import InputError
from ..layout import Layout

Frequencies = tuple[torch.Tensor, torch.Tensor]


class LayoutFrequencies:
    """(image (S, D/2), text (T, D/2)) complex64 for a layout on a device; remembers the last ``size`` results.

    The memory belongs to this object and ends with it, unlike the unbounded caches on diffusers' module.
    """

    def __init__(self, pos_embed: nn.Module, *, layer_axis: bool, size: int = 8) -> None:
        self._pos_embed = pos_embed
        self._layer_axis = layer_axis
        self._size = size
        self._known: OrderedDict[tuple[Layout, torch.device], Frequencies] = OrderedDict()

    @property
    def max_position(self) -> int:
        return int(self._pos_embed.pos_freqs.shape[0])

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, layout: Layout, device: torch.device | str) -> Frequencies:
        key = (layout, torch.device(device))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        image, text = self._compute(layout)
        found = image.to(device), text.to(device)
        self._known[key] = found
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return found

    def _compute(self, layout: Layout) -> Frequencies:
        centre = torch.tensor(
            [0, layout.height - layout.height // 2, layout.width - layout.width // 2], dtype=torch.int64
        )
        # A transformer without the layer axis was trained with text right after the largest centred position.
        start = layout.text_start if self._layer_axis else max(layout.height // 2, layout.width // 2)
        return self._look_up(layout.positions() - centre), self._look_up(layout.text_positions(start))

    def _look_up(self, positions: torch.Tensor) -> torch.Tensor:
        limit = self.max_position
        if positions.numel() and (int(positions.min()) < -limit or int(positions.max()) >= limit):
            raise InputError(
                f"The layout needs rotary positions {int(positions.min())}..{int(positions.max())}, but the model knows "
                f"{-limit}..{limit - 1}; use a smaller size or a shorter prompt."
            )
        widths = [dim // 2 for dim in self._pos_embed.axes_dim]
        # neg_freqs ends with position -1, so [neg | pos] is one table whose row limit + p is position p.
        table = torch.cat((self._pos_embed.neg_freqs, self._pos_embed.pos_freqs)).split(widths, dim=1)
        rows = (positions + limit).to(table[0].device)
        return torch.cat([part[rows[:, axis]] for axis, part in enumerate(table)], dim=1).contiguous()
