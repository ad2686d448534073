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

from .atlas import Atlas
from .backgrounds import background_arrays, draw_backgrounds
from .pack import PackedScenes, pack
from .scenes import Scene
from .shading import axis, shade
from .transfer import send
from .windows import LEVELS, WindowTensors, content_boxes, plan_windows, view


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
        self._halved = [torch.empty(count, 4, side >> k, side >> k, device=self.device)
                        for k in range(1, LEVELS + 1)]  # fmt: skip
        self._ready: np.ndarray = np.zeros((LEVELS, count), bool)

    @torch.no_grad()
    def render(
        self, scenes: Sequence[Scene] | PackedScenes, height: int, width: int, *, layers: int | None = None
    ) -> RenderedBatch:
        """Exact layers of the scenes; ``layers`` (default: the most any scene has, background included) sets N.

        Scenes packed beforehand (``pack.py``) leave no loop over scenes or objects to this process. On a GPU the call
        returns before the pictures are drawn; nothing in it waits. ValueError when a scene has more than ``layers``.
        """
        packed = scenes if isinstance(scenes, PackedScenes) else pack(scenes)
        most = max(packed.counts)
        if layers is not None and layers < most:
            raise ValueError(f"a scene has {most} layers, more than the {layers} asked for")
        plan = plan_windows(packed, self.contents, height, width)
        sent = send(plan.arrays | background_arrays(packed), self.device)
        out = torch.empty(len(packed), layers or most, 4, height, width, device=self.device)
        out[:, 1:, :3] = 0.5
        out[:, 1:, 3] = 0
        # A training loop's autocast must not reach the blurs.
        with torch.autocast(self.device.type, enabled=False):
            draw_backgrounds(sent, out[:, 0, :3])
            out[:, 0, 3] = 1
            for window, batch in zip(plan.windows, plan.tensors(sent), strict=True):
                self._prepare(packed.sprite[plan.order[window.rows]], window.level)
                picture = self._objects(batch, height, width)
                place = view(out, window.height, window.width)
                place[batch.scene, batch.layer, :, batch.top, batch.left] = picture
        composite = out[:, 0].clone()
        for layer in range(1, most):
            composite[:, :3].lerp_(out[:, layer, :3], out[:, layer, 3:])
        return RenderedBatch(layers=out, composite=composite, counts=packed.counts)

    def _prepare(self, sprites: np.ndarray, level: int) -> None:
        """Halve the sprites ``level`` times, once and for all."""
        if level == 0 or not (missing := np.unique(sprites[~self._ready[level - 1, sprites]])).size:
            return
        self._prepare(missing, level - 1)
        where = send({"missing": missing}, self.device)["missing"]
        self._halved[level - 1][where] = F.avg_pool2d(self._sprites(where, level - 1), 2)
        self._ready[level - 1, missing] = True

    def _sprites(self, sprites: Tensor, level: int) -> Tensor:
        """Premultiplied sprites (n, 4, s, s) in [0,1], halved ``level`` times."""
        return self._halved[level - 1][sprites] if level else self.pixels[sprites].float().div_(255)

    def _objects(self, batch: WindowTensors, height: int, width: int) -> Tensor:
        """Straight layers of the window's objects with what they cast, (n, 4, h, w)."""
        window, short = batch.window, min(height, width)
        paint = batch.numbers["paint"]
        cx, cy, size, cos, sin, flip = batch.numbers["place"][:, :, None, None].unbind(1)
        # Canvas half-widths per sprite half-width, and the canvas to sprite map, term by term as affine_grid sums it.
        across, down = width / (short * size), height / (short * size)
        u, v = 2 * cx - 1, 2 * cy - 1
        x = axis(width, self.device).unfold(0, window.width, 1)[batch.left][:, None, :]
        y = axis(height, self.device).unfold(0, window.height, 1)[batch.top][:, :, None]
        grid = torch.empty(len(paint), window.height, window.width, 2, device=self.device)
        grid[..., 0] = x * (flip * cos * across) + y * (flip * sin * down)
        grid[..., 0] += -flip * (cos * across * u + sin * down * v)
        grid[..., 1] = x * (-sin * across) + y * (cos * down)
        grid[..., 1] += sin * across * u - cos * down * v
        picture = F.grid_sample(self._sprites(batch.sprite, window.level), grid, align_corners=False)
        picture[:, :3] *= paint[:, :3, None, None]
        torch.minimum(picture[:, :3], picture[:, 3:], out=picture[:, :3])
        picture *= paint[:, 3, None, None, None]
        shade(picture, batch, height, width)
        return _straighten(picture)
