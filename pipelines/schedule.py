"""Sigma schedules: which noise levels a run visits.

Pure arithmetic on the scheduler's configuration; knows nothing of networks, tokens or devices. The order of
operations and the float32 / float64 steps repeat diffusers' ``FlowMatchEulerDiscreteScheduler``, so that a
schedule is equal to the published one bit for bit and a stored seed stays reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError

# One frame of 256 x 256 pixels: 16 x 16 tokens. Qwen-Image-Layered measures its shift against it (section 5).
BASE_TOKENS = 256
MAX_STEPS = 1000

_UNSUPPORTED = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "stochastic_sampling",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """The noise levels of one run.

    ``sigmas``: float32 tensor of num_steps + 1 values, falling, the last one 0. ``num_train_timesteps``: the
    scale of the published timesteps, needed to repeat their rounding.
    """

    sigmas: torch.Tensor
    num_train_timesteps: int = 1000

    def __post_init__(self) -> None:
        if self.sigmas.ndim != 1 or len(self.sigmas) < 2 or self.sigmas.dtype != torch.float32:
            raise InputError("A schedule needs a float32 vector of at least one step and its end.")
        if not bool((self.sigmas[:-1] >= self.sigmas[1:]).all()) or float(self.sigmas[-1]) < 0:
            raise InputError(f"Sigmas must fall towards 0; got {self.sigmas.tolist()}.")

    @property
    def num_steps(self) -> int:
        return len(self.sigmas) - 1

    def time(self, step: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """What the network is told at ``step``: sigma, 0-d tensor of ``dtype``.

        It passes through the scale of the training timesteps as in diffusers, because the sinusoidal
        embedding multiplies by 1000 again and would show the different rounding.
        """
        timestep = (self.sigmas[step] * self.num_train_timesteps).to(dtype)
        return timestep / self.num_train_timesteps

    def times(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """(num_steps,): :meth:`time` of every step."""
        return torch.stack([self.time(step, dtype) for step in range(self.num_steps)])

    def tail(self, strength: float) -> Schedule:
        """The last ``strength`` share of the steps (0 < strength <= 1), for runs that start from given
        layers.
        """
        if not 0 < strength <= 1:
            raise InputError(f"strength must lie above 0 and at most 1; got {strength}.")
        keep = max(1, min(self.num_steps, math.ceil(self.num_steps * strength - 1e-9)))
        return Schedule(sigmas=self.sigmas[-keep - 1 :], num_train_timesteps=self.num_train_timesteps)


def linear_sigmas(num_steps: int) -> np.ndarray:
    """num_steps float64 values from 1 downwards, equally spaced, 0 left out."""
    if not 1 <= num_steps <= MAX_STEPS:
        raise InputError(f"The number of steps must lie between 1 and {MAX_STEPS}; got {num_steps}.")
    return np.linspace(1.0, 0.0, num_steps + 1)[:-1]


def layered_mu(num_condition_tokens: int) -> float:
    """Shift exponent of Qwen-Image-Layered: sqrt(n / 256) for n tokens in one full frame; layers do not
    count.
    """
    return (num_condition_tokens / BASE_TOKENS) ** 0.5


def flux_mu(config: Mapping[str, Any], num_tokens: int) -> float:
    """Shift exponent of FLUX: a straight line through (base_image_seq_len, base_shift) and (max_image_seq_len,
    max_shift), in the number of all noisy tokens, continued beyond them.
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    start, end = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (end - start) / (high - low)
    return num_tokens * slope + (start - slope * low)


def shift_static(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """sigma' = s sigma / (1 + (s - 1) sigma); s = 1 changes nothing."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def shift_exponential(sigmas: np.ndarray, mu: float) -> np.ndarray:
    """sigma' = e^mu / (e^mu + 1/sigma - 1): the static shift with s = e^mu."""
    return math.exp(mu) / (math.exp(mu) + (1 / sigmas - 1))


def shift_linear(sigmas: np.ndarray, mu: float) -> np.ndarray:
    """sigma' = mu / (mu + 1/sigma - 1): the static shift with s = mu."""
    return mu / (mu + (1 / sigmas - 1))


def stretch_to_terminal(sigmas: np.ndarray, terminal: float) -> np.ndarray:
    """Scale 1 - sigma so that the last step stands at ``terminal``."""
    rest = 1 - sigmas
    return 1 - rest / (rest[-1] / (1 - terminal))


def make_schedule(
    config: Mapping[str, Any],
    num_steps: int,
    num_condition_tokens: int,
    sigmas: Sequence[float] | None = None,
    *,
    mu: float | None = None,
) -> Schedule:
    """The schedule that a ``FlowMatchEulerDiscreteScheduler`` of this configuration would run.

    ``config``: the mapping of scheduler_config.json. ``num_condition_tokens``: tokens of one full frame; used
    only when the configuration asks for a dynamic shift. ``sigmas``: own values in (0, 1] before the shift;
    replaces ``num_steps``. ``mu``: the dynamic shift's exponent, Qwen-Image-Layered's by default. Raises InputError
    for a configuration that names a schedule outside linear + shift, and for bad values.
    """
    for name in _UNSUPPORTED:
        if config.get(name, False):
            raise InputError(
                f"The scheduler setting {name} is not supported by the sampler; set it to false."
            )
    if sigmas is None:
        values = linear_sigmas(num_steps)
    else:
        values = np.asarray(sigmas, dtype=np.float64)
        if values.ndim != 1 or not len(values) or not ((values > 0) & (values <= 1)).all():
            raise InputError(f"sigmas must be numbers above 0 and at most 1; got {list(sigmas)}.")
    values = values.astype(np.float32)
    if config.get("use_dynamic_shifting", False):
        shift_type = config.get("time_shift_type", "exponential")
        shifts = {"exponential": shift_exponential, "linear": shift_linear}
        if shift_type not in shifts:
            raise InputError(f"time_shift_type {shift_type!r} is unknown; use exponential or linear.")
        values = shifts[shift_type](values, layered_mu(num_condition_tokens) if mu is None else mu)
    else:
        values = shift_static(values, config.get("shift", 1.0))
    terminal = config.get("shift_terminal")
    if terminal:
        if values[-1] == 1:
            raise InputError(
                "shift_terminal needs at least two steps below the first sigma; raise the steps."
            )
        values = stretch_to_terminal(values, terminal)
    tensor = torch.from_numpy(np.asarray(values)).to(torch.float32)
    return Schedule(
        sigmas=torch.cat([tensor, torch.zeros(1)]),
        num_train_timesteps=int(config.get("num_train_timesteps", 1000)),
    )
