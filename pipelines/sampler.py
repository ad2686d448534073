"""The one denoising loop: predictions, Euler steps, controls, progress and cancelling.

Works on tokens of a ``Layout`` through a ``Backbone``. It knows nothing of images, prompts, schedulers' files
or what the frames mean, and keeps no state between runs: everything about a run lives in the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ..controls.base import Control
from ..errors import InputError
from ..models.backbones.base import Backbone
from ..models.layout import Layout
from ..models.text import TextFeatures
from .cancel import cancellable, check_cancelled
from .guidance import Guidance
from .prediction import COND, UNCOND, Predictor, SamplerSettings
from .step import Accelerator, Clock, StepState


class Sampler:
    """Runs the flow from noise to clean tokens. Stateless: threads may share one, not one network."""

    @torch.no_grad()
    def run(
        self,
        backbone: Backbone,
        layout: Layout,
        noise: torch.Tensor,
        clean: torch.Tensor | None,
        conditions: Mapping[str, TextFeatures],
        settings: SamplerSettings,
        *,
        controls: Sequence[Control] = (),
        accelerators: Sequence[Accelerator] = (),
        on_step: Callable[[StepState], torch.Tensor | None] | None = None,
        cancel: threading.Event | None = None,
    ) -> torch.Tensor:
        """The sampled tokens, float32 (B, num_noisy_tokens, C), at the schedule's last sigma.

        ``noise`` (B, num_noisy_tokens, C): tokens at the schedule's first sigma. ``clean`` (B, S -
        num_noisy_tokens, C): given tokens, or None when the layout has none. ``conditions``: features per
        branch; "cond" is required, "uncond" when guidance is on. ``on_step`` sees every finished step and may
        return tokens to go on with instead.

        Raises Cancelled within one transformer block of ``cancel`` being set, InputError when the pieces do
        not fit.
        """
        _check(layout, noise, clean, conditions, settings.guidance)
        run = Predictor(
            backbone=backbone,
            layout=layout,
            clean=clean,
            conditions=conditions,
            settings=settings,
            controls=tuple(controls),
            accelerators=tuple(accelerators),
        )
        transformer = backbone.transformer
        _refuse_branch_blind_cache(transformer, settings.guidance)
        tokens = noise.float()
        backbone.expect_times(settings.schedule.times(transformer.dtype))
        with ExitStack() as stack:
            stack.enter_context(cancellable(backbone.blocks, cancel))
            stack.enter_context(_fresh_cache(transformer))
            for control in run.controls:
                control.prepare(layout, tokens, conditions)
            for accelerator in run.accelerators:
                stack.callback(accelerator.finish)
                accelerator.prepare(layout, settings.steps)
            clock = Clock(settings.steps)
            for step in range(settings.steps):
                check_cancelled(cancel)
                context = run.context(step)
                for control in run.controls:
                    tokens = control.before_step(context, tokens)
                start, velocity = tokens, run.velocity(context, tokens)
                tokens = start + run.sigma_change(step) * velocity
                for control in run.controls:
                    tokens = control.after_step(context, tokens)
                elapsed, remaining = clock.tick()
                if on_step is not None:
                    state = StepState(
                        context=context,
                        layout=layout,
                        tokens=tokens,
                        elapsed=elapsed,
                        remaining=remaining,
                        start=start,
                        velocity=velocity,
                    )
                    replaced = on_step(state)
                    tokens = tokens if replaced is None else replaced.float()
        return tokens


def _check(
    layout: Layout,
    noise: torch.Tensor,
    clean: torch.Tensor | None,
    conditions: Mapping[str, TextFeatures],
    guidance: Guidance,
) -> None:
    if noise.ndim != 3 or noise.shape[1] != layout.num_noisy_tokens:
        raise InputError(
            f"The layout samples {layout.num_noisy_tokens} tokens, the noise has shape {tuple(noise.shape)}."
        )
    given = layout.num_image_tokens - layout.num_noisy_tokens
    if (0 if clean is None else clean.shape[1]) != given:
        shape = None if clean is None else tuple(clean.shape)
        raise InputError(f"The layout has {given} given tokens, the clean tokens have shape {shape}.")
    if clean is not None and clean.shape[0] != noise.shape[0]:
        raise InputError(
            f"{noise.shape[0]} noises were given with {clean.shape[0]} conditions; give one for each."
        )
    needed = {COND, UNCOND} if guidance.enabled else {COND}
    if missing := needed - set(conditions):
        raise InputError(f"The sampler needs text features for the branches {sorted(missing)}.")
    if unknown := set(conditions) - {COND, UNCOND}:
        raise InputError(f"The sampler has no rule to combine the branches {sorted(unknown)}.")
    for branch in sorted(needed):
        if conditions[branch].batch_size != noise.shape[0]:
            raise InputError(
                f"The {branch} branch has {conditions[branch].batch_size} prompts for {noise.shape[0]} results."
            )


def _refuse_branch_blind_cache(transformer: Any, guidance: Guidance) -> None:
    """This cache counts calls: the second branch of a step would reuse the attention of the first."""
    config = getattr(transformer, "_cache_config", None)
    if (
        type(config).__name__ == "PyramidAttentionBroadcastConfig"
        and guidance.enabled
        and not guidance.batched
    ):
        raise InputError(
            "Pyramid attention broadcast mixes up the two branches of guidance; run guidance batched, set it to 1, or "
            "use FirstBlockCacheConfig."
        )


@contextmanager
def _fresh_cache(transformer: Any) -> Iterator[None]:
    """Forgets what diffusers' caches kept from another run, before and after."""
    reset = getattr(transformer, "_reset_stateful_cache", None)
    if reset is None:
        yield
        return
    reset()
    try:
        yield
    finally:
        reset()
