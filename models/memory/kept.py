"""What a transformer's own file keeps in few bits, counted by where it is. Knows keys and bytes; not budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..family import Family
from ..modulation.sites import modulation_sites
from ..parts import component_class
from ..quantised.gguf_weights import GGUFWeights

Counted = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class KeptWeights:
    """(numbers, bytes) of the weights in few bits: of every block in its order, outside the blocks, and of modulation."""

    blocks: tuple[Counted, ...]
    fixed: Counted
    modulation: Counted


def kept_weights(family: Family, config: Mapping[str, Any], file: Path) -> KeptWeights:
    """Those of a GGUF file for the transformer of ``config``. Raises InputError for a file that is not of it."""
    import torch

    from .placing import blocks_of

    with torch.device("meta"):
        network = component_class(family.transformer).from_config(dict(config))
    blocks = [path for path, _ in blocks_of(network)]
    apart = tuple(f"{path}." for path in modulation_sites(network).put_away)
    found: dict[str, list[int]] = {name: [0, 0] for name in (*blocks, "fixed", "modulation")}
    for key, one in GGUFWeights(file, family, config).kept().items():
        inside = next((path for path in blocks if key.startswith(f"{path}.")), "fixed")
        counted = found["modulation" if key.startswith(apart) else inside]
        counted[0] += one.numbers
        counted[1] += one.nbytes
    pairs = {name: (numbers, nbytes) for name, (numbers, nbytes) in found.items()}
    return KeptWeights(
        blocks=tuple(pairs[path] for path in blocks), fixed=pairs["fixed"], modulation=pairs["modulation"]
    )
