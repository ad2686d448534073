"""Parts of a model that are loaded as a plan says: built without weights, and filled when their phase comes.

``models/loading`` asks for them in the place of its own; which folder holds what is its knowledge.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..family import Family
from ..folder import read_json
from ..modulation import ModulationTable
from ..quantised.gguf_weights import GGUFWeights
from .dry_run import dtype_of
from .means import Means
from .placing import FolderSource, Source, empty
from .residency import EncoderPart, Residency, TransformerPart


class Holding:
    """The parts of one model under ``means``, on the way to a :class:`Residency`."""

    def __init__(self, means: Means, device: torch.device) -> None:
        self.means = means
        self.device = device
        self.dtype = dtype_of(means.dtype)
        self._transformer: TransformerPart | None = None
        self._encoders: list[EncoderPart] = []

    def transformer(self, family: Family, folder: Path, remedy: str, file: Path | None = None) -> Any:
        """The diffusers transformer of a checked folder, without weights, with its modulation table where one is wanted.
        ``file``: a GGUF file that its weights come from."""
        import diffusers
        from accelerate import init_empty_weights

        config = read_json(folder / "config.json", remedy)
        with init_empty_weights(include_buffers=False):  # positions are no parameters: they are computed
            model = getattr(diffusers, family.transformer).from_config(config)
        source: Source = FolderSource(folder, remedy) if file is None else GGUFWeights(file, family, config)
        if self.means.table:
            ModulationTable(model, source.weights())
        empty(model, self.dtype)
        self._transformer = TransformerPart(model.eval(), source, self.means, self.device)
        return model

    def encoder(self, kind: Any, folder: Path, load: Callable[[torch.device], Any]) -> Any:
        """The transformers model ``kind`` of a checked folder, without weights. ``load`` reads a whole one to a device."""
        from accelerate import init_empty_weights

        config = kind.config_class.from_pretrained(str(folder), local_files_only=True)
        with init_empty_weights(include_buffers=False):
            model = kind(config)
        empty(model, self.dtype)
        home = torch.device("cpu") if self.means.text_offload else self.device
        self._encoders.append(EncoderPart(model.eval(), lambda: load(home), self.means, self.device))
        return model

    def vae(self, vae: Any) -> Any:
        """The same VAE, working as planned."""
        if self.means.tiling:
            vae.enable_tiling()
        return vae

    def residency(self) -> Residency:
        """What keeps the parts from now on; those of the first phase are loaded here."""
        assert self._transformer is not None and self._encoders
        return Residency(self.means, self.device, self._transformer, self._encoders)
