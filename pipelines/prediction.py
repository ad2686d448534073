"""One prediction of a run: the branches it needs, through plans, accelerators and caches, as one velocity.

Knows the network by its ``Backbone``; not steps before or after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch

from ..controls.base import Control
from ..errors import InputError
from ..models.backbones.base import Backbone
from ..models.layout import Layout
from ..models.text import TextFeatures
from .branches import join_branches
from .guidance import Guidance
from .schedule import Schedule
from .step import Accelerator, StepContext

COND, UNCOND = "cond", "uncond"


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplerSettings:
    """What a run does at every step: the noise levels to visit and how branches are combined."""

    schedule: Schedule
    guidance: Guidance = field(default_factory=Guidance)

    @property
    def steps(self) -> int:
        return self.schedule.num_steps


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """What stays the same over the steps of one run."""

    backbone: Backbone
    layout: Layout
    clean: torch.Tensor | None
    conditions: Mapping[str, TextFeatures]
    settings: SamplerSettings
    controls: tuple[Control, ...]
    accelerators: tuple[Accelerator, ...]

    def context(self, step: int) -> StepContext:
        sigmas = self.settings.schedule.sigmas
        return StepContext(
            step=step,
            sigma=float(sigmas[step]),
            sigma_next=float(sigmas[step + 1]),
            num_steps=self.settings.steps,
        )

    def sigma_change(self, step: int) -> float:
        """sigma_next - sigma, subtracted in float32 as the published scheduler does."""
        sigmas = self.settings.schedule.sigmas
        return float(sigmas[step + 1] - sigmas[step])

    def velocity(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        """The guided velocity, float32 (B, num_noisy_tokens, C)."""
        guidance = self.settings.guidance
        if not guidance.active(context.sigma):
            return self._branch(context, COND, tokens, self.conditions[COND])
        if guidance.batched:
            both = join_branches(self.conditions[COND], self.conditions[UNCOND])
            joined = self._branch(context, f"{COND}+{UNCOND}", torch.cat([tokens, tokens]), both)
            cond, uncond = joined.chunk(2)
        else:
            cond = self._branch(context, COND, tokens, self.conditions[COND])
            uncond = self._branch(context, UNCOND, tokens, self.conditions[UNCOND])
        return guidance.combine(cond, uncond)

    def _branch(
        self, context: StepContext, branch: str, tokens: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        context = replace(context, branch=branch)

        def compute() -> torch.Tensor:
            return self._predict(context, tokens, text)

        for accelerator in self.accelerators:
            compute = _wrapped(accelerator, context, tokens, compute)
        return compute()

    def _predict(self, context: StepContext, tokens: torch.Tensor, text: TextFeatures) -> torch.Tensor:
        """One call of the network."""
        dtype = self.backbone.transformer.dtype
        batch = tokens.shape[0]
        sequence = tokens.to(dtype)
        if self.clean is not None:
            clean = self.clean.to(dtype)
            repeats = batch // clean.shape[0]
            sequence = torch.cat([sequence, clean.repeat(repeats, 1, 1)], dim=1)
        time = self.settings.schedule.time(context.step, dtype).to(tokens.device).expand(batch)
        layout = self.layout.with_text(text.spans)
        with self._cache_context(context), self._attention(context):
            velocity = self.backbone.velocity(sequence, time, text, layout)
        return velocity.float()

    def _cache_context(self, context: StepContext) -> AbstractContextManager[None]:
        """The context of diffusers' own caches for this branch, with everything they may ask for."""
        if not hasattr(self.backbone.transformer, "cache_context"):
            return nullcontext()
        return self.backbone.cache_context(
            context.branch,
            step_index=context.step,
            num_inference_steps=context.num_steps,
            timestep=context.sigma * self.settings.schedule.num_train_timesteps,
            sigma=context.sigma,
        )

    def _attention(self, context: StepContext) -> AbstractContextManager[None]:
        """The controls' attention plans, executed by the backbone; nothing to do when there are none."""
        plans = [plan for control in self.controls if (plan := control.plan(context)) is not None]
        if not plans:
            return nullcontext()
        execute = getattr(self.backbone, "executing", None)
        if execute is None:
            raise InputError(
                f"{type(self.backbone).__name__} cannot execute attention plans; use another control."
            )
        return execute(plans)


def _wrapped(
    accelerator: Accelerator, context: StepContext, tokens: torch.Tensor, compute: Callable[[], torch.Tensor]
) -> Callable[[], torch.Tensor]:
    return lambda: accelerator.velocity(context, tokens, compute)
