"""The timestep-modulation table: what adaptive layer norms say, computed once per schedule, their weights put away."""

from __future__ import annotations

from .sites import ModulationSites, Site, modulation_sites
from .table import ModulationTable, find_table
from .weights import FolderWeights, HostWeights, Weights

__all__ = [
    "FolderWeights",
    "HostWeights",
    "ModulationSites",
    "ModulationTable",
    "Site",
    "Weights",
    "find_table",
    "modulation_sites",
]
