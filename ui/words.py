"""Words of visitors, made safe to show and to name files with. Knows text only."""

from __future__ import annotations

import re
from collections.abc import Sequence


def shown(text: str) -> str:
    """A visitor's text as messages quote it: one short line."""
    return re.sub(r"\s+", " ", text)[:60]


def stem(name: str) -> str:
    """A name for a document that is also a safe file name, in any script."""
    base = re.sub(
        r"\.(psd|psb|ora|zip|png|jpe?g|webp|tiff?|gif|bmp|avif)$", "", name.strip(), flags=re.IGNORECASE
    )
    kept = re.sub(r"[^\w \-.()]+", "_", base).strip(" ._")
    return kept[:60] or "Untitled"


def gave_way(names: Sequence[str]) -> str | None:
    """What to tell a visitor whose oldest documents made room for a new one."""
    if not names:
        return None
    which = ", ".join(f"“{shown(name)}”" for name in names)
    return f"{which} was closed: there is room for no more documents, and the oldest gives way."
