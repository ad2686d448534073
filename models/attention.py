"""Attention backends of diffusers on this machine: which run, and which do with a key mask what the network means.

A backend that leaves a mask out gives a picture, only a wrong one; so each is tried on small numbers against torch's own
before it is trusted with masks. Knows tensors and backends' names; nothing of models' weights or prompts.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch

from ..errors import InputError

PACKAGES = {
    "flash": "flash_attn",
    "_flash_3": "flash_attn_interface",
    "_flash_varlen_3": "flash_attn_interface",
    "sage": "sageattention",
    "_sage": "sageattention",
    "xformers": "xformers",
    "_native_npu": "torch_npu",
    "_native_xla": "torch_xla",
    "aiter": "aiter",
}
"""The package that a backend needs, by the longest beginning of its name; those not listed are torch's own."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2}
"""Largest difference to torch's own, of values around 1; the quantised backends stay below it too."""
HIDDEN = 17  # of 64 keys


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What was found of one backend. ``masks``: "right", "refused" (it says that it cannot), "ignored", "wrong", or None
    where it does not run at all; ``note``: why not."""

    name: str
    installed: bool
    runs: bool = False
    masks: str | None = None
    note: str = ""


def backend_names() -> list[str]:
    """Every backend that this diffusers knows."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    return [backend.value for backend in AttentionBackendName]


@lru_cache(maxsize=128)
def probe(name: str, device: str) -> Backend:
    """Tries a backend on 64 tokens: without a mask, and with one that hides keys, as the network passes it. Kernels that
    would have to be fetched from the hub are not."""
    if name.endswith("_hub"):
        return Backend(
            name=name, installed=False, note="its kernel is fetched from the hub when it is chosen"
        )
    package = _package(name)
    if package is not None and find_spec(package) is None:
        return Backend(name=name, installed=False, note=f"{package} is not installed")
    dtype = torch.float32 if device.startswith("cpu") else torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(1, 64, 2, 64, generator=generator) for _ in range(3)]
    limit = TOLERANCE[dtype]
    try:
        query, key, value = (one.to(device, dtype) for one in drawn)
        mask = torch.ones(1, 1, 1, 64, dtype=torch.bool, device=device)
        mask[..., -HIDDEN:] = False
        whole, masked = (_attend("native", query, key, value, one) for one in (None, mask))
        if _off(_attend(name, query, key, value, None), whole) > limit:
            return Backend(name=name, installed=True, note="its results are not those of torch's own")
    # Each backend has errors of its own kind: of its package, of its compiler, or of a device it was not made for.
    except Exception as error:
        return Backend(name=name, installed=True, note=_first_line(error))
    try:
        found = _attend(name, query, key, value, mask)
    except Exception as error:
        return Backend(name=name, installed=True, runs=True, masks="refused", note=_first_line(error))
    if _off(found, masked) <= limit:
        return Backend(name=name, installed=True, runs=True, masks="right")
    return Backend(
        name=name, installed=True, runs=True, masks="ignored" if _off(found, whole) <= limit else "wrong"
    )


def chosen_backend(transformer: Any) -> str:
    """The backend that a transformer's attention runs on: its processors' own, else the one set for all of diffusers."""
    from diffusers.models import attention_dispatch

    for processor in transformer.attn_processors.values():
        own = getattr(processor, "_attention_backend", None)
        if own is not None:
            return str(getattr(own, "value", own))
    active, _ = attention_dispatch._AttentionBackendRegistry.get_active_backend()
    return str(getattr(active, "value", active))


def check_masks(transformer: Any, device: torch.device) -> None:
    """Raises InputError when the backend of ``transformer`` would not honour a key mask on ``device``."""
    name = chosen_backend(transformer)
    if name == "native":
        return
    found = probe(name, str(device))
    if found.masks != "right":
        what = {"refused": "refuses masks", "ignored": "ignores masks", "wrong": "gets masks wrong"}.get(
            found.masks or "", f"does not run here ({found.note})"
        )
        raise InputError(
            f"The attention backend {name!r} {what}, but these prompts differ in length and need one: choose another "
            "(transformer.set_attention_backend('native')), or run one prompt at a time."
        )


def _package(name: str) -> str | None:
    fitting = [begin for begin in PACKAGES if name.startswith(begin)]
    return PACKAGES[max(fitting, key=len)] if fitting else None


def _attend(
    backend: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of slow paths: nothing here is large
        return dispatch_attention_fn(query, key, value, attn_mask=mask, backend=AttentionBackendName(backend))


def _off(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).abs().nan_to_num(nan=float("inf")).max())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:90]}" if lines else type(error).__name__
