"""What the tokens of one denoising call are: an immutable ``Layout`` of frames and text spans.

Everything a transformer adapter needs (slices, integer positions, crops) is derived here from a handful of integers.
This module knows nothing of networks, latents' values, pixels or prompts: it counts, indexes and checks.

Conventions: the token grid is ``height x width``; boxes are (x0, y0, x1, y1) on that grid, half-open; tokens run row by
row inside a frame, frames follow one another in the given order, noisy frames first and clean frames after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import torch

from ..errors import InputError

Box = tuple[int, int, int, int]


class Role(str, Enum):  # noqa: UP042 - (str, Enum) keeps `str(role)` and hashing as in the rest of the package
    """What a frame is. The order is part of the frame embedding's weights: append, never insert."""

    COMPOSITE = "composite"
    BACKGROUND = "background"
    LAYER = "layer"
    CONDITION = "condition"
    MASK = "mask"
    REFERENCE = "reference"
    LINE_ART = "line-art"
    FLAT = "flat"
    SHADOW = "shadow"
    HIGHLIGHT = "highlight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One picture in the sequence.

    ``index`` is its place on the layer axis of the rotary embedding (composite 0, layers 1..N bottom to top, condition
    -1). ``box`` keeps only the tokens inside it, None the whole canvas. ``noisy`` frames are sampled, others are given.
    """

    role: Role
    index: int
    box: Box | None = None
    noisy: bool = True

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of this frame's tokens on a ``height`` x ``width`` grid."""
        if self.box is None:
            return height, width
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSpan:
    """``length`` consecutive text tokens; ``index`` None is the scene prompt, k the prompt of the frame with index k."""

    length: int
    index: int | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Frames on a ``height`` x ``width`` token grid plus the text spans that go with them. Hashable and immutable.

    Raises InputError when the grid is empty, there is no frame, a clean frame comes before a noisy one, a box leaves
    the grid or is empty, or a text span is empty or belongs to a layer index that no frame has.
    """

    height: int
    width: int
    frames: tuple[Frame, ...]
    text: tuple[TextSpan, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        object.__setattr__(self, "text", tuple(self.text))
        if self.height < 1 or self.width < 1:
            raise InputError(
                f"A layout needs at least one token, not a grid of {self.height} x {self.width}."
            )
        if not self.frames:
            raise InputError("A layout needs at least one frame.")
        noisy = [frame.noisy for frame in self.frames]
        if sorted(noisy, reverse=True) != noisy:
            raise InputError(
                "Noisy frames come first in a layout and clean frames after them; reorder the frames."
            )
        for frame in self.frames:
            _check_box(frame, self.height, self.width)
        indices = {frame.index for frame in self.frames}
        for span in self.text:
            if span.length < 1:
                raise InputError(f"A text span needs at least one token, not {span.length}.")
            if span.index is not None and span.index not in indices:
                raise InputError(
                    f"A text span belongs to layer {span.index}, but the layout has no such frame."
                )

    # -- constructors ----------------------------------------------------------------------------------------------

    @classmethod
    def image_to_layers(
        cls, height: int, width: int, layers: int, boxes: Sequence[Box | None] | None = None
    ) -> Layout:
        """Qwen-Image-Layered I2L: noisy [composite, L1..LN], then the clean condition at layer index -1.

        L1 is the background and never has a box; ``boxes`` holds one token box or None per layer, bottom to top.
        """
        condition = Frame(role=Role.CONDITION, index=-1, noisy=False)
        return cls(height=height, width=width, frames=(*_stack(layers, boxes), condition))

    @classmethod
    def text_to_layers(
        cls, height: int, width: int, layers: int, boxes: Sequence[Box | None] | None = None
    ) -> Layout:
        """Qwen-Image-Layered T2L and MRT: noisy [composite, L1..LN], nothing given but text. Boxes as above."""
        return cls(height=height, width=width, frames=_stack(layers, boxes))

    @classmethod
    def missing_layers(
        cls,
        height: int,
        width: int,
        layers: int,
        given: Collection[int],
        boxes: Sequence[Box | None] | None = None,
    ) -> Layout:
        """Some layers from others (LASAGNA's background to foreground and back): noisy [composite, the missing layers],
        then the clean layers ``given`` (numbers from 1, the background), each at its own index. Boxes as above.

        Raises InputError when a given number is no layer or nothing is missing.
        """
        frames = _stack(layers, boxes)
        known = sorted(set(given))
        if any(not 1 <= number <= layers for number in known):
            raise InputError(f"The given layers {known} must be numbers from 1 to {layers}.")
        if len(known) == layers:
            raise InputError("All layers are given, so there is nothing to make.")
        clean = tuple(replace(frames[number], noisy=False) for number in known)
        return cls(
            height=height,
            width=width,
            frames=(*(frame for frame in frames if frame.index not in known), *clean),
        )

    @classmethod
    def one_layer(cls, height: int, width: int) -> Layout:
        """One transparent layer from text (LayerDiffuse, AlphaVAE): a single noisy frame at layer index 0."""
        return cls(height=height, width=width, frames=(Frame(role=Role.LAYER, index=0),))

    @classmethod
    def object_with_effects(cls, height: int, width: int) -> Layout:
        """LayerDecomp: noisy [background without the object, the object with its effects], then the clean composite at
        layer index -1 and the object's mask at -2."""
        frames = (
            Frame(role=Role.BACKGROUND, index=1),
            Frame(role=Role.LAYER, index=2),
            Frame(role=Role.CONDITION, index=-1, noisy=False),
            Frame(role=Role.MASK, index=-2, noisy=False),
        )
        return cls(height=height, width=width, frames=frames)

    def with_text(self, spans: Sequence[TextSpan]) -> Layout:
        """The same frames with other text spans; returns self when nothing changes, so that caches hit."""
        spans = tuple(spans)
        return self if spans == self.text else replace(self, text=spans)

    # -- counts and slices -----------------------------------------------------------------------------------------

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each frame's tokens are in the image sequence."""
        result, start = [], 0
        for frame in self.frames:
            rows, columns = frame.size(self.height, self.width)
            result.append(slice(start, start + rows * columns))
            start += rows * columns
        return tuple(result)

    @cached_property
    def text_slices(self) -> tuple[slice, ...]:
        """Where each span's tokens are in the text sequence."""
        result, start = [], 0
        for span in self.text:
            result.append(slice(start, start + span.length))
            start += span.length
        return tuple(result)

    @property
    def num_image_tokens(self) -> int:
        return self.slices[-1].stop

    @cached_property
    def num_noisy_tokens(self) -> int:
        return sum(s.stop - s.start for s, frame in zip(self.slices, self.frames, strict=True) if frame.noisy)

    @property
    def num_text_tokens(self) -> int:
        return self.text_slices[-1].stop if self.text else 0

    @property
    def noisy_slice(self) -> slice:
        """The noisy frames' tokens: always the front of the image sequence."""
        return slice(0, self.num_noisy_tokens)

    @cached_property
    def noisy_frames(self) -> tuple[Frame, ...]:
        return tuple(frame for frame in self.frames if frame.noisy)

    @cached_property
    def clean_frames(self) -> tuple[Frame, ...]:
        return tuple(frame for frame in self.frames if not frame.noisy)

    # -- positions -------------------------------------------------------------------------------------------------

    def positions(self) -> torch.Tensor:
        """(S, 3) int64 of (layer, row, column), global on the grid and uncentred: a cropped frame keeps its place."""
        parts = []
        for frame in self.frames:
            grid = self.grid_index(frame)
            layer = torch.full_like(grid, frame.index)
            parts.append(torch.stack((layer, grid // self.width, grid % self.width), dim=1))
        return torch.cat(parts)

    @cached_property
    def text_start(self) -> int:
        """Rotary position k of the first text token: past every centred row, column and layer (Qwen's rule)."""
        return max(self.height // 2, self.width // 2, max(frame.index for frame in self.frames) + 1)

    def text_positions(self, start: int | None = None) -> torch.Tensor:
        """(T, 3) int64 rotary positions of the text tokens, used as they are (not centred).

        Scene tokens sit at k+j on all three axes; tokens of a layer's own span sit on that layer and at k+j' in row and
        column, where j' counts on over all spans. ``start`` replaces k (:attr:`text_start`).
        """
        first = self.text_start if start is None else start
        along = torch.arange(first, first + self.num_text_tokens, dtype=torch.int64)
        result = along[:, None].repeat(1, 3)
        for span, where in zip(self.text, self.text_slices, strict=True):
            if span.index is not None:
                result[where, 0] = span.index
        return result

    # -- crops -----------------------------------------------------------------------------------------------------

    def grid_index(self, frame: Frame | int) -> torch.Tensor:
        """(n,) int64: which tokens of the full grid the frame keeps, row by row. ``frame`` may be its number."""
        frame = self._frame(frame)
        x0, y0, x1, y1 = frame.box or (0, 0, self.width, self.height)
        rows = torch.arange(y0, y1, dtype=torch.int64)[:, None] * self.width
        return (rows + torch.arange(x0, x1, dtype=torch.int64)).reshape(-1)

    def crop(self, full_tokens: torch.Tensor, frame: Frame | int) -> torch.Tensor:
        """(B, height*width, C) -> (B, n, C): the tokens that the frame keeps."""
        frame = self._frame(frame)
        self._check_full(full_tokens)
        if frame.box is None:
            return full_tokens
        return full_tokens[:, self.grid_index(frame).to(full_tokens.device)]

    def scatter(
        self, tokens: torch.Tensor, frame: Frame | int, fill: torch.Tensor | float | None = None
    ) -> torch.Tensor:
        """(B, n, C) -> (B, height*width, C): the inverse of :meth:`crop`; tokens outside the box are ``fill``.

        ``fill`` None is zero; a tensor must broadcast to (B, height*width, C).
        """
        frame = self._frame(frame)
        index = self.grid_index(frame).to(tokens.device)
        if tokens.ndim != 3 or tokens.shape[1] != index.numel():
            raise ValueError(
                f"expected (B, {index.numel()}, C) tokens for {frame}, got {tuple(tokens.shape)}"
            )
        if frame.box is None:
            return tokens
        shape = (tokens.shape[0], self.height * self.width, tokens.shape[2])
        full = torch.as_tensor(0.0 if fill is None else fill, dtype=tokens.dtype, device=tokens.device)
        return full.expand(shape).clone().index_copy(1, index, tokens)

    def _frame(self, frame: Frame | int) -> Frame:
        return self.frames[frame] if isinstance(frame, int) else frame

    def _check_full(self, tokens: torch.Tensor) -> None:
        if tokens.ndim != 3 or tokens.shape[1] != self.height * self.width:
            raise ValueError(f"expected (B, {self.height * self.width}, C) tokens, got {tuple(tokens.shape)}")


def _stack(layers: int, boxes: Sequence[Box | None] | None) -> tuple[Frame, ...]:
    if layers < 0:
        raise InputError(f"The number of layers cannot be negative, but {layers} was given.")
    if boxes is not None and len(boxes) != layers:
        raise InputError(
            f"{len(boxes)} boxes were given for {layers} layers; give one box (or None) per layer."
        )
    boxes = list(boxes) if boxes is not None else [None] * layers
    if boxes and boxes[0] is not None:
        raise InputError("The bottom layer is the background and fills the canvas; it cannot have a box.")
    frames = [Frame(role=Role.COMPOSITE, index=0)]
    for number, box in enumerate(boxes, start=1):
        frames.append(Frame(role=Role.BACKGROUND if number == 1 else Role.LAYER, index=number, box=box))
    return tuple(frames)


def _check_box(frame: Frame, height: int, width: int) -> None:
    if frame.box is None:
        return
    x0, y0, x1, y1 = frame.box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"The token box {frame.box} of the {frame.role.value} frame {frame.index} is empty or leaves the "
            f"{width} x {height} token grid."
        )
