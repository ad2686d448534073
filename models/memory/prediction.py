"""The highest memory of each phase of a run, on the device and in the machine beside it, for given means.

Sums of what parts weigh (``inventory``) and what they hold while they work (``activations``). Knows no budgets.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..family import FLUX
from .activations import codec_bytes, step_bytes, table_bytes, text_bytes
from .dry_run import dtype_of
from .inventory import Inventory
from .means import BYTES, Means
from .placing import spread
from .work import Work

AHEAD = {"host": 2, "files": 1}
"""Blocks on the device at one time where they wait elsewhere: the one that computes, and the one that is fetched."""

UNPACKING = {"int8": 8, "gguf": 8}
"""Bytes a number at the highest while a weight is unpacked, where that is more than the weight itself: the libraries work
in float32 and in integers on the way (GGUF: 4 to 12 by type, 5 to 7 for most)."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The peak of one phase, all tensors of the process counted. ``weights`` and ``work`` are on the device; ``host``: what
    lies in the machine's own memory meanwhile (0 where device and host share one)."""

    name: str
    weights: int
    work: int
    host: int = 0

    @property
    def device(self) -> int:
        return self.weights + self.work


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Bytes of a model's parts under given means. ``waiting``: transformer blocks that are not on the device, ``ahead``: of
    those, what is there at one time all the same; ``adapters``: LoRAs, which are always there."""

    ahead: int
    resident: int
    waiting: int
    fixed: int
    adapters: int
    table: int
    encoder: int
    encoder_leaf: int
    rest: int


def weights(model: Inventory, work: Work, means: Means) -> Weights:
    """What every part weighs as it is held."""
    size = dtype_of(means.dtype).itemsize
    sizes = block_bytes(model, means)
    staying = range(len(sizes)) if means.offload is None else spread(len(sizes), means.resident)
    waiting = [one for number, one in enumerate(sizes) if number not in staying]
    together = 1 if means.offload is None else AHEAD[means.offload]
    fixed = size * (model.fixed + (0 if means.table else model.modulation))
    if model.kept is not None:
        for numbers, nbytes in (model.kept.fixed, *([] if means.table else [model.kept.modulation])):
            fixed += nbytes - size * numbers
    return Weights(
        ahead=max((sum(waiting[first : first + together]) for first in range(len(waiting))), default=0),
        resident=sum(sizes) - sum(waiting),
        waiting=sum(waiting),
        fixed=fixed,
        adapters=size * model.adapters,
        table=table_bytes(model, work, means.dtype) if means.table else 0,
        encoder=model.encoder * size,
        encoder_leaf=model.encoder_leaf * size,
        rest=(model.vae_size + model.beside) * size,
    )


def block_bytes(model: Inventory, means: Means) -> list[int]:
    """Of every block as it is held: what is in few bits, and the rest in the dtype that is computed with."""
    size = dtype_of(means.dtype).itemsize
    if model.kept is not None:
        few = list(model.kept.blocks)
    elif means.storage is not None:
        counted = model.blocks_cast if means.storage == "float8" else model.blocks_linear
        few = [(numbers, round(numbers * BYTES[means.storage])) for numbers in counted]
    else:
        few = [(0, 0)] * model.num_blocks
    return [
        size * (every - numbers) + nbytes for every, (numbers, nbytes) in zip(model.blocks, few, strict=True)
    ]


def predict(model: Inventory, work: Work, means: Means, *, shared: bool) -> tuple[Phase, ...]:
    """The phases in their order. ``shared``: device and host are one memory."""
    held = weights(model, work, means)
    size = dtype_of(means.dtype).itemsize
    waits = means.offload == "host"
    # Between passes blocks that are fetched are gone, and with them what belongs to no block.
    stays = held.table + held.adapters
    idle = held.resident + stays + (0 if waits else held.fixed)
    passing = held.resident + stays + held.fixed + held.ahead
    if means.text_offload:
        encoder_here, encoder_idle = min(2 * held.encoder_leaf, held.encoder), 0
    else:
        encoder_here, encoder_idle = held.encoder, 0 if means.text_first else held.encoder
    before = stays if means.text_first else idle
    host_later = held.waiting + held.fixed + held.adapters if waits else 0
    host_text = held.encoder * means.text_offload + (0 if means.text_first else host_later)
    # Building the table reads one modulation layer at a time, from its file and in the dtype it is used in.
    table = 12 * model.hidden**2 * size if means.table else 0
    read = size * block_largest(model) if means.offload == "files" else 0
    return (
        Phase(
            name="text",
            weights=encoder_here + before + held.rest,
            work=text_bytes(model, work, means.dtype),
            host=host_text,
        ),
        Phase(
            name="encode",
            weights=idle + encoder_idle + held.rest,
            work=codec_bytes(model, work, means.dtype, decode=False, tiled=means.tiling),
            host=host_later,
        ),
        Phase(
            name="denoise",
            weights=passing + encoder_idle + held.rest,
            work=max(step_bytes(model, work, means.dtype), table) + read + unpacked_bytes(model, means),
            host=host_later,
        ),
        Phase(
            name="decode",
            weights=idle + encoder_idle + held.rest,
            work=codec_bytes(model, work, means.dtype, decode=True, tiled=means.tiling),
            host=host_later,
        ),
    )


def unpacked_bytes(model: Inventory, means: Means) -> int:
    """What one layer's weight takes while it is whole, and what unpacking it takes beside."""
    if model.kept is None and means.storage is None:
        return 0
    way = "gguf" if model.kept is not None else means.storage
    return max(dtype_of(means.dtype).itemsize, UNPACKING.get(way or "", 0)) * block_largest(model)


def block_largest(model: Inventory) -> int:
    """Parameters of a block's largest layer, which is mapped from its file while it is copied."""
    return (5 if model.family is FLUX else 4) * model.hidden**2


def peak(phases: tuple[Phase, ...]) -> Phase:
    """The phase that takes most on the device."""
    return max(phases, key=lambda phase: phase.device)


def host_peak(phases: tuple[Phase, ...]) -> int:
    """The most that is held in the machine's memory beside the device."""
    return max(phase.host for phase in phases)


__all__ = ["Phase", "Weights", "host_peak", "peak", "predict", "weights"]
