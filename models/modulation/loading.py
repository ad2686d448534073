"""Loading a transformer without ever holding the weights that its modulation table stands for.

The module is built without memory, the table takes the modulation out, and only what is left is read. Knows safetensors
folders that were checked before (``folder``); nothing of other parts of a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..folder import read_json
from ..inventory import weight_files
from .table import ModulationTable
from .weights import STEM, FolderWeights


def load_with_table(
    model_class: Any, folder: Path, device: torch.device, dtype: torch.dtype, remedy: str
) -> tuple[Any, ModulationTable]:
    """The diffusers transformer in ``folder``, in evaluation mode with its table installed.

    The highest memory is what stays, plus one tensor. Raises InputError for files that do not fit the class.
    """
    from accelerate import init_empty_weights
    from accelerate.utils import set_module_tensor_to_device

    config = read_json(folder / "config.json", remedy)
    with init_empty_weights(include_buffers=False):  # positions are no parameters: they are computed
        model = model_class.from_config(config)
    table = ModulationTable(model, FolderWeights(folder, remedy))
    wanted = set(model.state_dict())
    for file in weight_files(folder, STEM, remedy):
        with safe_open(file, framework="pt") as handle:
            for key in wanted.intersection(handle.keys()):
                value = handle.get_tensor(key).to(device, dtype, copy=True)
                set_module_tensor_to_device(model, key, device, value=value, dtype=dtype)
    return model.eval(), table
