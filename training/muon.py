"""Muon: momentum whose matrix updates are orthogonalised, with AdamW for everything that is not a hidden matrix.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon). For a matrix gradient G the step is the nearest semi-orthogonal
matrix to the Nesterov momentum, found by five Newton-Schulz iterations. Convolution kernels count as matrices of
(output channels) x (everything else). Embeddings, heads, norms and biases go to AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from .precision import native_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """For each matrix of (..., R, C), one with the same row and column space and singular values near 1; in bf16 where the
    device has it."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16 if native_bf16(matrices.device) else torch.float32)
    transposed = x.shape[-2] > x.shape[-1]
    if transposed:
        x = x.mT
    x = x / (x.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    """Two kinds of parameter groups: ``kind="muon"`` (matrices and convolution kernels) and ``kind="adamw"``."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        *,
        lr: float = 0.02,
        adamw_lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.01,
    ) -> None:
        groups = [
            {"params": list(matrices), "kind": "muon", "lr": lr, "base_lr": lr},
            {"params": list(others), "kind": "adamw", "lr": adamw_lr, "base_lr": adamw_lr},
        ]
        super().__init__(
            [g for g in groups if g["params"]],
            {"momentum": momentum, "betas": betas, "weight_decay": weight_decay},
        )

    def scale_lr(self, factor: float) -> None:
        """Set every group's rate to ``factor`` times the one it was made with."""
        for group in self.param_groups:
            group["lr"] = group["base_lr"] * factor

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; rates are those that this was made with."""
        rates = [group["base_lr"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = group["base_lr"] = rate

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        for group in self.param_groups:
            with_gradient = [p for p in group["params"] if p.grad is not None]
            if group["kind"] == "muon":
                self._muon(with_gradient, group)
            elif with_gradient:
                self._adamw(with_gradient, group)

    def _muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            direction = p.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
            by_shape.setdefault(tuple(direction.shape), []).append((p, direction))
        for (
            rows,
            columns,
        ), members in by_shape.items():  # equal shapes together: one batched product is far faster
            steps = orthogonalise(torch.stack([d for _, d in members]))
            for (p, _), step in zip(members, steps, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(step.view_as(p).to(p.dtype), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p].update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            self.state[p]["step"] += 1
        means, squares = [self.state[p]["mean"] for p in params], [self.state[p]["square"] for p in params]
        gradients, step = [p.grad for p in params], self.state[params[0]]["step"]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, (1 - second**step) ** 0.5)
        torch._foreach_add_(denominators, 1e-8)
        torch._foreach_addcdiv_(params, means, denominators, value=-group["lr"] / (1 - first**step))


def split_parameters(module: torch.nn.Module, heads: tuple[str, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """(matrices for Muon, the rest for AdamW); parameters whose name starts with one of ``heads`` count as the rest."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, p in module.named_parameters():
        if p.requires_grad:
            (
                matrices
                if p.ndim >= 2 and min(p.shape[0], p[0].numel()) > 1 and not name.startswith(heads)
                else others
            ).append(p)
    return matrices, others
