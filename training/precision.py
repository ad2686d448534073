"""Where bf16 pays: on GPUs, and on CPUs with bf16 instructions. Elsewhere it is emulated, many times slower than fp32."""

from __future__ import annotations

import torch


def native_bf16(device: torch.device | str) -> bool:
    """Whether the device multiplies bf16 matrices in hardware."""
    if torch.device(device).type != "cpu":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def mixed(device: torch.device | str, wanted: bool = True) -> torch.autocast:
    """Autocast to bf16 where the device computes in it and it is ``wanted``; otherwise a context that changes nothing."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=wanted and native_bf16(device))
