"""A model of any size with random weights, held by a plan: what memory and time it takes, without one file.

Weights are drawn where they are needed, as files would be read; the networks, the pipeline and the plan are the real
ones. Made for measuring: what comes out of it means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ..family import FLUX
from ..folder_flux import VAE_CLASS as FLUX_VAE
from ..folder_qwen import QWEN_ENCODER
from ..folder_qwen import VAE_CLASS as QWEN_VAE
from ..modulation import ModulationTable
from ..parts import component_class
from ..quantised import Storage
from ..text import LayerPrompts, TextFeatures
from .dry_run import dtype_of
from .inventory import Encoder, Inventory
from .means import Means
from .placing import assign, computing_device, empty
from .residency import EncoderPart, Residency, TransformerPart


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """Random parts and what holds them."""

    transformer: Any
    vae: Any
    encoders: tuple[Any, ...]
    residency: Residency
    alpha: Mapping[str, Any]


class RandomWeights:
    """Draws instead of reading: a source for transformers, and what stands for a table's or a stream's files."""

    held: Mapping[str, Storage] = MappingProxyType({})

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device) -> None:
        self._shapes = shapes
        self._device = device

    def tensors(self, keys: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Drawn in the model's own precision, one at a time."""
        for key in keys:
            yield key, _drawn(self._shapes[key], self._device, torch.bfloat16)

    def weights(self) -> RandomWeights:
        return self

    def take(self, path: str, module: nn.Module) -> None:
        module.to("meta")

    def read(
        self, path: str, module: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> dict[str, torch.Tensor]:
        return {
            name: _drawn(tuple(value.shape), device, dtype) for name, value in module.state_dict().items()
        }


class RandomWords:
    """An encoder's features of random words: ``length`` tokens for every prompt."""

    def __init__(self, encoder: Any, length: int) -> None:
        self._encoder = encoder
        self._length = length

    def encode(self, prompts: Sequence[str], layer_prompts: LayerPrompts | None = None) -> TextFeatures:
        ids = torch.ones(len(prompts), self._length, dtype=torch.long, device=computing_device(self._encoder))
        output = self._encoder(input_ids=ids, output_hidden_states=True)
        states = getattr(output, "last_hidden_state", None)
        return TextFeatures(embeds=output.hidden_states[-1] if states is None else states)


def rehearse(model: Inventory, means: Means, device: torch.device) -> Rehearsal:
    """The parts of ``model`` with random weights, held by ``means`` on ``device``."""
    import diffusers
    from accelerate import init_empty_weights

    dtype = dtype_of(means.dtype)
    with init_empty_weights(include_buffers=False):
        transformer = getattr(diffusers, model.family.transformer).from_config(dict(model.transformer))
    shapes = {key: tuple(value.shape) for key, value in transformer.state_dict().items()}
    source = RandomWeights(shapes, device)
    if means.table:
        ModulationTable(transformer, source)
    empty(transformer, dtype)
    vae = _random_part(FLUX_VAE if model.family is FLUX else QWEN_VAE, model.vae, dtype, device)
    if means.tiling and model.family is not FLUX:  # whose codec does it
        vae.enable_tiling()
    held = [_held_encoder(one, means, dtype, device) for one in model.encoders]
    part = TransformerPart(transformer.eval(), source, means, device)
    return Rehearsal(
        transformer=transformer,
        vae=vae,
        encoders=tuple(one.encoder for one in held),
        residency=Residency(means, device, part, held),
        alpha={name: _random_part(*one, dtype, device) for name, one in model.alpha.items()},
    )


def _held_encoder(encoder: Encoder, means: Means, dtype: torch.dtype, device: torch.device) -> EncoderPart:
    def load() -> Any:
        made = _empty_encoder(encoder, dtype)
        randomise(made, torch.device("cpu") if means.text_offload else device)
        made.tie_weights()
        return made

    return EncoderPart(_empty_encoder(encoder, dtype), load, means, device)


def _random_part(class_name: str, config: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> Any:
    with torch.device("meta"):
        part = component_class(class_name).from_config(dict(config))
    buffers = {key for key, _ in part.named_buffers()}
    assert not buffers, f"{class_name} has buffers, which are not drawn: {buffers}"
    empty(part, dtype)
    randomise(part, device)
    return part.eval()


def randomise(module: nn.Module, device: torch.device) -> None:
    """Random values for every parameter of an empty ``module``, on ``device``; buffers follow."""
    drawn: dict[int, torch.Tensor] = {}
    for key, parameter in list(module.named_parameters(remove_duplicate=False)):
        if id(parameter) not in drawn:
            drawn[id(parameter)] = _drawn(tuple(parameter.shape), device, parameter.dtype)
        assign(module, key, drawn[id(parameter)])
    for owner in module.modules():
        for name, buffer in owner._buffers.items():
            if buffer is not None and not buffer.is_meta:
                owner._buffers[name] = buffer.to(device)


def _drawn(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Small enough that nothing overflows on the way through sixty blocks."""
    scale = 0.5 / math.sqrt(shape[-1]) if shape else 0.5
    return torch.empty(shape, device=device, dtype=dtype).uniform_(-scale, scale)


def _empty_encoder(encoder: Encoder, dtype: torch.dtype) -> Any:
    import transformers
    from accelerate import init_empty_weights

    values, kind = dict(encoder.config), getattr(transformers, encoder.class_name)
    if encoder.class_name == QWEN_ENCODER:
        parts = ("text_config", "vision_config", "tie_word_embeddings")
        values = {name: values[name] for name in parts if name in values}
    with init_empty_weights(include_buffers=False):
        made = kind(kind.config_class(**values))
    empty(made, dtype)
    return made.eval()
