"""How much memory a run may use: what the user asked for, and what this machine has left.

Knows numbers and devices; nothing of models. A GB is 10^9 bytes here, as weights are counted; a card of "24 GB" has a
little more, which is on the safe side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

GB = 10**9
PRESETS = (8, 12, 16, 24, 48, 80)
"""What ``--memory`` takes, in GB, beside "auto"."""
OVERHEAD = {"cuda": 10**9, "cpu": 6 * 10**8, "mps": 10**9}
"""Bytes beside all tensors: the driver's context and its workspaces, or Python with its libraries."""
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Where a run computes and how many bytes it may take there, all of it included.

    ``device``: "cuda", "cpu" or "mps". ``host``: bytes of the machine's own memory for what is kept beside the device;
    None where that is not known, and on devices that share the machine's memory.
    ``free``: what was free when it was looked at.
    """

    device: str
    memory: int
    host: int | None = None
    free: int | None = None

    def __post_init__(self) -> None:
        if self.device not in OVERHEAD:
            raise InputError(f"memory is planned for {', '.join(OVERHEAD)}, not for {self.device!r}")
        if self.memory <= 0:
            raise InputError(f"a memory budget must be above 0 bytes, not {self.memory}")

    @property
    def shared(self) -> bool:
        """Whether device and host are one memory, so that nothing is gained by moving weights between them."""
        return self.device != "cuda"

    @property
    def tensors(self) -> int:
        """Bytes that are left for tensors."""
        return max(0, self.memory - OVERHEAD[self.device])


def parse_memory(given: str | int) -> int | None:
    """``--memory`` as a preset in GB; None for "auto". Raises InputError for everything else, in the user's own words."""
    if given == "auto":
        return None
    known = ", ".join(map(str, PRESETS))
    text = str(given).strip().lower().removesuffix("gb").strip()
    if isinstance(given, bool) or not text.isdecimal() or int(text) not in PRESETS:
        raise InputError(f"memory must be auto or one of {known} (GB), not {given!r}")
    return int(text)


def budget_for(memory: str | int, device: str) -> Budget:
    """The budget of ``--memory`` on this machine: a preset as it is, "auto" from what is free now.

    ``device``: as torch names it. Raises InputError for an unknown preset and for a device whose memory cannot be read.
    """
    preset = parse_memory(memory)
    kind = device.split(":")[0]
    free = free_memory(device)
    return Budget(
        device=kind,
        memory=free if preset is None else preset * GB,
        host=free_memory("cpu") if kind == "cuda" else None,
        free=free,
    )


def free_memory(device: str) -> int:
    """Bytes that can be taken now: of the accelerator, or of the machine as far as its control group allows."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    found = _available()
    for limit, usage in _CGROUPS:
        top, used = _number(limit), _number(usage)
        if top is not None and used is not None and top < 2**60:
            found = min(found, max(0, top - used + _reclaimable(Path(limit).parent)))
    return found


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: asked in another way below
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError) as error:
        raise InputError(
            "this system does not tell how much memory is free: give --memory one of "
            f"{', '.join(map(str, PRESETS))} instead of auto"
        ) from error


def _number(file: str) -> int | None:
    try:
        text = Path(file).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable(group: Path) -> int:
    """Bytes of cached files in a control group, which the kernel gives back when they are needed."""
    try:
        rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))
