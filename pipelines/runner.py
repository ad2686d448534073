"""The results of one call, group by group: inputs of one size run together, each as it would alone.

Knows jobs, progress and callbacks; how the network is run is the engine's, what a result looks like the
outputs'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image

from ..errors import InputError
from ..models.layout import Layout
from ..models.text import TextEncoder, TextFeatures
from .arguments import CallArguments, recorded
from .cancel import check_cancelled
from .engine import Engine
from .guidance import Guidance
from .jobs import Job, grouped
from .outputs import LayersOutput, Result, as_output, as_picture, clear_outside, make_document
from .prediction import COND, UNCOND, SamplerSettings
from .progress import Progress
from .prompts import Prompts
from .schedule import Schedule, make_schedule
from .sizes import Box, token_box
from .step import StepState


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Jobs that run together and what their steps need. ``first_step`` counts the steps of the groups
    before."""

    jobs: Sequence[Job]
    layout: Layout
    boxes: tuple[Box | None, ...] | None
    clean: torch.Tensor | None
    conditions: dict[str, TextFeatures]
    schedule: Schedule
    first_step: int

    @property
    def results(self) -> tuple[int, ...]:
        return tuple(job.number for job in self.jobs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """Everything that is the same for all results of a call. ``boxes``: pixel boxes per row of prompts."""

    pipeline: Any
    engine: Engine
    call: CallArguments
    layers: int
    prompts: Prompts
    boxes: Sequence[tuple[Box | None, ...] | None]
    guidance: Guidance
    steps: int
    make_layout: Callable[..., Layout]
    encoder: TextEncoder | None
    facts: dict[str, Any]

    def run(self, jobs: Sequence[Job]) -> LayersOutput:
        """The results in the order of the jobs' numbers."""
        keyed = (
            ((job.canvas.grid, self.boxes[job.row], self.prompts.spoken_layers(job.row)), job) for job in jobs
        )
        groups = grouped(keyed)
        schedules = [self._schedule(members[0]) for members in groups]
        total = sum(schedule.num_steps for schedule in schedules)
        results: dict[int, Result] = {}
        first_step = 0
        with self._bar(total) as bar:
            for members, schedule in zip(groups, schedules, strict=True):
                self._report(Progress(phase="encode", done=len(results), total=len(jobs)))
                group = self._prepare(members, schedule, first_step)
                tokens = self.engine.sample(
                    group.jobs,
                    group.layout,
                    group.clean,
                    group.conditions,
                    SamplerSettings(schedule=schedule, guidance=self.guidance),
                    controls=self.call.controls,
                    accelerators=self.call.accelerators,
                    on_step=self._on_step(group, total, bar),
                    cancel=self.call.cancel,
                )
                results.update(self._results(group, tokens))
                first_step += schedule.num_steps
        ordered = [results[number] for number in sorted(results)]
        return LayersOutput(
            images=[result.images for result in ordered],
            composites=[result.composite for result in ordered],
            documents=[result.document for result in ordered if result.document is not None],
        )

    # -- before a group runs
    # ---------------------------------------------------------------------------------------

    def _schedule(self, job: Job) -> Schedule:
        rows, columns = job.canvas.grid
        config = self.pipeline.scheduler.config
        schedule = make_schedule(config, self.steps, rows * columns, self.call.sigmas)
        return schedule.tail(self.call.strength) if self.call.strength < 1.0 else schedule

    def _prepare(self, jobs: Sequence[Job], schedule: Schedule, first_step: int) -> _Group:
        check_cancelled(self.call.cancel)
        cell, boxes = self.pipeline.cell, self.boxes[jobs[0].row]
        tokens = None if boxes is None else [None if box is None else token_box(box, cell) for box in boxes]
        layout = self.make_layout(*jobs[0].canvas.grid, self.layers, tokens)
        conditions = self.prompts.encode(self.encoder, [job.row for job in jobs], self.guidance.enabled)
        return _Group(
            jobs=jobs,
            layout=layout,
            boxes=boxes,
            clean=self.engine.condition_tokens(jobs, self.call.cancel) if layout.clean_frames else None,
            conditions={name: text.to(device=self.engine.device) for name, text in conditions.items()},
            schedule=schedule,
            first_step=first_step,
        )

    # -- while it runs
    # ---------------------------------------------------------------------------------------------

    def _bar(self, total: int) -> Any:
        """diffusers' progress bar, unless the caller watches."""
        return nullcontext() if self.call.on_progress is not None else self.pipeline.progress_bar(total=total)

    def _report(self, progress: Progress) -> None:
        if self.call.on_progress is not None:
            self.call.on_progress(progress)

    def _on_step(self, group: _Group, total: int, bar: Any) -> Callable[[StepState], torch.Tensor | None]:
        def on_step(state: StepState) -> torch.Tensor | None:
            replaced = self._call_back(state, group)
            if bar is not None:
                bar.update()
            done = group.first_step + state.context.step + 1
            later = total - group.first_step - state.context.num_steps
            per_step = state.elapsed / (state.context.step + 1)
            self._report(
                Progress(
                    phase="sample",
                    done=done,
                    total=total,
                    elapsed=state.elapsed,
                    remaining=state.remaining + later * per_step,
                    results=group.results,
                    preview=partial(self._preview, group, state),
                )
            )
            return replaced

        return on_step

    def _call_back(self, state: StepState, group: _Group) -> torch.Tensor | None:
        """diffusers' callback_on_step_end(pipe, step, timestep, tensors) -> dict that may replace the
        latents."""
        callback = self.call.callback_on_step_end
        if callback is None:
            return None
        uncond = group.conditions.get(UNCOND)
        known = {
            "latents": state.tokens,
            "prompt_embeds": group.conditions[COND].embeds,
            "negative_prompt_embeds": None if uncond is None else uncond.embeds,
            "image_latents": group.clean,
        }
        given = {name: known[name] for name in self.call.callback_on_step_end_tensor_inputs}
        timestep = group.schedule.sigmas[state.context.step] * group.schedule.num_train_timesteps
        answer = callback(self.pipeline, state.context.step, timestep, given) or {}
        for name, value in answer.items():
            if name != "latents" and value is not known.get(name):
                raise InputError(f"callback_on_step_end may replace the latents, not {name}.")
        return answer.get("latents")

    def _preview(self, group: _Group, state: StepState, frame: int = 0) -> list[Image.Image]:
        if not 0 <= frame <= self.layers:
            raise InputError(f"There is no frame {frame} to preview; 0 is the composite, 1 the background.")
        with torch.no_grad():
            return [as_picture(pixels) for pixels in self._decode(group, state.x0(), frame)]

    # -- after it ran
    # ----------------------------------------------------------------------------------------------

    def _decode(self, group: _Group, tokens: torch.Tensor, frame: int) -> torch.Tensor:
        """(B, 4, H, W) in [-1, 1]: one frame of every job at the size of the results."""
        box = group.boxes[frame - 1] if group.boxes is not None and frame > 0 else None
        canvas = group.jobs[0].canvas
        pixels = self.engine.decode_frame(tokens, group.layout, frame, self.call.cancel)
        return clear_outside(pixels[..., : canvas.height, : canvas.width], box)

    def _results(self, group: _Group, tokens: torch.Tensor) -> dict[int, Result]:
        frames = range(self.layers + 1)
        if self.call.output_type == "latent":
            latents = torch.stack([self.engine.frame_latents(tokens, group.layout, n) for n in frames], dim=1)
            return {
                job.number: Result(images=one[1:], composite=one[0])
                for job, one in zip(group.jobs, latents, strict=True)
            }
        decoded = []
        for frame in frames:
            self._report(Progress(phase="decode", done=frame, total=len(frames), results=group.results))
            decoded.append(self._decode(group, tokens, frame).cpu())
        self._report(Progress(phase="decode", done=len(frames), total=len(frames), results=group.results))
        return {
            job.number: self._result(job, pixels, group)
            for job, pixels in zip(group.jobs, torch.stack(decoded, dim=1), strict=True)
        }

    def _result(self, job: Job, frames: torch.Tensor, group: _Group) -> Result:
        """``frames``: (layers + 1, 4, H, W) in [-1, 1], composite first."""
        images, composite = as_output(frames, self.call.output_type)
        if self.call.output_type not in ("document", "pil"):
            return Result(images=images, composite=composite)
        arguments = {
            "layers": self.layers,
            "steps": self.steps,
            "guidance": self.guidance.scale,
            "cfg_normalize": self.guidance.renormalise,
            "guidance_interval": list(self.guidance.interval),
            "sigmas": self.call.sigmas,
            "layer_seeds": self.call.layer_seeds,
            "strength": None if self.call.init_layers is None else self.call.strength,
            **self.facts,
        }
        document = make_document(
            images,
            layer_prompts=self.prompts.layers[job.row],
            boxes=group.boxes,
            seed=job.seed,
            model=self.pipeline.name,
            revision=self.pipeline.model_revision,
            metadata=recorded(
                {
                    "model": self.pipeline.name,
                    "revision": self.pipeline.model_revision,
                    "seed": job.seed,
                    "prompt": self.prompts.scene[job.row] or None,
                    "arguments": recorded(arguments),
                }
            ),
        )
        return Result(images=images, composite=composite, document=document)
