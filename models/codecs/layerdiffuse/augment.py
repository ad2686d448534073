"""Decoding over the eight symmetries of the square and taking the median (LayerDiffuse, arXiv 2402.17113, supplement).

    y = median over s of s^-1 g(s D(x), s x),   s: four rotations, without and with a mirror before

The median of eight is the lower of the two in the middle. Differs from the paper's code: passes of one shape may run
together. Knows any network of a picture and its latent.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

SYMMETRIES = tuple((mirror, turns) for mirror in (False, True) for turns in range(4))
Decode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def decode_augmented(
    decode: Decode, picture: torch.Tensor, latent: torch.Tensor, together: int = 1
) -> torch.Tensor:
    """The median (1, C, H, W) in [0, 1] over eight passes of one picture (1, c, H, W) and its latent.

    ``together``: up to how many passes of the same shape run as one batch (at most 4).
    """
    results: list[torch.Tensor] = []
    for odd in (0, 1):  # a quarter turn swaps height and width
        group = [symmetry for symmetry in SYMMETRIES if symmetry[1] % 2 == odd]
        for start in range(0, len(group), together):
            part = group[start : start + together]
            seen = decode(
                torch.cat([_turn(picture, *s) for s in part]), torch.cat([_turn(latent, *s) for s in part])
            )
            results += [_turn_back(one, *s) for one, s in zip(seen.clamp(0, 1).split(1), part, strict=True)]
    return torch.stack(results).median(dim=0).values


def _turn(x: torch.Tensor, mirror: bool, turns: int) -> torch.Tensor:
    return torch.rot90(x.flip(3) if mirror else x, turns, dims=(2, 3))


def _turn_back(x: torch.Tensor, mirror: bool, turns: int) -> torch.Tensor:
    x = torch.rot90(x, -turns, dims=(2, 3))
    return x.flip(3) if mirror else x
