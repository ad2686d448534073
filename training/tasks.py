"""What the transformer learns, batch by batch: which frames are noisy, which are given, and what the text says.

A task is a :class:`~acetate.models.layout.Layout` plus the latents of its frames; the network never hears its name. Every
sample of a batch shares one layout. Six tasks: ``image`` (to layers, sometimes with known boxes), ``text`` (to layers),
``boxes`` (text to layers with cropped frames), ``missing`` (layers from given ones), ``one`` (a single transparent layer)
and ``object`` (with its shadow and reflection, off its background).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models.layout import Layout
from ..models.text import PROMPT_TOKENS
from .pool import Pool, Stored

TASKS = ("image", "text", "boxes", "missing", "one", "object")
EOS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """Shares of the tasks within a kind of chunk: ``stack`` over (image, text, missing, one), ``boxed``: image to layers
    with known boxes among the batches of "boxes" chunks. ``tokens``: image tokens a batch. ``fewer``: share of batches
    with more layers than there are objects, so that the top ones stay empty: one more from text, up to ``most_layers`` from
    a picture, as ``layers="auto"`` runs. ``caption``: share of image-to-layers batches
    that are told what the picture shows. ``drop``: share of text batches without any text, for guidance.
    """

    stack: tuple[float, float, float, float] = (0.6, 0.14, 0.14, 0.12)
    boxed: float = 0.15
    tokens: int = 65536
    fewer: float = 0.3
    caption: float = 0.2
    drop: float = 0.1
    most_layers: int = 5
    even_weights: bool = False
    """Empty tokens count as much as all others."""


@dataclass(frozen=True, kw_only=True)
class TaskBatch:
    """``latents`` (B, F, C, h, w) normalised, in the layout's frame order; ``weights`` (B, noisy frames, tokens) in 0..1
    over the full token grid; ``coverage`` and ``visible`` (B, N, tokens): each layer's mean alpha and its share of what is
    seen. ``scene_ids`` (B, 48) and ``layer_ids`` (B, n, 16) or None, on the CPU; ``described``: the layers' numbers."""

    task: str
    layout: Layout
    latents: Tensor
    weights: Tensor
    coverage: Tensor
    visible: Tensor
    scene_ids: Tensor
    layer_ids: Tensor | None
    described: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.latents)


def next_batch(pool: Pool, settings: TaskSettings, rng: np.random.Generator) -> TaskBatch:
    """A batch of some task from the pool."""
    stored = pool.draw(rng)
    batch = make_batch(stored, pool, settings, rng)
    pool.used(stored, len(batch))
    return batch


def make_batch(
    stored: Stored, pool: Pool, settings: TaskSettings, rng: np.random.Generator, task: str | None = None
) -> TaskBatch:
    """A batch from one chunk, of the given task or of one that the shares choose."""
    if task is None:
        if stored.chunk.kind == "stack":
            shares = np.array(settings.stack) / sum(settings.stack)
            task = str(rng.choice(["image", "text", "missing", "one"], p=shares))
        else:
            boxed = stored.chunk.kind == "boxes" and rng.random() < settings.boxed
            task = "image" if boxed else stored.chunk.kind
    return _Maker(stored, pool, settings, rng).make(task)


class _Maker:
    def __init__(self, stored: Stored, pool: Pool, settings: TaskSettings, rng: np.random.Generator) -> None:
        self.stored, self.pool, self.settings, self.rng = stored, pool, settings, rng
        self.rows, self.columns = stored.chunk.grid
        self.layers = stored.chunk.layers
        self.group = int(rng.integers(len(stored.boxes))) if stored.boxes else None

    def make(self, task: str) -> TaskBatch:
        if task == "one":
            return self._one()
        if task == "object":
            layout = Layout.object_with_effects(self.rows, self.columns)
            return self._batch(task, layout, [0, 1, 2, 3], weights_as_stored=True)
        boxes = None if self.group is None else self.stored.boxes[self.group]
        layers = self.layers
        room = self.settings.most_layers - layers if boxes is None else 0
        extra = 0
        if room > 0 and self.rng.random() < self.settings.fewer:
            extra = int(self.rng.integers(1, room + 1)) if task == "image" else 1
        if task == "missing":
            layout = self._missing()
        elif task == "image":
            layers += extra
            layout = Layout.image_to_layers(self.rows, self.columns, layers, boxes)
        else:
            layers += extra
            layout = Layout.text_to_layers(self.rows, self.columns, layers, boxes)
        return self._batch(task, layout, [self._frame(frame.index) for frame in layout.frames])

    def _frame(self, index: int) -> int:
        """Which stored frame belongs at a layer index: composite, L1..LN, the condition (-1), or an empty layer (> N)."""
        if index < 0:
            return self.layers + 1
        return index if index <= self.layers else self.layers + 2

    def _missing(self) -> Layout:
        draw, every = self.rng.random(), range(1, self.layers + 1)
        if draw < 0.4:
            given = [1]
        elif draw < 0.7:
            given = list(every)[1:]
        else:
            given = [k for k in every if self.rng.random() < 0.5][: self.layers - 1]
        return Layout.missing_layers(self.rows, self.columns, self.layers, given)

    def _pick(self, tokens: int) -> np.ndarray:
        """Rows of the chunk: as many as fit ``settings.tokens``, of one group where boxes are shared."""
        chunk = self.stored.chunk
        count = chunk.group if self.group is not None else len(chunk)
        size = min(count, max(1, self.settings.tokens // tokens))
        first = self.group * chunk.group if self.group is not None else 0
        return first + self.rng.permutation(count)[:size]

    def _batch(
        self, task: str, layout: Layout, order: list[int], *, weights_as_stored: bool = False
    ) -> TaskBatch:
        picked = self._pick(layout.num_image_tokens)
        rows = torch.from_numpy(picked).to(self.stored.latents.device, non_blocking=True)
        latents, known = self.stored.latents[rows], self.stored.weights[rows]
        if max(order) == latents.shape[1]:
            empty = self.pool.blank(self.stored.chunk.grid).expand(len(rows), 1, -1, -1, -1)
            latents = torch.cat([latents, empty], 1)
            known = torch.cat([known, torch.full_like(known[:, :1], 0.25)], 1)
        if not weights_as_stored:
            last = known.shape[1] - 1  # every layer that nothing belongs to shares the empty one's weights
            known = known[:, [min(frame.index, last) for frame in layout.noisy_frames]]
            if task in ("image", "missing"):
                known[:, 0] = 0.3  # the composite is nearly given
        if self.settings.even_weights:
            known = torch.ones_like(known)
        scene_ids, layer_ids, described = self._text(task, picked)
        return TaskBatch(
            task=task,
            layout=layout,
            latents=latents[:, order].float(),
            weights=known,
            coverage=self.stored.coverage[rows],
            visible=self.stored.visible[rows],
            scene_ids=scene_ids,
            layer_ids=layer_ids,
            described=described,
        )

    def _one(self) -> TaskBatch:
        layout = Layout.one_layer(self.rows, self.columns)
        picked = self._pick(layout.num_image_tokens)
        layer = self.rng.integers(1, self.layers, len(picked))
        layer[self.rng.random(len(picked)) < 0.1] = 0
        device = self.stored.latents.device
        rows, chosen = (torch.from_numpy(v).to(device, non_blocking=True) for v in (picked, layer))
        ids = np.zeros((len(picked), PROMPT_TOKENS), np.int64)
        said = self.stored.chunk.layer_ids[picked, layer]
        ids[:, : said.shape[1]] = said
        if self.rng.random() < self.settings.drop:
            ids = _nothing(len(picked))
        return TaskBatch(
            task="one",
            layout=layout,
            latents=self.stored.latents[rows, chosen + 1][:, None].float(),
            weights=self.stored.weights[rows, chosen + 1][:, None],
            coverage=self.stored.coverage[rows],
            visible=self.stored.visible[rows],
            scene_ids=torch.from_numpy(ids),
            layer_ids=None,
            described=(),
        )

    def _text(self, task: str, picked: np.ndarray) -> tuple[Tensor, Tensor | None, tuple[int, ...]]:
        """Scene prompt ids, layer prompt ids and the layers they belong to: all, only some, or none of it."""
        chunk, rng = self.stored.chunk, self.rng
        scene, nothing = chunk.scene_ids[picked], _nothing(len(picked))
        if task in ("image", "object"):
            told = task == "image" and rng.random() < self.settings.caption
            return torch.from_numpy(scene if told else nothing), None, ()
        if rng.random() < self.settings.drop:
            return torch.from_numpy(nothing), None, ()
        if task == "text" and rng.random() < 0.3:
            return torch.from_numpy(scene), None, ()
        numbers = list(range(1, self.layers + 1))
        if rng.random() < 0.25:
            numbers = numbers[1:]  # the background goes unsaid
        elif rng.random() < 0.15:
            numbers = [k for k in numbers if rng.random() < 0.6] or numbers
        said = chunk.layer_ids[picked][:, [k - 1 for k in numbers]]
        whole = scene if rng.random() < 0.6 else nothing
        return torch.from_numpy(whole), torch.from_numpy(said), tuple(numbers)


def _nothing(count: int) -> np.ndarray:
    ids = np.zeros((count, PROMPT_TOKENS), np.int64)
    ids[:, 0] = EOS
    return ids
