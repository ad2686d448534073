"""Batched rendering of scenes to exact layers with torch: the same code on a CPU and on a GPU.

Sprites are placed by ``grid_sample`` on premultiplied pixels; a drop shadow belongs to its object's layer. The result
is straight RGBA whose 'over' composite is the picture, up to float rounding. Colour under alpha 0 is mid-grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .scenes import Background, Scene
from .sprites import Atlas


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
        self.pixels = torch.from_numpy(np.ascontiguousarray(atlas.pixels.transpose(0, 3, 1, 2))).to(
            self.device
        )

    @torch.no_grad()
    def render(
        self, scenes: Sequence[Scene], height: int, width: int, *, layers: int | None = None
    ) -> RenderedBatch:
        """Exact layers of the scenes; ``layers`` (default: the most any scene has, background included) sets N."""
        counts = tuple(len(s.objects) + 1 for s in scenes)
        total = layers or max(counts)
        out = torch.zeros(len(scenes), total, 4, height, width, device=self.device)
        out[:, :, :3] = 0.5
        out[:, 0, :3] = torch.stack([self._background(s.background, height, width) for s in scenes])
        out[:, 0, 3] = 1
        where = [(b, i + 1) for b, s in enumerate(scenes) for i in range(len(s.objects))]
        if where:
            placed = self._objects(scenes, height, width)
            rows, columns = zip(*where, strict=True)
            out[list(rows), list(columns)] = straight(placed)
        composite = over(out)
        return RenderedBatch(layers=out, composite=composite, counts=counts)

    def _objects(self, scenes: Sequence[Scene], height: int, width: int) -> Tensor:
        objects = [o for s in scenes for o in s.objects]
        sprites = self.pixels[torch.tensor([o.sprite for o in objects], device=self.device)].float() / 255
        table = torch.tensor(
            [
                [
                    *o.centre,
                    o.size,
                    np.cos(o.angle),
                    np.sin(o.angle),
                    -1.0 if o.flip else 1.0,
                    *(o.tint or o.gain),
                    o.opacity,
                    *(o.shadow or (0, 0, 0.01, 0)),
                ]
                for o in objects
            ],
            dtype=torch.float32,
            device=self.device,
        )
        cx, cy, size, cos, sin, flip = table[:, :6].unbind(1)
        short = min(height, width)
        across, down = (
            width / (short * size),
            height / (short * size),
        )  # canvas half-widths per sprite half-width
        u, v = 2 * cx - 1, 2 * cy - 1
        theta = torch.stack(
            [
                torch.stack(
                    [flip * cos * across, flip * sin * down, -flip * (cos * across * u + sin * down * v)], 1
                ),
                torch.stack([-sin * across, cos * down, sin * across * u - cos * down * v], 1),
            ],
            1,
        )
        grid = F.affine_grid(theta, [len(objects), 4, height, width], align_corners=False)
        small = size * short < 0.75 * sprites.shape[-1]  # a mip level against aliasing
        picture = torch.empty(len(objects), 4, height, width, device=self.device)
        for chosen, source in ((small, F.avg_pool2d(sprites, 2)), (~small, sprites)):
            picture[chosen] = F.grid_sample(source[chosen], grid[chosen], align_corners=False)
        colour = (picture[:, :3] * table[:, 6:9, None, None]).minimum(picture[:, 3:])
        picture = torch.cat([colour, picture[:, 3:]], 1) * table[:, 9, None, None, None]
        return self._with_shadow(picture, table[:, 10:])

    def _with_shadow(self, picture: Tensor, shadow: Tensor) -> Tensor:
        """Premultiplied picture over its own black, blurred, shifted silhouette."""
        height, width = picture.shape[-2:]
        short = min(height, width)
        chosen = shadow[:, 3] > 0
        if not bool(chosen.any()):
            return picture
        alpha, (dx, dy, sigma, strength) = picture[chosen, 3:], shadow[chosen].unbind(1)
        radius = int(0.03 * short * 2.5) + 1
        taps = torch.arange(-radius, radius + 1, device=self.device, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (taps[None] / (sigma[:, None] * short)) ** 2)
        kernel = kernel / kernel.sum(1, keepdim=True)
        count = alpha.shape[0]
        blurred = F.conv2d(
            alpha.view(1, count, *alpha.shape[-2:]),
            kernel.view(count, 1, -1, 1),
            padding=(radius, 0),
            groups=count,
        )
        blurred = F.conv2d(blurred, kernel.view(count, 1, 1, -1), padding=(0, radius), groups=count)
        theta = torch.zeros(count, 2, 3, device=self.device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1
        theta[:, 0, 2], theta[:, 1, 2] = -2 * dx * short / width, -2 * dy * short / height
        grid = F.affine_grid(theta, [count, 1, height, width], align_corners=False)
        shade = F.grid_sample(
            blurred.view(count, 1, height, width), grid, align_corners=False
        ) * strength.view(-1, 1, 1, 1)
        top = picture[chosen]
        out = picture.clone()
        out[chosen] = torch.cat([top[:, :3], top[:, 3:] + shade * (1 - top[:, 3:])], 1)
        return out

    def _background(self, spec: Background, height: int, width: int) -> Tensor:
        """Opaque RGB (3, H, W) in [0,1]."""
        short = min(height, width)
        y, x = torch.meshgrid(
            *(
                (torch.arange(n, device=self.device, dtype=torch.float32) + 0.5 - n / 2) / short + 0.5
                for n in (height, width)
            ),
            indexing="ij",
        )
        first, second = (torch.tensor(c, device=self.device).view(3, 1, 1) for c in spec.colours)
        along = (x - 0.5) * np.cos(spec.angle) + (y - 0.5) * np.sin(spec.angle)
        if spec.kind == "flat":
            mix = torch.zeros_like(x)
        elif spec.kind == "gradient":
            mix = (along + 0.6) / 1.2
        elif spec.kind == "glow":
            mix = torch.hypot(x - 0.3 - 0.4 * np.cos(spec.angle) ** 2, y - 0.5) * 1.3
        elif spec.kind == "stripes":
            mix = 0.5 + 0.5 * torch.tanh(4 * torch.sin(along * spec.frequency * 2 * np.pi))
        elif spec.kind == "checks":
            n = max(2, round(spec.frequency))
            mix = ((x * n).floor() + (y * n).floor()) % 2
        elif spec.kind == "dots":
            n = max(3, round(spec.frequency))
            mix = ((torch.hypot((x * n) % 1 - 0.5, (y * n) % 1 - 0.5) - 0.3) * -short / n).clamp(0, 1)
        else:
            mix = self._noise(spec, height, width, octaves=2 if spec.kind == "clouds" else 4)
        return first + (second - first) * mix.clamp(0, 1)

    def _noise(self, spec: Background, height: int, width: int, octaves: int) -> Tensor:
        """Smooth noise (H, W) in [0,1]; the coarse grids come from the scene's own seed, so devices agree."""
        rng = np.random.default_rng(spec.noise_seed)
        total = torch.zeros(height, width, device=self.device)
        for octave in range(octaves):
            side = 3 * 2**octave
            coarse = torch.from_numpy(rng.random((1, 1, side, side), dtype=np.float32)).to(self.device)
            total += (
                F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0, 0]
                * 0.6**octave
            )
        weight = sum(0.6**o for o in range(octaves))
        return ((total / weight - 0.5) * 1.8 + 0.5).clamp(0, 1)
