"""Batched rendering of scenes to exact layers with torch: the same code on a CPU and on a GPU.

Sprites are placed by ``grid_sample`` on premultiplied pixels; what an object casts belongs to its layer. Only the window
that an object can reach is computed, many objects at once. The result is straight RGBA whose 'over' composite is the
picture, up to float rounding. Colour under alpha 0 is mid-grey. ``render_reference.py`` is the same without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .backgrounds import draw_backgrounds
from .pack import PackedScenes, pack
from .scenes import Scene
from .shading import axis, shade
from .sprites import Atlas
from .windows import Window, content_boxes, to_device, view, windows


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedBatch:
    """``layers``: (B, N, 4, H, W) straight RGBA in [0,1], background first, empty layers beyond a scene's own count;
    ``composite``: (B, 4, H, W), alpha 1."""

    layers: Tensor
    composite: Tensor
    counts: tuple[int, ...]


def straight(premultiplied: Tensor, *, fill: float = 0.5) -> Tensor:
    """Straight colour from premultiplied (..., 4, H, W); ``fill`` where alpha is 0."""
    rgb, alpha = premultiplied[..., :3, :, :], premultiplied[..., 3:, :, :]
    colour = torch.where(alpha > 1e-4, rgb / alpha.clamp_min(1e-4), torch.full_like(rgb, fill))
    return torch.cat([colour.clamp(0, 1), torch.where(alpha > 1e-4, alpha, torch.zeros_like(alpha))], -3)


def _straighten(premultiplied: Tensor) -> Tensor:
    """:func:`straight` in place, for (n, 4, h, w)."""
    rgb, alpha = premultiplied[:, :3], premultiplied[:, 3:]
    empty = alpha <= 1e-4
    rgb.div_(alpha.clamp_min(1e-4)).clamp_(0, 1).masked_fill_(empty, 0.5)
    alpha.masked_fill_(empty, 0)
    return premultiplied


def over(layers: Tensor) -> Tensor:
    """'Over' composite, bottom to top along dim 1, of straight (B, N, 4, H, W); returns premultiplied (B, 4, H, W)."""
    out = torch.zeros_like(layers[:, 0])
    for layer in layers.unbind(1):
        alpha = layer[:, 3:]
        out = torch.cat([layer[:, :3] * alpha, alpha], 1) + out * (1 - alpha)
    return out


class Renderer:
    """Keeps the atlas on a device and renders lists of scenes at any size; positions are fractions of each side,
    sizes are fractions of the shorter one."""

    def __init__(self, atlas: Atlas, device: torch.device | str = "cpu") -> None:
        self.atlas, self.device = atlas, torch.device(device)
        pixels = torch.from_numpy(np.ascontiguousarray(atlas.pixels.transpose(0, 3, 1, 2)))
        self.pixels = pixels.to(self.device)
        self.contents = content_boxes(atlas)
        count, _, side, _ = self.pixels.shape
        self._halves = torch.empty(count, 4, side // 2, side // 2, device=self.device)
        self._ready: np.ndarray = np.zeros(count, bool)

    @torch.no_grad()
    def render(
        self, scenes: Sequence[Scene] | PackedScenes, height: int, width: int, *, layers: int | None = None
    ) -> RenderedBatch:
        """Exact layers of the scenes; ``layers`` (default: the most any scene has, background included) sets N.

        Scenes packed beforehand (``pack.py``) leave no loop over scenes or objects to this process.
        """
        packed = scenes if isinstance(scenes, PackedScenes) else pack(scenes)
        out = torch.empty(len(packed), layers or max(packed.counts), 4, height, width, device=self.device)
        out[:, 1:, :3] = 0.5
        out[:, 1:, 3] = 0
        draw_backgrounds(packed, out[:, 0, :3])
        out[:, 0, 3] = 1
        composite = out[:, 0].clone()
        drawn = [
            (w, self._objects(w, packed, height, width))
            for w in windows(packed, self.contents, height, width)
        ]
        for window, picture in drawn:
            scene, layer = (to_device(column, self.device) for column in packed.owner[window.objects].T)
            top, left = to_device(window.top, self.device), to_device(window.left, self.device)
            view(out, window.height, window.width)[scene, layer, :, top, left] = picture
        for layer in range(1, max(packed.counts)):
            for window, picture in drawn:
                self._lay(composite, window, picture, packed, layer)
        return RenderedBatch(layers=out, composite=composite, counts=packed.counts)

    def _sprites(self, sprites: np.ndarray, halved: bool) -> Tensor:
        """Premultiplied sprites in [0,1]; those at half size are kept once they have been made."""
        if not halved:
            return self.pixels[to_device(sprites, self.device)].float() / 255
        missing = np.unique(sprites[~self._ready[sprites]])
        if missing.size:
            self._halves[to_device(missing, self.device)] = F.avg_pool2d(self._sprites(missing, False), 2)
            self._ready[missing] = True
        return self._halves[to_device(sprites, self.device)]

    def _lay(
        self, composite: Tensor, window: Window, picture: Tensor, packed: PackedScenes, layer: int
    ) -> None:
        """Lay those of the window's objects that belong to ``layer`` over the composite, in place."""
        owner = packed.owner[window.objects]
        first, last = np.searchsorted(owner[:, 1], [layer, layer + 1])
        if first == last:
            return
        scene = to_device(owner[first:last, 0], self.device)
        top, left = (to_device(corner[first:last], self.device) for corner in (window.top, window.left))
        seen = view(composite, window.height, window.width)
        alpha = picture[first:last, 3:]
        under = seen[scene, :, top, left].mul_(1 - alpha)
        under[:, :3] += picture[first:last, :3] * alpha
        under[:, 3:] += alpha
        seen[scene, :, top, left] = under

    def _objects(self, window: Window, packed: PackedScenes, height: int, width: int) -> Tensor:
        """Straight layers of the window's objects with what they cast, (n, 4, h, w)."""
        rows, short = window.objects, min(height, width)
        place, paint = to_device(packed.place[rows], self.device), to_device(packed.paint[rows], self.device)
        cx, cy, size, cos, sin, flip = place[:, :, None, None].unbind(1)
        # Canvas half-widths per sprite half-width, and the canvas to sprite map, term by term as affine_grid sums it.
        across, down = width / (short * size), height / (short * size)
        u, v = 2 * cx - 1, 2 * cy - 1
        columns = to_device(window.left, self.device)[:, None] + torch.arange(
            window.width, device=self.device
        )
        lines = to_device(window.top, self.device)[:, None] + torch.arange(window.height, device=self.device)
        x, y = axis(width, self.device)[columns][:, None, :], axis(height, self.device)[lines][:, :, None]
        grid = torch.empty(len(rows), window.height, window.width, 2, device=self.device)
        grid[..., 0] = x * (flip * cos * across) + y * (flip * sin * down)
        grid[..., 0] += -flip * (cos * across * u + sin * down * v)
        grid[..., 1] = x * (-sin * across) + y * (cos * down)
        grid[..., 1] += sin * across * u - cos * down * v
        picture = F.grid_sample(self._sprites(packed.sprite[rows], window.halved), grid, align_corners=False)
        picture[:, :3] *= paint[:, :3, None, None]
        torch.minimum(picture[:, :3], picture[:, 3:], out=picture[:, :3])
        picture *= paint[:, 3, None, None, None]
        shade(picture, window, packed, height, width)
        return _straighten(picture)
