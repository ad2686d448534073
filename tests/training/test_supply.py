"""What the training scripts begin with: a device that is there, batches to train on, and batches to judge by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import Atlas
from acetate.errors import InputError
from acetate.training.model import LayersModel
from acetate.training.processes import open_accelerator
from acetate.training.supply import Preset, open_supply
from acetate.training.tasks import TASKS, TaskSettings, next_batch


def wider(world: Atlas) -> Atlas:
    """So many sprites that some of every kind are held out."""
    sprites = [replace(one, name=f"{one.name}-{turn}") for turn in range(8) for one in world.sprites]
    return Atlas(pixels=np.concatenate([world.pixels] * 8), sprites=tuple(sprites))


def test_validation_has_every_task_and_never_changes(
    world: Atlas, model: LayersModel, codec: AutoencoderKLQwenImage, tmp_path: Path
) -> None:
    codec.save_pretrained(tmp_path)
    world = wider(world)
    preset = Preset(tokens=512, scenes=8, group=4, pool=2, reuse=2.0, workers=0, large=0.0)
    supply = open_supply(world, model.tokenizer, tmp_path, preset, torch.device("cpu"), large=0.5)
    assert supply.large.value == 0.5
    small = supply.validation(512, large=False)
    assert [batch.task for batch in small] == list(TASKS)
    next_batch(supply.pool, TaskSettings(tokens=512), np.random.default_rng(0))
    every = supply.validation(512, large=True)
    assert [batch.task for batch in every] == [*TASKS, *TASKS] and supply.large.value == 0.5
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(small, every, strict=False))
    sides = [max(batch.layout.height, batch.layout.width) for batch in every]
    assert max(sides[: len(TASKS)]) < min(sides[len(TASKS) :])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_sizes_for_a_gpu_never_meet_a_cpu() -> None:
    with open_accelerator("cpu") as accelerator:
        assert accelerator.device.type == "cpu"
    with pytest.raises(InputError, match="--device cuda: torch finds none here"), open_accelerator("cuda"):
        pass
