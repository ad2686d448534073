"""Token routing, TREAD (Krause et al. 2025, arXiv 2501.04765): some tokens skip the middle blocks during training.

At block ``first`` a random share ``keep`` of the noisy tokens goes on; the others rejoin after block ``last - 1`` as they
were. Clean tokens always go on: a condition that is half there teaches nothing. Steps cost less on long sequences, and the
paper finds better models per step, too. Only training knows of it: without :meth:`TokenRouting.over` the network is whole.
Differs from the paper: one draw serves all samples of a batch, which share their layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..models.layout import Layout


class TokenRouting:
    """Hooks on ``blocks[first]`` to ``blocks[last - 1]`` of a transformer, idle until :meth:`over` is entered."""

    def __init__(self, transformer: Any, *, first: int, last: int, keep: float) -> None:
        blocks = transformer.transformer_blocks
        if not 0 < first < last <= len(blocks):
            raise ValueError(f"routing from block {first} to {last} needs 0 < first < last <= {len(blocks)}")
        if not 0 < keep <= 1:
            raise ValueError(f"the share of tokens that go on must lie above 0 and at most 1, not {keep}")
        self.first, self.keep = first, keep
        self._layout: Layout | None = None
        self._kept: Tensor | None = None
        self._whole: Tensor | None = None
        for block in blocks[first:last]:
            block.register_forward_pre_hook(self._narrow, with_kwargs=True)
        blocks[last - 1].register_forward_hook(self._rejoin)
        self._entry = blocks[first]

    @contextmanager
    def over(self, layout: Layout) -> Iterator[None]:
        """Routing for the forward passes of ``layout`` inside."""
        self._layout = layout
        try:
            yield
        finally:
            self._layout = self._kept = self._whole = None

    def _narrow(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        if self._layout is None:
            return None
        image, text = kwargs["image_rotary_emb"]
        hidden = kwargs["hidden_states"]
        if block is self._entry:
            noisy, total = self._layout.num_noisy_tokens, hidden.shape[1]
            chosen = (
                torch.randperm(noisy, device=hidden.device)[: max(1, round(self.keep * noisy))].sort().values
            )
            self._kept = torch.cat([chosen, torch.arange(noisy, total, device=hidden.device)])
            self._whole, hidden = hidden, hidden[:, self._kept]
        assert self._kept is not None
        return args, {**kwargs, "hidden_states": hidden, "image_rotary_emb": (image[self._kept], text)}

    def _rejoin(
        self, block: nn.Module, args: object, output: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        if self._layout is None:
            return None
        assert self._whole is not None and self._kept is not None
        text, hidden = output
        return text, self._whole.to(hidden.dtype).index_copy(1, self._kept, hidden)
