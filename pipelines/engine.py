"""A group of results of one size through the network: pictures to tokens, sampling, tokens to pictures.

Joins backbone, codec and sampler; knows layouts and latents, not what callers pass or get.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..controls.base import Control
from ..models.backbones.base import Backbone
from ..models.codecs import Codec, still_convolutions
from ..models.layout import Layout
from ..models.text import TextFeatures
from .cancel import cancellable, check_cancelled
from .images import to_tensor
from .jobs import Job
from .revise import KeepOutside, mix
from .sampler import Sampler, SamplerSettings
from .stack import noisy_slots
from .step import Accelerator, StepState


@dataclass(frozen=True, kw_only=True, eq=False)
class Engine:
    """The parts that run a group; ``device`` is where the network computes."""

    backbone: Backbone
    codec: Codec
    device: torch.device
    _empty: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def cell(self) -> int:
        """Pixels along each side of a token."""
        return self.codec.downscale * self.backbone.patch_size

    def clean_tokens(
        self, jobs: Sequence[Job], layout: Layout, cancel: threading.Event | None
    ) -> torch.Tensor | None:
        """(B, clean tokens, C) float32: what the jobs' canvases bring for the clean frames of the layout, one
        picture through the codec at a time; None for a layout without clean frames."""
        if not layout.clean_frames:
            return None
        rows = []
        with open_codec(self.codec, cancel):
            for job in jobs:
                parts = []
                for picture, frame in zip(job.canvas.pictures, layout.clean_frames, strict=True):
                    check_cancelled(cancel)
                    parts.append(layout.crop(self.backbone.pack(self._latents(picture)), frame))
                rows.append(torch.cat(parts, dim=1))
        return torch.cat(rows)

    def _latents(self, picture: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(1, C, h, w) float32 of a picture H x W x 4, or of latents (C, h, w) as they are."""
        if isinstance(picture, torch.Tensor):
            return picture[None].to(self.device, torch.float32)
        return self.codec.encode(to_tensor(picture)[None].to(self.device))

    def tokens(self, latents: Sequence[torch.Tensor], layout: Layout) -> torch.Tensor:
        """Latents (pictures of the result, C, h, w) per job -> the noisy tokens (B, num_noisy_tokens, C) of
        the layout, float32."""
        stacked = torch.stack(list(latents)).to(self.device, torch.float32)
        parts = [
            layout.crop(self.backbone.pack(stacked[:, slot]), frame)
            for slot, frame in zip(noisy_slots(layout), layout.noisy_frames, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def sample(
        self,
        jobs: Sequence[Job],
        layout: Layout,
        clean: torch.Tensor | None,
        conditions: Mapping[str, TextFeatures],
        settings: SamplerSettings,
        *,
        controls: Sequence[Control],
        accelerators: Sequence[Accelerator],
        on_step: Callable[[StepState], torch.Tensor | None] | None,
        cancel: threading.Event | None,
    ) -> torch.Tensor:
        """The sampled tokens of the group, from noise or from the layers that the jobs bring."""
        noise = self.tokens([job.noise for job in jobs], layout)
        start = noise
        controls = list(controls)
        if jobs[0].start is not None:
            given = self.tokens([job.start for job in jobs], layout)
            start = mix(given, noise, float(settings.schedule.sigmas[0]))
            if jobs[0].change is not None:
                change = torch.stack([job.change for job in jobs]).to(self.device)[..., None]
                cropped = [layout.crop(change, frame) for frame in layout.noisy_frames]
                controls.append(KeepOutside(given, noise, torch.cat(cropped, dim=1)))
        return Sampler().run(
            self.backbone,
            layout,
            start,
            clean,
            conditions,
            settings,
            controls=controls,
            accelerators=accelerators,
            on_step=on_step,
            cancel=cancel,
        )

    def frame_latents(self, tokens: torch.Tensor, layout: Layout, place: int) -> torch.Tensor:
        """(B, C, h, w): the latents of the frame at ``place`` in the layout, out of the noisy tokens, or of
        all for a clean frame; outside its box those of an empty canvas."""
        frame = layout.frames[place]
        part = tokens[:, layout.slices[place]]
        if frame.box is not None:
            part = layout.scatter(part, frame, self._empty_tokens(layout))
        return self.backbone.unpack(part, layout.height, layout.width)

    def decode_frame(
        self, tokens: torch.Tensor, layout: Layout, place: int, cancel: threading.Event | None = None
    ) -> torch.Tensor:
        """(B, 4, H, W) float32 in [-1, 1]: the frame at ``place``, one picture through the codec at a time."""
        latents = self.frame_latents(tokens, layout, place)
        pixels = []
        with torch.no_grad(), open_codec(self.codec, cancel):
            for one in latents:
                check_cancelled(cancel)
                pixels.append(self.codec.decode(one[None]))
        return torch.cat(pixels).float()

    def encode_layers(self, layers: torch.Tensor) -> torch.Tensor:
        """(F, 4, H, W) in [-1, 1] -> latents (F, C, h, w), one at a time."""
        with torch.no_grad(), open_codec(self.codec, None):
            return torch.cat([self.codec.encode(one[None].to(self.device)) for one in layers])

    def _empty_tokens(self, layout: Layout) -> torch.Tensor:
        """(1, h*w, C): an empty (transparent black) canvas of the layout's size, encoded once per size."""
        size = (layout.height, layout.width)
        if size not in self._empty:
            canvas = torch.full((1, 4, size[0] * self.cell, size[1] * self.cell), -1.0)
            self._empty[size] = self.backbone.pack(self.encode_layers(canvas))
        return self._empty[size]


@contextmanager
def open_codec(codec: Any, cancel: threading.Event | None) -> Iterator[None]:
    """While open, single pictures run on 2-D convolutions, unless offloading owns the modules' forward
    methods, and ``cancel`` stops between two stages of the network."""
    vae = codec.vae
    offloaded = any(
        hasattr(module, "_hf_hook") or hasattr(module, "_diffusers_hook")
        for module in vae.modules()
        if module is not vae
    )
    stages = [*vae.encoder.down_blocks, *vae.decoder.up_blocks]
    with cancellable(stages, cancel), nullcontext() if offloaded else still_convolutions(vae):
        yield
