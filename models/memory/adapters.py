"""What LoRAs weigh, from the headers of their files, whatever layout their names are of. Knows names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ...errors import InputError
from ..inventory import stored_tensors
from ..lora import Lora

# Modulation by the names of diffusers, Black Forest Labs, ComfyUI and kohya.
_MODULATION = re.compile(
    r"(norm1|norm1_context|[._]norm|norm_out)[._]linear|_mod[._]|modulation|adaLN|time_text_embed"
    r"|(time|vector|guidance)_in[._]"
)
_ENCODER = re.compile(r"^(text_encoder|lora_te|te\d?[._]|clip_[lg])")


def count_adapters(loras: Sequence[Lora]) -> tuple[int, bool]:
    """(parameters of all, whether any changes the modulation). Raises InputError for one that changes a text encoder."""
    size, modulation = 0, False
    for lora in loras:
        for key, tensor in stored_tensors([lora.path], "copy the LoRA again").items():
            if _ENCODER.match(key):
                raise InputError(
                    f"The LoRA {lora.path} changes the text encoder ({key}), which comes and goes with --memory: leave one "
                    "of the two out."
                )
            size += math.prod(tensor.shape)
            modulation |= _MODULATION.search(key) is not None
    return size, modulation
