"""What the adapters of all transformers do alike: the layout that is installed, the frame embedding, packing, first checks.

A subclass says what else sits on its transformer while a layout is installed. Knows no particular network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..frame_embedding import AddedEmbedding
from ..layout import Layout
from ..modulation import find_table
from ..text import TextFeatures
from .base import Capabilities
from .packing import pack_latents, unpack_latents


class Adapter(ABC):
    """Several layouts may be installed one inside the other: the innermost counts until it closes.

    Raises InputError when the frame embedding's width is not the transformer's.
    """

    def __init__(self, transformer: Any, frame_embedding: AddedEmbedding | None, patch_size: int) -> None:
        self.transformer = transformer
        self.frame_embedding = frame_embedding
        self.patch_size = patch_size
        self._layouts: list[Layout] = []
        width = self.capabilities.hidden_size
        if frame_embedding is not None and frame_embedding.config["dim"] != width:
            raise InputError(
                f"The frame embedding has width {frame_embedding.config['dim']}, but the transformer works at {width}; "
                "use the frame_embedding folder that belongs to this transformer."
            )

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @property
    @abstractmethod
    def patch_embedding(self) -> nn.Module:
        """The module whose output a frame embedding is added to."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the transformer computes in (outside autocast)."""
        return self.transformer.dtype

    @contextmanager
    def installed(self, layout: Layout) -> Iterator[None]:
        """What ``layout`` needs while open; on leaving, also by an exception, the transformer is exactly as found."""
        self._layouts.append(layout)
        try:
            with ExitStack() as hooks:
                if len(self._layouts) == 1:
                    hooks.enter_context(self.hooked())
                    if self.frame_embedding is not None:
                        hooks.enter_context(
                            self.frame_embedding.installed(self.patch_embedding, lambda: self._layouts[-1])
                        )
                yield
        finally:
            self._layouts.pop()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """What else sits on the transformer while any layout is installed: nothing, unless a subclass says so."""
        yield

    def cache_context(self, name: str, **state: Any) -> AbstractContextManager[None]:
        return self.transformer.cache_context(name, **state)

    def expect_times(self, times: torch.Tensor) -> None:
        table = find_table(self.transformer)
        if table is not None:
            table.expect(times)

    def pack(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, c, h, w) -> (B, (h/p)*(w/p), c*p*p), channels in the order (c, row in patch, column in patch)."""
        return pack_latents(latents, self.patch_size)

    def unpack(self, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """(B, height*width, c*p*p) -> (B, c, height*p, width*p)."""
        return unpack_latents(tokens, height, width, self.patch_size)

    def check_batch(
        self, tokens: torch.Tensor, sigma: torch.Tensor, text: TextFeatures, layout: Layout, channels: int
    ) -> int:
        """The batch size. Raises ValueError for shapes that are no call of this layout, InputError for prompts that are
        not this model's."""
        batch = tokens.shape[0]
        expected = (batch, layout.num_image_tokens, channels)
        if tuple(tokens.shape) != expected:
            raise ValueError(f"tokens are {tuple(tokens.shape)}, the layout needs {expected}")
        if tuple(sigma.shape) != (batch,):
            raise ValueError(f"sigma is {tuple(sigma.shape)}, one value per sample is needed: ({batch},)")
        if text.batch_size != batch:
            raise InputError(f"{text.batch_size} prompts were given for a batch of {batch}.")
        self.check_width("prompt", text.embeds.shape[2], self.capabilities.text_dim)
        return batch

    def check_width(self, name: str, found: int | None, wanted: int) -> None:
        """Raises InputError for embeddings of another width than the transformer takes."""
        if found != wanted:
            raise InputError(
                f"The {name} embeddings have width {found}, but the transformer takes {wanted}; encode the prompt with "
                "this model's own text encoder."
            )
