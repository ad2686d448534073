"""The smallest presets of the models that `acetate models` lists, so that a list need not load torch.

``tests/models/memory`` compares them with the planner: four layers at the model's own size, on FLUX one.
"""

from __future__ import annotations

SMALLEST: dict[str, dict[str, int | None]] = {
    "tiny": {"cuda": 8, "cpu": 8},
    "Qwen/Qwen-Image-Layered": {"cuda": 8, "cpu": 24},
    "black-forest-labs/FLUX.1-dev": {"cuda": 8, "cpu": 12},
    "black-forest-labs/FLUX.1-schnell": {"cuda": 8, "cpu": 12},
}
"""By model and device: the smallest preset of ``--memory`` that fits, in GB; None where none does."""
