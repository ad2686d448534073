"""Chunks, the pool and the tasks: what a batch shows the network is what the scenes hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acetate.datasets.render import over
from acetate.models.layout import Layout, Role
from acetate.training.chunks import ChunkSettings, ChunkStream
from acetate.training.pool import Pool
from acetate.training.tasks import TASKS, TaskSettings, make_batch, next_batch

SETTINGS = TaskSettings(tokens=1024, fewer=0.0, drop=0.0)


def kind_for(task: str) -> str:
    return task if task in ("boxes", "object") else "stack"


def test_a_chunk_depends_on_its_number_alone(stream: ChunkStream) -> None:
    first, again, other = stream.chunk(3), stream.chunk(3), stream.chunk(4)
    assert np.array_equal(first.packed.place, again.packed.place) and np.array_equal(
        first.scene_ids, again.scene_ids
    )
    assert not np.array_equal(first.scene_ids, other.scene_ids)
    assert {stream.chunk(n).kind for n in range(30)} == {"stack", "boxes", "object"}
    stream.large.value = 1.0
    assert max(stream.chunk(3).grid) >= 16 and len(stream.chunk(3)) == len(first) // 2


def test_boxes_are_shared_by_every_scene_of_a_group(stream: ChunkStream, pool: Pool) -> None:
    stored = pool.encoded(stream.chunk(1, "boxes"))
    batch = make_batch(stored, pool, SETTINGS, np.random.default_rng(0), "boxes")
    boxes = [frame.box for frame in batch.layout.frames]
    assert len(stored.boxes) == 2 and boxes[:2] == [None, None] and [None, *boxes[2:]] in stored.boxes
    outside = stored.coverage[: stored.chunk.group, 1].clone().view(-1, *stored.chunk.grid)
    x0, y0, x1, y1 = stored.boxes[0][1] or (0, 0, 0, 0)
    outside[:, y0:y1, x0:x1] = 0
    assert float(outside.max()) < 0.01


@pytest.mark.parametrize("task", TASKS)
def test_every_task_shows_its_layout(stream: ChunkStream, pool: Pool, task: str) -> None:
    stored = pool.encoded(stream.chunk(7, kind_for(task)))
    batch = make_batch(stored, pool, SETTINGS, np.random.default_rng(1), task)
    layout, count = batch.layout, len(batch)
    assert batch.latents.shape[:2] == (count, len(layout.frames))
    assert batch.weights.shape == (count, len(layout.noisy_frames), layout.height * layout.width)
    assert float(batch.weights.min()) >= 0.25 and float(batch.weights.max()) <= 1
    assert batch.scene_ids.shape == (count, 48)
    if task == "object":
        assert layout == Layout.object_with_effects(layout.height, layout.width)
    if task == "one":
        assert layout == Layout.one_layer(layout.height, layout.width)
    if task == "missing":
        assert layout.clean_frames and all(frame.role is not Role.CONDITION for frame in layout.clean_frames)
    if task in ("text", "boxes", "missing"):
        assert batch.layer_ids is None or batch.layer_ids.shape[1] == len(batch.described)


def test_frames_are_the_latents_of_their_pictures(stream: ChunkStream, pool: Pool) -> None:
    chunk = stream.chunk(7, "stack")
    stored = pool.encoded(chunk)
    height, width = (16 * side for side in chunk.grid)
    rendered = pool.renderer.render(chunk.packed, height, width)
    direct = pool.codec.encode(rendered.layers[:, 1] * 2 - 1)
    torch.testing.assert_close(stored.latents[:, 2].float(), direct, atol=0.05, rtol=0.02)
    wide = TaskSettings(tokens=1 << 20, fewer=1.0, most_layers=chunk.layers + 1)
    batch = make_batch(stored, pool, wide, np.random.default_rng(0), "image")
    assert len(batch) == len(chunk) and len(batch.layout.noisy_frames) == chunk.layers + 2
    empty = pool.blank(chunk.grid).float()
    torch.testing.assert_close(batch.latents[0, -2], empty)  # the layer too many is empty
    assert torch.equal(batch.weights[:, -1], torch.full_like(batch.weights[:, -1], 0.25))
    wider = TaskSettings(tokens=1024, fewer=1.0, most_layers=chunk.layers + 3)
    seen = set()
    for seed in range(12):
        batch = make_batch(stored, pool, wider, np.random.default_rng(seed), "image")
        added = len(batch.layout.noisy_frames) - 1 - chunk.layers
        seen.add(added)
        for frame in range(1 + chunk.layers, 1 + chunk.layers + added):
            torch.testing.assert_close(batch.latents[0, frame], empty)
        assert batch.weights.shape[1] == len(batch.layout.noisy_frames)
        text = make_batch(stored, pool, wider, np.random.default_rng(seed), "text")
        assert len(text.layout.noisy_frames) == 1 + chunk.layers + 1
    assert seen == {1, 2, 3}  # as many as `layers="auto"` may leave over


def test_an_object_is_what_its_background_lacks(stream: ChunkStream, pool: Pool) -> None:
    chunk = next(c for c in (stream.chunk(n, "object") for n in range(20)) if not c.damaged)
    stored = pool.encoded(chunk)
    height, width = (16 * side for side in chunk.grid)
    rendered = pool.renderer.render(chunk.packed, height, width)
    tops = np.array(chunk.packed.counts) - 1
    layers = rendered.layers
    beneath = layers.clone()
    beneath[torch.arange(len(chunk)), tops, 3] = 0
    lifted = layers[torch.arange(len(chunk)), tops]
    whole = over(torch.stack([over(beneath), lifted], 1))
    torch.testing.assert_close(whole[:, :3], rendered.composite[:, :3], atol=2e-3, rtol=0)
    torch.testing.assert_close(
        stored.latents[:, 0].float(), pool.codec.encode(over(beneath) * 2 - 1), atol=0.05, rtol=0.02
    )


def test_the_pool_renews_itself(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        next_batch(pool, SETTINGS, rng)
    assert pool.scenes > 4 * 8


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="2 x group"):
        ChunkSettings(scenes=10, group=4)
    with pytest.raises(ValueError, match="more than all"):
        ChunkSettings(boxes=0.7, objects=0.5)
    with pytest.raises(ValueError, match="more must lie"):
        ChunkSettings(more=1.5)
