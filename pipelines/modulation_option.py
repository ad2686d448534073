"""The modulation table as an option of a pipeline: on, off, and what LoRAs may do meanwhile. Knows the transformer only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.modulation import FolderWeights, HostWeights, ModulationTable, find_table


class ModulationOption:
    """Goes before a pipeline's LoRA mixin; the pipeline has a ``transformer``."""

    transformer: Any

    def enable_modulation_table(self, folder: str | os.PathLike[str] | None = None) -> ModulationTable:
        """Takes the transformer's modulation layers, a third of Qwen-Image's weights, off the device: what they say is
        computed once per schedule (FLUX: and prompt) and kept as a small table. The results stay the same (batch 1: bit
        for bit).

        ``folder``: the transformer's own folder of safetensors, from which the weights are read again when a schedule
        changes; None keeps them in the host's memory. ``LayersPipeline.load`` with ``modulation_table=True`` never holds
        them at all. Turn it on before quantising or offloading. Raises InputError when it cannot be done.
        """
        return ModulationTable(
            self.transformer, HostWeights() if folder is None else FolderWeights(Path(folder))
        )

    def disable_modulation_table(self) -> None:
        """Puts the transformer's modulation weights back; nothing to do when there is no table."""
        table = find_table(self.transformer)
        if table is not None:
            table.remove()

    def load_lora_weights(self, pretrained_model_name_or_path_or_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """diffusers' own. Raises InputError for an adapter of layers that a modulation table stands for."""
        table = find_table(self.transformer)
        parent: Any = super()
        if table is not None:
            state = parent.lora_state_dict(pretrained_model_name_or_path_or_dict, **kwargs)
            keys = state[0] if isinstance(state, tuple) else state
            if touched := [
                key for key in keys if any(f".{path}." in f".{key}" for path in table.sites.put_away)
            ]:
                raise InputError(
                    f"This LoRA changes the modulation ({touched[0]}), which the table stands for; call "
                    "disable_modulation_table(), load the LoRA, then enable_modulation_table() without a folder."
                )
        return parent.load_lora_weights(pretrained_model_name_or_path_or_dict, *args, **kwargs)
