"""What one call asks of a model, in numbers: pixels, layers, frames. Knows nothing of models or of memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from ...errors import InputError

Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call: ``width`` x ``height`` pixels at the model's size, ``frames`` of that size in the token sequence, of which
    ``layers`` come back as layers; ``batch`` results at once. ``steps``: of the schedule, entries of a modulation table.
    ``branches``: prompts whose conditions such a table knows, where it depends on them. ``boxes``: in pixels, one per
    layer, of those that are cropped to one (None in it: the whole canvas); None where every layer fills the canvas.
    ``picture``: whether a picture is encoded."""

    width: int
    height: int
    layers: int
    frames: int
    batch: int = 1
    steps: int = 50
    branches: int = 1
    boxes: tuple[Box | None, ...] | None = None
    picture: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "height", "layers", "frames", "batch", "steps", "branches"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1 to plan memory for, not {getattr(self, name)}")

    @classmethod
    def decompose(cls, width: int, height: int, layers: int, *, batch: int = 1, steps: int = 50) -> Self:
        """A picture to ``layers`` layers: the composite and the picture itself are frames too."""
        return cls(width=width, height=height, layers=layers, frames=layers + 2, batch=batch, steps=steps)

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def cells(self, cell: int) -> list[Box | None] | None:
        """The boxes in tokens of ``cell`` pixels a side, never empty."""
        if self.boxes is None:
            return None
        return [None if box is None else _cells(box, cell) for box in self.boxes]

    def fewer(self, layers: int) -> Self:
        """The same with the lowest ``layers`` layers."""
        boxes = None if self.boxes is None else self.boxes[:layers]
        return replace(self, layers=layers, frames=self.frames - self.layers + layers, boxes=boxes)

    def resized(self, width: int, height: int) -> Self:
        """The same on another canvas, boxes scaled with it."""
        if self.boxes is None:
            return replace(self, width=width, height=height)
        across, down = (width, self.width), (height, self.height)
        boxes = tuple(
            None
            if box is None
            else (
                _scaled(box[0], *across),
                _scaled(box[1], *down),
                _scaled(box[2], *across),
                _scaled(box[3], *down),
            )
            for box in self.boxes
        )
        return replace(self, width=width, height=height, boxes=boxes)


def _scaled(edge: int, new: int, old: int) -> int:
    return edge * new // old


def _cells(box: Box, cell: int) -> Box:
    left, top = box[0] // cell, box[1] // cell
    return left, top, max(left + 1, -(-box[2] // cell)), max(top + 1, -(-box[3] // cell))
