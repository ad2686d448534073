"""Memory that fits: what a model weighs, what a run takes, the mildest means that fit a budget, and carrying them out.

``inventory`` and ``activations`` count, ``prediction`` adds up, ``means`` orders, ``plan`` chooses or refuses, ``show``
prints; ``residency`` and ``loading`` do what a plan says. Names come lazily: counting budgets needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budget import PRESETS, Budget, budget_for, parse_memory
    from .inventory import Inventory, inventory_of
    from .means import Means
    from .plan import Plan, plan, plan_with, smallest_preset
    from .work import Work

_WHERE = {
    "Work": "work",
    "PRESETS": "budget",
    "Budget": "budget",
    "budget_for": "budget",
    "parse_memory": "budget",
    "Inventory": "inventory",
    "inventory_of": "inventory",
    "Means": "means",
    "Plan": "plan",
    "plan": "plan",
    "plan_with": "plan",
    "smallest_preset": "plan",
}
__all__ = [
    "PRESETS",
    "Budget",
    "Inventory",
    "Means",
    "Plan",
    "Work",
    "budget_for",
    "inventory_of",
    "parse_memory",
    "plan",
    "plan_with",
    "smallest_preset",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
