"""Which model a pipeline runs, as files may tell it. Knows names only."""

from __future__ import annotations

import os
from typing import Any


class ModelName:
    """``model_name`` and ``model_revision``: set by whoever loaded the parts; None: what diffusers recorded, if anything."""

    config: Any
    model_name: str | None = None
    model_revision: str | None = None

    @property
    def name(self) -> str | None:
        """The model's name without the folders of this machine, which are nobody else's business."""
        path = self.config.get("_name_or_path")
        if self.model_name is not None or not path:
            return self.model_name
        return os.path.basename(os.path.abspath(path)) if os.path.isdir(path) else str(path)
