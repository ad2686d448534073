"""What each result of a call starts from: its noise, and the layers it revises. Runs only the codec."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import InputError
from ..models.layout import Layout
from .arguments import CallArguments
from .engine import Engine
from .given import given_frames, mask_planes, per_input
from .jobs import Canvas, Job, given_noise
from .noise import draw_noise, noise_sources
from .revise import token_mask
from .stack import picture_places, redraws

Start = tuple[torch.Tensor | None, torch.Tensor | None]


def make_jobs(
    canvases: Sequence[Canvas], layouts: Sequence[Layout], call: CallArguments, engine: Engine
) -> list[Job]:
    """One job per result: canvas by canvas, each with its layout, ``num_images_per_prompt`` each; a shared
    generator is drawn from in that order. Raises InputError for seeds, generators, latents, layers or masks
    that do not match."""
    per_canvas, frames = call.num_images_per_prompt, len(picture_places(layouts[0]))
    first = 1 if redraws(layouts[0]) else 0
    channels, patch = engine.codec.latent_channels, engine.backbone.patch_size
    draws: list[tuple[torch.Tensor, int | None]]
    if call.latents is not None:
        if len({canvas.grid for canvas in canvases}) > 1:
            raise InputError("latents need inputs of one size; call the pipeline once for each size.")
        total = len(canvases) * per_canvas
        given = given_noise(call.latents, total, frames, channels, canvases[0].grid, patch)
        draws = [(noise, None) for noise in given]
    else:
        sources = noise_sources(call.seed, call.generator, len(canvases), per_canvas)
        grids = [canvas.grid for canvas in canvases for _ in range(per_canvas)]
        draws = [
            (
                draw_noise(
                    source, (frames, channels, rows * patch, columns * patch), call.layer_seeds, first=first
                ),
                source.seed,
            )
            for source, (rows, columns) in zip(sources, grids, strict=True)
        ]
    starts = _starts(canvases, frames, first, call, engine)
    jobs = []
    for number, (noise, seed) in enumerate(draws):
        row = number // per_canvas
        start, change = starts[row]
        jobs.append(
            Job(
                number=number,
                row=row,
                canvas=canvases[row],
                layout=layouts[row],
                noise=noise,
                seed=seed,
                start=start,
                change=change,
            )
        )
    return jobs


def _starts(
    canvases: Sequence[Canvas], frames: int, first: int, call: CallArguments, engine: Engine
) -> list[Start]:
    """(latents to start from, where they may change) per canvas. ``first``: the place of the lowest layer."""
    if call.init_layers is None:
        return [(None, None)] * len(canvases)
    masks: list[np.ndarray | None] = [None] * len(canvases)
    if call.mask is not None:
        masks = list(mask_planes(call.mask, len(canvases)))
    starts: list[Start] = []
    for given, plane, canvas in zip(per_input(call.init_layers, len(canvases)), masks, canvases, strict=True):
        rows, columns = canvas.grid
        size = (canvas.width, canvas.height, columns * engine.cell, rows * engine.cell)
        latents = engine.encode_layers(given_frames(given, frames - first, *size)[1 - first :]).cpu()
        starts.append((latents, None if plane is None else token_mask(plane, rows, columns)))
    return starts
