"""How results are judged: metrics, protocols, baselines and the bench that prints one table. Nothing loads with this."""

from __future__ import annotations
