"""Sigma schedules against diffusers' scheduler, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from acetate.errors import InputError
from acetate.pipelines.schedule import Schedule, layered_mu, make_schedule

PUBLISHED = {"use_dynamic_shifting": True, "time_shift_type": "exponential", "shift": 1.0}


@pytest.mark.parametrize(
    "config",
    [
        PUBLISHED,
        {**PUBLISHED, "shift_terminal": 0.02},
        {**PUBLISHED, "time_shift_type": "linear"},
        {"shift": 3.0},
        {"shift": 1.0},
        {"shift": 2.5, "num_train_timesteps": 500},
    ],
)
@pytest.mark.parametrize(("steps", "tokens"), [(2, 256), (4, 64), (20, 1600), (50, 4096)])
def test_equals_diffusers_scheduler_exactly(config: dict[str, Any], steps: int, tokens: int) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(**config)
    sigmas = np.linspace(1.0, 0, steps + 1)[:-1]
    theirs.set_timesteps(sigmas=list(sigmas), mu=(tokens / (256 * 256 / 16 / 16)) ** 0.5)
    ours = make_schedule(theirs.config, steps, tokens)
    assert torch.equal(ours.sigmas, theirs.sigmas)
    for dtype in (torch.float32, torch.bfloat16):
        times = torch.stack([ours.time(step, dtype) for step in range(steps)])
        assert torch.equal(times, theirs.timesteps.to(dtype) / config.get("num_train_timesteps", 1000))


def test_own_sigmas_are_shifted_like_diffusers() -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=2.0)
    theirs.set_timesteps(sigmas=[1.0, 0.6, 0.1])
    assert torch.equal(make_schedule(theirs.config, 99, 1, sigmas=[1.0, 0.6, 0.1]).sigmas, theirs.sigmas)


def test_layered_shift_ignores_everything_but_one_frame() -> None:
    assert layered_mu(1600) == 2.5
    assert layered_mu(4096) == 4.0


def test_a_static_shift_does_not_depend_on_the_size() -> None:
    config = FlowMatchEulerDiscreteScheduler(shift=3.0).config
    assert torch.equal(make_schedule(config, 8, 64).sigmas, make_schedule(config, 8, 4096).sigmas)


def test_tail_keeps_the_last_share_of_the_steps() -> None:
    schedule = make_schedule({"shift": 1.0}, 10, 1)
    tail = schedule.tail(0.3)
    assert tail.num_steps == 3
    assert torch.equal(tail.sigmas, schedule.sigmas[-4:])
    assert schedule.tail(1.0).num_steps == 10
    assert schedule.tail(0.01).num_steps == 1
    for strength in (0.0, 1.5):
        with pytest.raises(InputError, match="strength"):
            schedule.tail(strength)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(steps: int) -> None:
    with pytest.raises(InputError, match="number of steps"):
        make_schedule({}, steps, 1)


@pytest.mark.parametrize("sigmas", [[], [0.0], [1.5, 0.5], [0.2, 0.9]])
def test_impossible_sigmas_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(InputError, match=r"[Ss]igmas"):
        make_schedule({}, 1, 1, sigmas=sigmas)


@pytest.mark.parametrize(
    "name", ["use_karras_sigmas", "use_beta_sigmas", "invert_sigmas", "stochastic_sampling"]
)
def test_settings_outside_of_linear_and_shift_are_named(name: str) -> None:
    with pytest.raises(InputError, match=name):
        make_schedule({name: True}, 4, 1)


def test_a_stretch_over_one_step_is_refused() -> None:
    with pytest.raises(InputError, match="shift_terminal"):
        make_schedule({"shift_terminal": 0.02}, 1, 1)


def test_a_schedule_needs_an_end() -> None:
    with pytest.raises(InputError):
        Schedule(sigmas=torch.ones(1))
