"""A pool of encoded scenes on the device: chunks come in as descriptions, are drawn and encoded once, used a few times.

Encoding a picture costs about as much as a training step on it; drawn from a pool, every scene serves several tasks, noise
levels and partners before it goes. This module knows pixels and latents; which task a batch is, ``tasks.py`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.degrade import Degradation, degrade_batch
from ..datasets.render import Renderer, over, straight
from ..models.codecs import QwenRGBACodec
from .chunks import Chunk, Grid
from .precision import mixed

TOKEN = 16
"""Pixels along a token's side."""
DAMAGE = Degradation(blur_share=0.3, noise_share=0.4, jpeg_share=0.7)
Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An encoded chunk. ``latents`` (n, frames, C, h, w) bf16: composite, layers bottom to top, then the condition (the
    picture as given); of an "object" chunk: background without the object, the object, the picture, its mask.

    ``weights`` (n, noisy frames, tokens) in 0..1; ``coverage`` and ``visible`` (n, layers, tokens): mean alpha and share of
    what is seen. ``boxes``: token boxes of every group of scenes, one per layer ("boxes" only).
    """

    chunk: Chunk
    latents: Tensor
    weights: Tensor
    coverage: Tensor
    visible: Tensor
    boxes: list[list[Box | None]]


def merge_top(layers: Tensor, count: int) -> Tensor:
    """(B, N, 4, H, W) with everything from layer ``count - 1`` up merged into one: (B, count, 4, H, W)."""
    if layers.shape[1] <= count:
        return layers
    return torch.cat([layers[:, : count - 1], straight(over(layers[:, count - 1 :]))[:, None]], 1)


def token_boxes(alpha: Tensor) -> list[Box | None]:
    """Boxes on the token grid that hold a layer's alpha in every sample of (B, N, H, W); None for the background."""
    cover = (F.max_pool2d(alpha.amax(0), TOKEN) > 0.02).cpu()
    boxes: list[Box | None] = [None]
    for mask in cover[1:]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        empty = len(rows) == 0
        boxes.append(
            (0, 0, 1, 1)
            if empty
            else (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        )
    return boxes


def shares(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, H, W) alphas -> mean alpha and visible share of every layer in every token, each (B, N, tokens)."""
    through = torch.cat([(1 - alpha).flip(1).cumprod(1).flip(1)[:, 1:], torch.ones_like(alpha[:, :1])], 1)
    return F.avg_pool2d(alpha, TOKEN).flatten(2), F.avg_pool2d(alpha * through, TOKEN).flatten(2)


def token_weights(alpha: Tensor) -> Tensor:
    """(B, N, H, W) -> (B, N, tokens): 1 where a frame shows something or touches a token that does, 0.25 elsewhere: more
    than half of all tokens are empty, and easy."""
    cover = F.max_pool2d(F.max_pool2d(alpha, TOKEN), 3, 1, 1).flatten(2)
    return 0.25 + 0.75 * (cover > 0.02).float()


class Pool:
    """Keeps ``size`` encoded chunks from ``chunks``; each serves ``reuse`` times as many samples as it has scenes."""

    def __init__(
        self, chunks: Iterator[Chunk], renderer: Renderer, codec: QwenRGBACodec, *, size: int, reuse: float
    ) -> None:
        self.chunks, self.renderer, self.codec = chunks, renderer, codec
        self.reuse, self.size, self.scenes = reuse, size, 0
        self._stored: list[Stored] = []
        self._used: list[int] = []
        self._blanks: dict[Grid, Tensor] = {}

    def draw(self, rng: np.random.Generator) -> Stored:
        """One of the chunks; fresh ones come in as old ones are used up. Report what was used with :meth:`used`."""
        if len(self._stored) < self.size:
            self._stored.append(self.encoded(next(self.chunks)))
            self._used.append(0)
            return self._stored[-1]
        return self._stored[int(rng.integers(len(self._stored)))]

    def used(self, stored: Stored, samples: int) -> None:
        """``samples`` of the chunk went into a batch; a chunk that has served makes room."""
        place = next(i for i, one in enumerate(self._stored) if one is stored)
        self._used[place] += samples
        if self._used[place] >= self.reuse * len(stored.chunk):
            del self._stored[place], self._used[place]

    def blank(self, grid: Grid) -> Tensor:
        """Latents (C, h, w) of an empty layer on a grid of tokens."""
        if grid not in self._blanks:
            empty = torch.full((1, 4, TOKEN * grid[0], TOKEN * grid[1]), 0.5, device=self.renderer.device)
            empty[:, 3] = 0
            self._blanks[grid] = self._encode(empty)[0]
        return self._blanks[grid]

    @torch.no_grad()
    def encoded(self, chunk: Chunk) -> Stored:
        """The chunk drawn and encoded."""
        height, width = TOKEN * chunk.grid[0], TOKEN * chunk.grid[1]
        most = max(chunk.layers, *chunk.packed.counts)
        rendered = self.renderer.render(chunk.packed, height, width, layers=most)
        self.scenes += len(chunk)
        given = rendered.composite
        if chunk.damaged:
            given = degrade_batch(given, DAMAGE, torch.Generator().manual_seed(chunk.seed))
        if chunk.kind == "object":
            return self._object(chunk, rendered.layers, given)
        stacks = merge_top(rendered.layers, chunk.layers)
        frames = [rendered.composite[:, None], stacks, *([given[:, None]] if chunk.damaged else [])]
        latents = self._latents(torch.cat(frames, 1))
        if not chunk.damaged:
            latents = torch.cat([latents, latents[:, :1]], 1)
        alpha = stacks[:, :, 3]
        coverage, visible = shares(alpha)
        groups = alpha.split(chunk.group) if chunk.kind == "boxes" else ()
        return Stored(
            chunk=chunk,
            latents=latents,
            weights=token_weights(torch.cat([torch.ones_like(alpha[:, :1]), alpha], 1)),
            coverage=coverage,
            visible=visible,
            boxes=[token_boxes(group) for group in groups],
        )

    def _object(self, chunk: Chunk, layers: Tensor, given: Tensor) -> Stored:
        """The topmost object of every scene, what is beneath it, and its mask, sometimes no tighter than a box."""
        assert chunk.bare is not None
        device, count = layers.device, len(chunk)
        top = torch.from_numpy(np.array(chunk.packed.counts) - 1).to(device, non_blocking=True)
        every = torch.arange(count, device=device)
        lifted = layers[every, top]
        layers = layers.clone()
        layers[every, top, 3] = 0
        beneath = over(layers)
        mask = self.renderer.render(chunk.bare, *given.shape[-2:], layers=2).layers[:, 1, 3:]
        mask = loosened((mask > 0.5).float(), np.random.default_rng([chunk.seed, 5]))
        masks = torch.cat([0.5 + 0.5 * mask.expand(-1, 3, -1, -1), mask], 1)
        alpha = torch.stack([beneath[:, 3], lifted[:, 3]], 1)
        coverage, visible = shares(alpha)
        return Stored(
            chunk=chunk,
            latents=self._latents(torch.stack([beneath, lifted, given, masks], 1)),
            weights=token_weights(alpha),
            coverage=coverage,
            visible=visible,
            boxes=[],
        )

    def _latents(self, frames: Tensor) -> Tensor:
        return self._encode(frames.flatten(0, 1)).view(
            *frames.shape[:2], -1, *(s // 8 for s in frames.shape[-2:])
        )

    def _encode(self, pixels: Tensor) -> Tensor:
        size = max(1, (1 << (23 if pixels.is_cuda else 20)) // pixels[0, 0].numel())  # pixels at a time
        with torch.no_grad(), mixed(pixels.device.type):
            parts = [self.codec.encode(part * 2 - 1) for part in pixels.split(size)]
        return torch.cat(parts).bfloat16()


def loosened(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """Masks (B, 1, H, W) of 0 and 1 as people make them: a third as they are, a third grown a little, a third boxes."""
    thirds = mask.split(-(-len(mask) // 3))
    grow = 2 * int(rng.integers(1, 1 + max(1, mask.shape[-1] // 24))) + 1
    parts = [thirds[0]]
    if len(thirds) > 1:
        parts.append(F.max_pool2d(thirds[1], grow, 1, grow // 2))
    if len(thirds) > 2:
        parts.append(boxed(thirds[2]))
    return torch.cat(parts)


def boxed(mask: Tensor) -> Tensor:
    """The bounding box of each mask (B, 1, H, W), filled."""

    def filled(line: Tensor) -> Tensor:
        return line.cummax(-1).values * line.flip(-1).cummax(-1).values.flip(-1)

    rows, columns = mask.amax(-1), mask.amax(-2)
    return filled(rows)[..., None] * filled(columns)[..., None, :]
