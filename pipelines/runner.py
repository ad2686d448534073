"""The results of one call, group by group: inputs of one size run together, each as it would alone.

Knows jobs, progress and callbacks; how the network is run is the engine's, what a result looks like the
outputs'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..models.layout import Layout, Role
from ..models.memory.residency import Residency
from ..models.text import TextEncoder, TextFeatures
from .arguments import CallArguments, recorded
from .cancel import check_cancelled
from .engine import Engine
from .guidance import Guidance
from .images import resize_frames
from .jobs import Job, grouped
from .outputs import (
    LayersOutput,
    Result,
    as_output,
    as_picture,
    clear_outside,
    given_output,
    joined,
    make_document,
)
from .prediction import COND, UNCOND, SamplerSettings
from .progress import Progress
from .prompts import Prompts
from .schedule import Schedule, make_schedule
from .sizes import Box
from .stack import made_places, picture_places
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

    @cached_property
    def made(self) -> dict[int, int]:
        """The number of every picture that is sampled -> the place of its frame."""
        return made_places(self.layout)

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
    encoder: TextEncoder | None
    facts: dict[str, Any]
    residency: Residency | None = None

    def run(self, jobs: Sequence[Job]) -> LayersOutput:
        """The results in the order of the jobs' numbers."""
        keyed = (
            ((job.layout, job.canvas.size, self.boxes[job.row], self.prompts.spoken_layers(job.row)), job)
            for job in jobs
        )
        groups = grouped(keyed)
        schedules = [self._schedule(members[0]) for members in groups]
        total = sum(schedule.num_steps for schedule in schedules)
        results: dict[int, Result] = {}
        first_step = 0
        self._report(Progress(phase="encode", done=0, total=len(jobs)))
        conditions = self._conditions(groups)
        with self._bar(total) as bar:
            for members, schedule, spoken in zip(groups, schedules, conditions, strict=True):
                if results:
                    self._report(Progress(phase="encode", done=len(results), total=len(jobs)))
                group = self._prepare(members, schedule, first_step, spoken)
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
            composites=[result.composite for result in ordered if result.composite is not None],
            documents=[result.document for result in ordered if result.document is not None],
        )

    # -- before a group runs
    # ---------------------------------------------------------------------------------------

    def _schedule(self, job: Job) -> Schedule:
        rows, columns = job.canvas.grid
        config = self.pipeline.scheduler.config
        schedule = make_schedule(config, self.steps, rows * columns, self.call.sigmas)
        return schedule.tail(self.call.strength) if self.call.strength < 1.0 else schedule

    def _conditions(self, groups: Sequence[Sequence[Job]]) -> list[dict[str, TextFeatures]]:
        """The features of every group, before any of them is sampled: where text encoder and transformer do not fit into
        memory together, each has to come only once."""
        if self.residency is not None and not self.prompts.encoded(self.guidance.enabled):
            self.residency.text()
        found = []
        for jobs in groups:
            check_cancelled(self.call.cancel)
            rows = [job.row for job in jobs]
            spoken = self.prompts.encode(self.encoder, rows, self.guidance.enabled)
            found.append({name: text.to(device=self.engine.device) for name, text in spoken.items()})
        if self.residency is not None:
            self.residency.sampling()
        return found

    def _prepare(
        self, jobs: Sequence[Job], schedule: Schedule, first_step: int, conditions: dict[str, TextFeatures]
    ) -> _Group:
        check_cancelled(self.call.cancel)
        layout = jobs[0].layout
        return _Group(
            jobs=jobs,
            layout=layout,
            boxes=self.boxes[jobs[0].row],
            clean=self.engine.clean_tokens(jobs, layout, self.call.cancel),
            conditions=conditions,
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

    def _preview(self, group: _Group, state: StepState, frame: int | None = None) -> list[Image.Image]:
        shown = picture_places(group.layout)
        frame = next(iter(shown)) if frame is None else frame
        if frame not in shown:
            raise InputError(f"There is no frame {frame} to preview; 0 is the composite, 1 the background.")
        if frame not in group.made:
            return [given_output(_given(job, frame), "pil") for job in group.jobs]
        with torch.no_grad():
            return [as_picture(pixels) for pixels in self._decode(group, state.x0(), frame)]

    # -- after it ran
    # ----------------------------------------------------------------------------------------------

    def _decode(self, group: _Group, tokens: torch.Tensor, number: int) -> torch.Tensor:
        """(B, 4, H, W) in [-1, 1]: one picture of every job at the size of the results."""
        box = group.boxes[number - 1] if group.boxes is not None and number > 0 else None
        canvas = group.jobs[0].canvas
        pixels = self.engine.decode_frame(tokens, group.layout, group.made[number], self.call.cancel)
        pixels = resize_frames(pixels[..., : canvas.height, : canvas.width], canvas.size)
        return clear_outside(pixels, box)

    def _results(self, group: _Group, tokens: torch.Tensor) -> dict[int, Result]:
        """The pictures of every job: what was sampled, and what was given as it is."""
        if self.call.output_type == "latent":
            every = tokens if group.clean is None else torch.cat([tokens, group.clean], dim=1)
            latents = {
                number: self.engine.frame_latents(every, group.layout, place)
                for number, place in picture_places(group.layout).items()
            }
            return {
                job.number: self._result(job, {number: one[i] for number, one in latents.items()}, group)
                for i, job in enumerate(group.jobs)
            }
        decoded, total = {}, len(group.made)
        for done, number in enumerate(group.made):
            self._report(Progress(phase="decode", done=done, total=total, results=group.results))
            decoded[number] = self._decode(group, tokens, number).cpu()
        self._report(Progress(phase="decode", done=total, total=total, results=group.results))
        kind, results = self.call.output_type, {}
        for i, job in enumerate(group.jobs):
            pictures = {
                number: as_output(decoded[number][i], kind)
                if number in decoded
                else given_output(_given(job, number), kind)
                for number in picture_places(group.layout)
            }
            results[job.number] = self._result(job, pictures, group)
        return results

    def _result(self, job: Job, pictures: dict[int, Any], group: _Group) -> Result:
        """``pictures``: by their numbers, each in the caller's form."""
        composite = pictures.get(0)
        layers = [picture for number, picture in pictures.items() if number > 0]
        images = joined(layers, self.call.output_type)
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
        lowest = job.layout.frames[picture_places(job.layout)[1]]
        alone = composite is None and self.layers == 1
        document = make_document(
            images,
            layer_prompts=[self.prompts.scene[job.row]] if alone else self.prompts.layers[job.row],
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
            given=job.canvas.given,
            lowest=0 if lowest.role is Role.BACKGROUND else 1,
        )
        return Result(images=images, composite=composite, document=document)


def _given(job: Job, number: int) -> np.ndarray:
    """float32 H x W x 4: layer ``number`` of a job that was given it."""
    assert job.canvas.given is not None
    return job.canvas.given.pixels(number)
