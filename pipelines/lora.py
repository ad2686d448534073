"""LoRAs over a pipeline's transformer while a run lasts (arXiv 2106.09685): W x + s B A x beside every adapted layer.

diffusers lays them; here every tensor is held against the layers there are first, since diffusers passes over what does not
fit. Knows one pipeline; the weights under the adapters are never changed, so without them a run is what it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from ..errors import InputError
from ..models.loading import no_progress_bars
from ..models.lora import Lora
from ..models.modulation import find_table

PREFIX = "transformer."
ENCODER = "text_encoder."


@contextmanager
def laid(pipeline: Any, loras: Sequence[Lora]) -> Iterator[None]:
    """``loras`` over the pipeline while open. Raises InputError for one that does not fit the pipeline's transformer."""
    if not loras:
        yield
        return
    names = [f"acetate_{number}" for number in range(len(loras))]
    try:
        with _adapting(pipeline):
            for name, lora in zip(names, loras, strict=True):
                _lay(pipeline, lora, name)
            pipeline.set_adapters(names, [lora.scale for lora in loras])
        yield
    finally:
        with _adapting(pipeline):
            pipeline.unload_lora_weights()


def _adapting(pipeline: Any) -> AbstractContextManager[None]:
    residency = getattr(pipeline, "residency", None)
    return nullcontext() if residency is None else residency.adapting()


def _lay(pipeline: Any, lora: Lora, name: str) -> None:
    where = {"weight_name": lora.path.name, "local_files_only": True, "use_safetensors": True}
    try:
        found = pipeline.lora_state_dict(str(lora.path.parent), **where)
        check_fit(pipeline, lora, found[0] if isinstance(found, tuple) else found)
        with _quiet():
            pipeline.load_lora_weights(str(lora.path.parent), adapter_name=name, **where)
    except InputError:
        raise
    # The converters of foreign formats raise whatever they stumble over; the user needs the file's name.
    except (
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        AttributeError,
        TypeError,
        NotImplementedError,
        OSError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The LoRA {lora.path} cannot be laid over this {type(pipeline.transformer).__name__} ({reason[:200]}); "
            "give one that was trained for this model."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """diffusers warns of parts that a LoRA leaves alone, peft of a second LoRA; what does not fit was found before."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with no_progress_bars(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            yield
    finally:
        logging.set_verbosity(before)


def check_fit(pipeline: Any, lora: Lora, state: Mapping[str, torch.Tensor]) -> None:
    """Raises InputError for the first tensor that has no layer of its width, in the transformer or, where the pipeline can
    adapt it, the text encoder."""
    table = find_table(pipeline.transformer)
    stood_for = () if table is None else table.sites.put_away  # loading says what to do about those
    parts = {PREFIX: pipeline.transformer}
    if hasattr(pipeline, "load_lora_into_text_encoder") and pipeline.text_encoder is not None:
        parts[ENCODER] = pipeline.text_encoder
    layers = {prefix: dict(part.named_modules()) for prefix, part in parts.items()}
    for key, value in state.items():
        prefix = next((one for one in parts if key.startswith(one)), "")
        path, _, rest = key.removeprefix(prefix).partition(".lora_")
        if prefix == PREFIX and path in stood_for:
            continue
        known = layers.get(prefix, {})
        # CLIP's layers have lost the first part of their names since most LoRAs were trained; diffusers knows both.
        layer = known.get(path, known.get(path.removeprefix("text_model."))) if rest else None
        if layer is None or not hasattr(layer, "in_features"):
            raise InputError(
                f"The LoRA {lora.path} changes {key}, which this {type(pipeline.transformer).__name__} has no place for; "
                "give one that was trained for this model."
            )
        axis, width = (1, layer.in_features) if rest.startswith("A") else (0, layer.out_features)
        if value.ndim == 2 and value.shape[axis] != width:
            raise InputError(
                f"The LoRA {lora.path} holds {key} as {tuple(value.shape)}, but the layer has {width} there: it was "
                "trained for another model (of FLUX, Depth and Canny have LoRAs of their own)."
            )
