"""The training loop: several tasks a step, a rate that falls to zero when the time is up, an average of the weights.

One loop for a CPU, a GPU or several of them (``accelerate``). Time, not steps, is what a run is given: it warms up, holds,
and decays over its last part. State is saved every few minutes and a run resumes from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from .alignment import GradientCosine, LayerAlignment
from .ema import EMA
from .flow import FlowSettings, draw_sigma, pack_frames
from .log import RunLog
from .model import LayersModel, export
from .muon import Muon
from .pool import Pool
from .processes import agreed, average_gradients, same_weights
from .routing import TokenRouting
from .tasks import TaskBatch, TaskSettings, next_batch

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopSettings:
    """``minutes`` to train in all, or ``steps`` where runs must be comparable; ``batches`` a step, of one task each;
    shares of the time in 0..1.

    ``align``: weight of the alignment head until ``align_until``, or until its gradient no longer agrees with the loss's.
    ``warm_blocks``: share of the time at the start in which clean frames and the head alone teach the blocks below it (ERW,
    arXiv 2504.10188). ``route``: share of noisy tokens that pass the middle blocks (TREAD), until the decay begins.
    ``large``: share of chunks on large grids at the start, and at the end of the hold. ``flows``: noise levels by task.
    ``validate_every`` and ``save_every``: seconds; infinity for a run that nobody resumes.
    """

    minutes: float
    steps: int | None = None
    batches: int = 3
    warm_up: int = 80
    decay: float = 0.4
    muon_lr: float = 0.02
    adamw_lr: float = 1.5e-3
    muon: bool = True
    average: float = 0.999
    align: float = 0.5
    align_until: float = 0.4
    warm_blocks: float = 0.0
    route: float = 1.0
    large: tuple[float, float] = (0.1, 0.85)
    seed: int = 0
    log_every: int = 50
    validate_every: float = 120.0
    save_every: float = 180.0
    flows: dict[str, FlowSettings] = field(
        default_factory=lambda: {
            "image": FlowSettings(mean=0.8),
            "object": FlowSettings(mean=0.8),
            "missing": FlowSettings(mean=0.5),
        }
    )

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batches < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError("a run needs some minutes or steps, and at least one batch a step")
        if not (0 < self.route <= 1 and 0 <= self.warm_blocks < 1):
            raise ValueError("route must lie above 0 and at most 1, warm_blocks from 0 to below 1")
        for name in ("decay", "align_until"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share of the time and must lie in 0..1")

    def rate(self, share: float, steps: int) -> float:
        """Factor of the learning rates after ``share`` of the time and ``steps`` steps."""
        return min(1.0, (steps + 1) / self.warm_up, max(0.0, (1 - share) / self.decay))

    def large_share(self, share: float) -> float:
        """Share of chunks on large grids: low for a quarter of the time, then rising until the decay begins."""
        low, high = self.large
        along = (share - 0.25) / max(1e-6, 1 - self.decay - 0.25)
        return low + (high - low) * min(1.0, max(0.0, along))


class Trainer:
    """One run. ``large`` is what the workers read to choose their grids."""

    def __init__(
        self,
        model: LayersModel,
        pool: Pool,
        validation: Sequence[TaskBatch],
        settings: LoopSettings,
        tasks: TaskSettings,
        accelerator: Accelerator,
        large: Synchronized,
        out: Path,
    ) -> None:
        self.model, self.pool, self.validation = model, pool, validation
        self.settings, self.tasks, self.accelerator, self.large, self.out = (
            settings,
            tasks,
            accelerator,
            large,
            out,
        )
        matrices, others = model.groups()
        if not settings.muon:
            matrices, others = [], [*matrices, *others]
        self.optimiser = Muon(matrices, others, lr=settings.muon_lr, adamw_lr=settings.adamw_lr)
        block, self.routing = model.settings.blocks // 2, None
        if settings.route < 1:
            # Two blocks at either end see everything; the head reads the last one before tokens part.
            block, last = 1, model.settings.blocks - 1
            self.routing = TokenRouting(model.transformer, first=2, last=last, keep=settings.route)
        self.alignment = LayerAlignment(
            model.transformer, dim=model.settings.width, block=block, max_layers=6
        )
        self.alignment.to(accelerator.device)
        self.head = torch.optim.AdamW(self.alignment.parameters(), lr=2e-3)
        probe = model.transformer.transformer_blocks[block].img_mlp.net[2].weight
        self.cosine = GradientCosine(probe)
        same_weights(accelerator, (model, self.alignment))
        self.ema = EMA(model, settings.average)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.log = RunLog(out / "log.jsonl")
        self._sums: dict[str, list[Tensor]] = {}

    def run(self) -> None:
        """Train until the settings' minutes are over, those before a stop included; then write state, a last validation and
        the model's folders."""
        s, here, tokens = self.settings, time.monotonic(), self.tokens
        began = here - self.seconds
        rng = np.random.default_rng([s.seed, self.step, self.accelerator.process_index])
        saved = checked = here
        while (share := self._agree(began)) < 1:
            self.large.value = s.large_share(share)
            self.optimiser.scale_lr(s.rate(share, self.step))
            self._step(rng, share)
            now = time.monotonic()
            self.seconds = now - began
            if self.step % s.log_every == 0:
                self._report(share, (self.tokens - tokens) / (now - here))
            if not self.accelerator.is_main_process:
                continue
            if now - checked > s.validate_every:
                checked = now
                self.log.write(step=self.step, **self.validate())
            if now - saved > s.save_every:
                saved = now
                self.save()
        if self.accelerator.is_main_process:
            if s.save_every < math.inf:
                self.save()
            self.log.write(step=self.step, share=1.0, **self.validate())
            export(self.model, self.ema.shadow, self.out)

    def _agree(self, began: float) -> float:
        """The share of the run that is over, and whether the alignment head goes on: the same in every process."""
        share, ended = agreed(self.accelerator, self._share(began), float(self.cosine.ended))
        self.cosine.ended = bool(ended)
        return share

    def _share(self, began: float) -> float:
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return (time.monotonic() - began) / (60 * self.settings.minutes)

    def _step(self, rng: np.random.Generator, share: float) -> None:
        s = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        self.head.zero_grad(set_to_none=True)
        aligning = s.align if share < s.align_until and not self.cosine.ended else 0.0
        warming = share < s.warm_blocks
        for number in range(s.batches):
            batch = next_batch(self.pool, self.tasks, rng)
            while warming and batch.task != "image":
                batch = next_batch(self.pool, self.tasks, rng)
            sigma = draw_sigma(len(batch), s.flows.get(batch.task, FlowSettings()), batch.latents.device)
            with self._routed(batch, share):
                loss = self.model(batch, 0 * sigma if warming else sigma)
            total = loss
            if warming:
                total = self.alignment.loss(batch.layout, batch.coverage, batch.visible)
            elif aligning and batch.task == "image":
                extra = self.alignment.loss(batch.layout, batch.coverage, batch.visible)
                if self.step % 100 == 0 and number == 0:
                    self.cosine.update(loss, extra)
                total = loss + aligning * extra
                self._sums.setdefault("align", []).append(extra.detach())
            else:
                self.alignment.forget()
            (total / s.batches).backward()
            self._sums.setdefault(batch.task, []).append(loss.detach())
            self.tokens += len(batch) * batch.layout.num_image_tokens
        average_gradients(self.accelerator, [*self.model.parameters(), *self.alignment.parameters()])
        self._sums.setdefault("norm", []).append(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        self.optimiser.step()
        if aligning or warming:
            self.head.step()
        self.ema.update(self.model)
        self.step += 1

    def _routed(self, batch: TaskBatch, share: float) -> AbstractContextManager[None]:
        routed = self.routing is not None and share < 1 - self.settings.decay
        return self.routing.over(batch.layout) if self.routing is not None and routed else nullcontext()

    def _report(self, share: float, pace: float) -> None:
        means = {k: float(torch.stack(v).mean()) for k, v in self._sums.items()}
        counted = {"tokens": self.tokens, "scenes": self.pool.scenes, "tokens_per_second": pace}
        cosine = {} if self.cosine.mean is None else {"cosine": self.cosine.mean}
        if self.accelerator.is_main_process:
            self.log.write(step=self.step, share=share, **means, **counted, **cosine)
        self._sums = {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Velocity error of the averaged weights on the fixed batches at fixed noise, over five noise levels, by task."""
        kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.ema.shadow)
        result: dict[str, list[float]] = {}
        for i, batch in enumerate(self.validation):
            generator = torch.Generator().manual_seed(i)
            tokens = pack_frames(self.model.backbone, batch.latents, batch.layout)[
                :, batch.layout.noisy_slice
            ]
            noise = torch.randn(tokens.shape, generator=generator).to(tokens.device)
            for level in LEVELS:
                sigma = torch.full((len(batch),), level, device=tokens.device)
                loss = float(self.model(batch, sigma, noise))
                result.setdefault(f"val_{batch.task}", []).append(loss)
                result.setdefault(f"val_{batch.task}_{level}", []).append(loss)
        self.alignment.forget()
        self.model.load_state_dict(kept)
        return {k: sum(v) / len(v) for k, v in result.items()}

    def save(self) -> None:
        """Write the state beside its place and rename it."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.state_dict(),
            "alignment": self.alignment.state_dict(),
            "head": self.head.state_dict(),
            "cosine": self.cosine.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        torch.save(state, self.out / "state.tmp")
        (self.out / "state.tmp").replace(self.out / "state.pt")

    def resume(self) -> bool:
        """Go on from a saved state, if there is one."""
        path = self.out / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.accelerator.device)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.ema.load_state_dict(state["ema"])
        self.alignment.load_state_dict(state["alignment"])
        self.head.load_state_dict(state["head"])
        self.cosine.load_state_dict(state["cosine"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        return True
