"""Where bf16 pays: on GPUs, and on CPUs with bf16 instructions. Elsewhere it is emulated, and many times slower than fp32."""

from __future__ import annotations

import torch


def mixed(device: torch.device | str) -> torch.autocast:
    """Autocast to bf16 where the device computes in it; otherwise a context that changes nothing."""
    kind = torch.device(device).type
    native = kind != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(kind, torch.bfloat16, enabled=native)
