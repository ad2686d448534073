"""An alignment head on exact labels: what REPA asks of a foreign encoder, procedural scenes know for certain.

From the image tokens after a middle block, one linear layer tells for each token of the condition which layer is seen
there, and for each token of a layer how much of it the layer covers. It shapes the features early in training and is
then let go, as HASTE (Wang et al. 2025) found best: at a fixed share of the run, or as soon as its gradient turns against
the loss's. Nothing of it remains in the model.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.layout import Layout, Role


class LayerAlignment(nn.Module):
    """Reads block number ``block`` of ``transformer``; knows at most ``max_layers`` layers."""

    def __init__(self, transformer: Any, *, dim: int, block: int, max_layers: int) -> None:
        super().__init__()
        self.seen, self.covered = nn.Linear(dim, max_layers), nn.Linear(dim, 1)
        self._hidden: Tensor | None = None
        transformer.transformer_blocks[block].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: object, output: tuple[Tensor, Tensor]) -> None:
        self._hidden = output[1]

    def forget(self) -> None:
        """Drop what the last forward pass left here, and the graph behind it."""
        self._hidden = None

    def loss(self, layout: Layout, coverage: Tensor, visible: Tensor) -> Tensor:
        """Cross-entropy of both predictions for the last forward pass. coverage, visible: (B, N, tokens) in [0, 1], a
        layer's mean alpha and its share of what is seen, bottom to top, over the full token grid. A frame beyond the N
        layers is empty."""
        if self._hidden is None:
            raise RuntimeError("run the transformer before asking for the alignment loss")
        hidden, self._hidden = self._hidden.float(), None
        total = hidden.new_zeros(())
        for frame, tokens in zip(layout.frames, layout.slices, strict=True):
            part = hidden[:, tokens]
            if frame.role is Role.CONDITION:
                share = visible.transpose(1, 2)
                logits = self.seen(part)[..., : share.shape[-1]]
                total = total - (share * F.log_softmax(logits, -1)).sum(-1).mean()
            elif frame.index >= 2:
                known = frame.index <= coverage.shape[1]
                full = coverage[:, frame.index - 1] if known else torch.zeros_like(coverage[:, 0])
                share = layout.crop(full[..., None], frame)[..., 0]
                logits = self.covered(part)[..., 0]
                total = total + F.binary_cross_entropy_with_logits(logits, share) / visible.shape[1]
        return total


class GradientCosine:
    """Whether the head still helps: the cosine between the gradients of both losses at one weight, averaged; ``ended``
    once the average falls below 0 (HASTE's rule). The first ``settle`` measurements are not judged: one batch is noise,
    and a head that knows nothing yet pulls anywhere."""

    def __init__(self, weight: Tensor, keep: float = 0.7, settle: int = 5) -> None:
        self.weight, self.keep, self.settle, self.ended = weight, keep, settle, False
        self.mean: float | None = None
        self._seen = 0

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far."""
        return {"mean": self.mean, "seen": self._seen, "ended": self.ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.mean, self._seen, self.ended = state["mean"], state["seen"], state["ended"]

    def update(self, loss: Tensor, extra: Tensor) -> None:
        """Take in one measurement; both graphs stay alive."""
        gradients = [
            torch.autograd.grad(x, self.weight, retain_graph=True)[0].flatten() for x in (loss, extra)
        ]
        cosine = float(F.cosine_similarity(*gradients, dim=0))
        self.mean = cosine if self.mean is None else self.keep * self.mean + (1 - self.keep) * cosine
        self._seen += 1
        self.ended = self.ended or (self._seen > self.settle and self.mean < 0)
