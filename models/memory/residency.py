"""What of a model is in memory when: a plan carried out, phase by phase.

A pipeline says which phase comes, and the parts that it needs are there, on the device that computes; those that the
plan puts away meanwhile are gone. Knows parts and plans; nothing of prompts or pictures.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..quantised import hold, linears_of_blocks, storage_named
from ..quantised.linear import held_linears
from .means import Means
from .placing import (
    FileStream,
    Source,
    blocks_of,
    empty,
    fill,
    is_adapter,
    layers_wait_on_host,
    spread,
    stand_ins,
    stop_waiting,
    wait_on_host,
)

FLOAT8_SKIPPED = (
    "pos_embed",
    "norm",
    "^time_text_embed",
    "^img_in",
    "^txt_in",
    "^x_embedder",
    "^context_embedder",
    "^proj_out",
)
"""What is computed with as stored: everything but the blocks' linear layers."""


class TransformerPart:
    """A transformer that exists without weights until it is needed. ``transformer``: as built on the meta device, with its
    modulation table where it has one; ``source``: where its weights are."""

    def __init__(self, transformer: Any, source: Source, means: Means, device: torch.device) -> None:
        self.transformer = transformer
        self.filled = False
        self._source = source
        self._means = means
        self._device = device
        self._stream: FileStream | None = None
        if means.storage == "float8":
            transformer.enable_layerwise_casting(
                storage_dtype=torch.float8_e4m3fn,
                compute_dtype=next(transformer.parameters()).dtype,
                skip_modules_pattern=FLOAT8_SKIPPED,
            )
        elif means.storage is not None:
            hold(transformer, dict.fromkeys(linears_of_blocks(transformer), storage_named(means.storage)))
        here = {path for path, one in transformer.named_modules() if isinstance(one, torch.nn.Linear)}
        hold(transformer, {path: one for path, one in source.held.items() if path in here})

    def fill(self) -> None:
        """Its weights are in memory from now on, where the plan wants them."""
        if self.filled:
            return
        self.filled = True
        means, blocks = self._means, [path for path, _ in blocks_of(self.transformer)]
        waiting: list[str] = []
        if means.offload is not None:
            staying = spread(len(blocks), means.resident)
            waiting = [path for number, path in enumerate(blocks) if number not in staying]
        heads, inside = (tuple(f"{path}." for path in paths) for paths in (waiting, blocks))
        host = torch.device("cpu")
        devices: dict[str, torch.device] = {}
        weights = [f"{path}.weight" for path in held_linears(self.transformer)]
        for key in (*(key for key, _ in self.transformer.named_parameters()), *weights):
            waits = key.startswith(heads)
            if means.offload == "host" and (waits or not key.startswith(inside)):
                devices[key] = host
            elif not waits or is_adapter(key):
                devices[key] = self._device
        fill(self.transformer, self._source, devices, self._device)
        if means.offload == "host":
            wait_on_host(self.transformer, waiting, self._device)
        elif means.offload == "files":
            self._stream = FileStream(self.transformer, waiting, self._source.weights(), self._device)

    def empty(self) -> None:
        """Its weights are gone."""
        if not self.filled:
            return
        self.filled = False
        if self._stream is not None:
            self._stream.remove()
            self._stream = None
        stop_waiting(self.transformer)
        empty(self.transformer)


class EncoderPart:
    """A text encoder that exists without weights until it is needed. ``load`` makes another one, whole."""

    def __init__(self, encoder: Any, load: Callable[[], Any], means: Means, device: torch.device) -> None:
        self.encoder = encoder
        self.filled = False
        self._load = load
        self._means = means
        self._device = device

    def fill(self) -> None:
        """Its weights are in memory from now on."""
        if self.filled:
            return
        self.filled = True
        loaded = self._load()
        for own, other in zip(self.encoder.modules(), loaded.modules(), strict=True):
            own._parameters.update(other._parameters)
            own._buffers.update(other._buffers)
        if hasattr(loaded, "generation_config"):
            self.encoder.generation_config = loaded.generation_config
        if self._means.text_offload:
            layers_wait_on_host(self.encoder, self._device)

    def empty(self) -> None:
        """Its weights are gone."""
        if not self.filled:
            return
        self.filled = False
        stop_waiting(self.encoder)
        empty(self.encoder)


class Residency:
    """Which part is in memory. ``device``: where the model computes."""

    def __init__(
        self,
        means: Means,
        device: torch.device,
        transformer: TransformerPart,
        encoders: Sequence[EncoderPart],
    ) -> None:
        self.means = means
        self.device = device
        self._transformer = transformer
        self._encoders = tuple(encoders)
        if not means.text_first:
            for encoder in self._encoders:
                encoder.fill()
            transformer.fill()

    def text(self) -> None:
        """Prompts are encoded or pictures described next."""
        if self.means.text_first:
            self._transformer.empty()
            self._cleared()
        for encoder in self._encoders:
            encoder.fill()

    def sampling(self) -> None:
        """The transformer runs next, and nobody asks for words any more."""
        if self.means.text_first:
            for encoder in self._encoders:
                encoder.empty()
            self._cleared()
        self._transformer.fill()

    @contextmanager
    def adapting(self) -> Iterator[None]:
        """While open, adapters may be laid over the transformer or taken off it: where it comes and goes it is gone, with
        whatever fetched its blocks, and comes back with them in its next phase."""
        if not self.means.text_first:
            yield
            return
        self._transformer.empty()
        self._cleared()
        with stand_ins(self._transformer.transformer, self.device):
            yield

    def _cleared(self) -> None:
        gc.collect()  # hooks and modules refer to each other; what waits for the collector would count as held
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
