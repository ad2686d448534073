"""Batch rendering: lists of jobs run unattended, behind ``acetate render`` and ``scripts/render_batch.py``.

``rows`` reads a list, ``jobs`` checks each row, ``plan`` decides what there is to do, ``engine`` has it done by workers and
is the only one who puts results in their place, ``journal`` remembers. Results are documents in folders of their own;
everything about how a document is made lies below, in ``api``.
"""

from __future__ import annotations

from .engine import Outcome, render
from .plan import Plan, make_plan
from .settings import RenderSettings

__all__ = ["Outcome", "Plan", "RenderSettings", "make_plan", "render"]
