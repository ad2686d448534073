"""The loop itself: what it computes, what it tells, how it stops, and that it keeps nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig, TaylorSeerCacheConfig

from acetate.controls import Control, StepContext
from acetate.errors import Cancelled, InputError
from acetate.models.backbones.qwen import QwenBackbone
from acetate.models.layout import Layout
from acetate.models.text import TextFeatures
from acetate.pipelines.guidance import Guidance
from acetate.pipelines.sampler import Sampler, SamplerSettings
from acetate.pipelines.schedule import make_schedule
from acetate.pipelines.step import Accelerator, Clock

LAYOUT = Layout.image_to_layers(2, 3, 2)


@pytest.fixture
def backbone(transformer: Any) -> QwenBackbone:
    return QwenBackbone(transformer)


@pytest.fixture
def run(backbone: QwenBackbone, embeds: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, LAYOUT.num_noisy_tokens, 64, generator=generator)
    clean = torch.randn(2, 6, 64, generator=generator)
    texts = {"cond": TextFeatures(embeds=embeds(2, 5)), "uncond": TextFeatures(embeds=embeds(2, 3, seed=8))}

    def call(
        steps: int = 3, guidance: Guidance | None = None, rows: slice = slice(None), **extra: Any
    ) -> Any:
        settings = SamplerSettings(
            schedule=make_schedule({"shift": 2.0}, steps, 6), guidance=guidance or Guidance()
        )
        chosen = {name: text.select(rows) for name, text in texts.items()}
        return Sampler().run(backbone, LAYOUT, noise[rows], clean[rows], chosen, settings, **extra)

    return call


def test_is_euler_on_the_backbones_velocity(backbone: QwenBackbone, run: Any, embeds: Any) -> None:
    seen = []
    run(steps=3, on_step=lambda state: seen.append(state))
    sigmas = make_schedule({"shift": 2.0}, 3, 6).sigmas
    for number, state in enumerate(seen):
        change = float(sigmas[number + 1] - sigmas[number])
        torch.testing.assert_close(state.tokens, state.start + change * state.velocity)
        torch.testing.assert_close(state.x0(), state.start - float(sigmas[number]) * state.velocity)
    torch.testing.assert_close(seen[-1].x0(), seen[-1].tokens)  # the last step ends at sigma 0


def test_batch_equals_single_runs(run: Any) -> None:
    guidance = Guidance(scale=3.0)
    together = run(guidance=guidance)
    alone = torch.cat([run(guidance=guidance, rows=slice(i, i + 1)) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_batched_guidance_is_exact(run: Any) -> None:
    one_by_one = run(guidance=Guidance(scale=3.0))
    batched = run(guidance=Guidance(scale=3.0, batched=True))
    torch.testing.assert_close(one_by_one, batched, atol=1e-5, rtol=0)
    assert not torch.allclose(one_by_one, run(), atol=1e-3)


def test_two_runs_are_equal_bit_for_bit(run: Any) -> None:
    assert torch.equal(run(guidance=Guidance(scale=2.0)), run(guidance=Guidance(scale=2.0)))


def count_calls(transformer: Any) -> list[int]:
    calls = [0]
    transformer.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    return calls


def test_branches_that_guidance_does_not_need_are_not_run(backbone: QwenBackbone, run: Any) -> None:
    calls = count_calls(backbone.transformer)
    run(steps=4)
    assert calls[0] == 4
    run(steps=4, guidance=Guidance(scale=2.0))
    assert calls[0] == 4 + 8
    run(steps=4, guidance=Guidance(scale=2.0, interval=(0.9, 1.0)))  # only the first step lies there
    assert calls[0] == 12 + 5


class Recorder:
    """A control and an accelerator that write down what they are told."""

    def __init__(self) -> None:
        self.contexts: list[StepContext] = []
        self.events: list[str] = []

    def prepare(self, layout: Layout, *rest: Any) -> None:
        self.events.append("prepare")

    def before_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        assert context.branch == ""
        self.events.append("before")
        return tokens

    def plan(self, context: StepContext) -> None:
        self.contexts.append(context)

    def after_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
        self.events.append("after")
        return tokens

    def velocity(self, context: StepContext, tokens: torch.Tensor, compute: Any) -> torch.Tensor:
        self.contexts.append(context)
        return compute()

    def finish(self) -> None:
        self.events.append("finish")


def test_hooks_are_told_step_sigma_and_branch(run: Any) -> None:
    recorder = Recorder()
    assert isinstance(recorder, Control)
    run(steps=2, guidance=Guidance(scale=2.0), controls=[recorder])
    assert [(c.step, c.branch) for c in recorder.contexts] == [
        (0, "cond"),
        (0, "uncond"),
        (1, "cond"),
        (1, "uncond"),
    ]
    sigmas = make_schedule({"shift": 2.0}, 2, 6).sigmas.tolist()
    assert [(c.sigma, c.sigma_next, c.num_steps) for c in recorder.contexts[::2]] == [
        (sigmas[0], sigmas[1], 2),
        (sigmas[1], sigmas[2], 2),
    ]
    assert recorder.events == ["prepare", "before", "after", "before", "after"]


def test_accelerators_wrap_each_branch_and_always_finish(run: Any) -> None:
    recorder = Recorder()
    assert isinstance(recorder, Accelerator)
    plain = run(steps=2)
    assert torch.equal(run(steps=2, accelerators=[recorder]), plain)
    assert recorder.events == ["prepare", "finish"]

    class Broken(Recorder):
        def velocity(self, *_: Any) -> torch.Tensor:
            raise RuntimeError("broken")

    broken = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        run(accelerators=[broken])
    assert broken.events == ["prepare", "finish"]


def test_an_accelerator_can_replace_the_network(backbone: QwenBackbone, run: Any) -> None:
    class Reuse(Recorder):
        kept: torch.Tensor | None = None

        def velocity(self, context: StepContext, tokens: torch.Tensor, compute: Any) -> torch.Tensor:
            if context.step == 0:
                self.kept = compute()
            return self.kept

    calls = count_calls(backbone.transformer)
    run(steps=3, accelerators=[Reuse()])
    assert calls[0] == 1


def test_controls_change_the_run(run: Any) -> None:
    class Stop(Recorder):
        def after_step(self, context: StepContext, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(tokens)

    assert run(controls=[Stop()]).abs().max() == 0


def test_attention_plans_that_nobody_executes_are_refused(run: Any) -> None:
    class Planner(Recorder):
        def plan(self, context: StepContext) -> object:
            return object()

    with pytest.raises(InputError, match="attention plans"):
        run(controls=[Planner()])


def test_on_step_may_replace_the_tokens(run: Any) -> None:
    assert (
        run(on_step=lambda state: torch.zeros_like(state.tokens) if state.fraction == 1 else None).abs().max()
        == 0
    )


# -- stopping
# ----------------------------------------------------------------------------------------------------------


def hooks_of(module: torch.nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in module.modules())


def test_cancel_from_another_thread_stops_within_one_block(backbone: QwenBackbone, run: Any) -> None:
    cancel, reached, go_on = threading.Event(), threading.Event(), threading.Event()
    entered: list[int] = []

    def first_block(module: Any, args: Any) -> None:
        entered.append(0)
        if entered.count(0) == 2:  # inside the second step
            reached.set()
            assert go_on.wait(20)

    def user() -> None:
        assert reached.wait(20)
        cancel.set()
        go_on.set()

    blocks = backbone.transformer.transformer_blocks
    handles = [
        blocks[0].img_mlp.register_forward_pre_hook(first_block),
        blocks[1].img_mlp.register_forward_pre_hook(lambda *_: entered.append(1)),
    ]
    before = hooks_of(backbone.transformer)
    thread = threading.Thread(target=user)
    thread.start()
    with pytest.raises(Cancelled):
        run(steps=3, cancel=cancel)
    thread.join()
    assert entered == [0, 1, 0]  # the block after the one that ran when the event was set never began
    assert hooks_of(backbone.transformer) == before
    for handle in handles:
        handle.remove()


def test_a_set_event_runs_nothing(backbone: QwenBackbone, run: Any) -> None:
    cancel = threading.Event()
    cancel.set()
    calls = count_calls(backbone.transformer)
    with pytest.raises(Cancelled):
        run(cancel=cancel)
    assert calls[0] == 0
    assert Cancelled.exit_status == 130


def test_the_transformer_is_left_as_found(backbone: QwenBackbone, run: Any) -> None:
    before = hooks_of(backbone.transformer)
    forwards = {name for name, m in backbone.transformer.named_modules() if "forward" in vars(m)}
    run(cancel=threading.Event())
    assert hooks_of(backbone.transformer) == before
    assert {name for name, m in backbone.transformer.named_modules() if "forward" in vars(m)} == forwards


# -- diffusers' caches
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        FirstBlockCacheConfig(threshold=10.0),
        TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_diffusers_caches_run_and_reset_between_runs(
    backbone: QwenBackbone, run: Any, config: Any, scale: float
) -> None:
    guidance = Guidance(scale=scale)
    plain = run(steps=4, guidance=guidance)
    backbone.transformer.enable_cache(config)
    ran = []
    handle = backbone.transformer.transformer_blocks[1].attn.to_q.register_forward_hook(
        lambda *_: ran.append(0)
    )
    first = run(steps=4, guidance=guidance)
    saved = len(ran)
    second = run(steps=4, guidance=guidance)
    handle.remove()
    backbone.transformer.disable_cache()
    assert saved < 4 * (2 if scale > 1 else 1), "the cache saved nothing"
    assert torch.equal(first, second)
    assert not torch.equal(first, plain)
    assert torch.equal(run(steps=4, guidance=guidance), plain)


def test_a_cache_that_mixes_branches_is_refused(backbone: QwenBackbone, run: Any) -> None:
    backbone.transformer.enable_cache(
        PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
        )
    )
    with pytest.raises(InputError, match="Pyramid attention broadcast"):
        run(guidance=Guidance(scale=3.0))


# -- what does not fit
# -------------------------------------------------------------------------------------------------


def test_pieces_that_do_not_fit_are_named(backbone: QwenBackbone, embeds: Any) -> None:
    settings = SamplerSettings(schedule=make_schedule({}, 1, 6), guidance=Guidance(scale=2.0))
    noise, clean = torch.zeros(1, LAYOUT.num_noisy_tokens, 64), torch.zeros(1, 6, 64)
    text = TextFeatures(embeds=embeds())
    both = {"cond": text, "uncond": text}
    cases = [
        ((noise[:, 1:], clean, both), "noise has shape"),
        ((noise, None, both), "given tokens"),
        ((noise, clean.expand(2, -1, -1), both), "one for each"),
        ((noise, clean, {"cond": text}), "uncond"),
        ((noise, clean, {**both, "perturbed": text}), "perturbed"),
        ((noise, clean, {"cond": TextFeatures(embeds=embeds(2)), "uncond": text}), "2 prompts for 1"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            Sampler().run(backbone, LAYOUT, *arguments, settings)


def test_clock_leaves_the_first_step_out() -> None:
    times = iter([0.0, 10.0, 11.0, 12.0, 13.0])
    clock = Clock(4, now=lambda: next(times))
    assert [clock.tick() for _ in range(4)] == [(10.0, 30.0), (11.0, 2.0), (12.0, 1.0), (13.0, 0.0)]
