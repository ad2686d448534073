"""Several processes train one model: real ones, through torchrun, since `accelerate launch --cpu` starts only one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLQwenImage

from acetate.datasets.atlas import Atlas
from acetate.training.processes import agreed, average_gradients

ROOT = Path(__file__).resolve().parents[2]


def test_one_process_keeps_its_gradients_and_its_word() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.arange(3.0)
    average_gradients(Accelerator(cpu=True), [weight])
    assert weight.grad.tolist() == [0, 1, 2]
    assert agreed(Accelerator(cpu=True), 0.25, 1.0) == (0.25, 1.0)


@pytest.mark.slow
def test_two_processes_hold_one_model(world: Atlas, codec: AutoencoderKLQwenImage, tmp_path: Path) -> None:
    """They begin with different weights, see different scenes, run by the clock, and end with the same weights."""
    world.save(tmp_path / "atlas.npz")
    codec.save_pretrained(tmp_path / "vae")
    (tmp_path / "acetate").symlink_to(ROOT)
    launch = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    worker = [str(Path(__file__).with_name("two_processes.py")), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([*launch, *worker], env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]
    one, other = json.loads((tmp_path / "told.json").read_text())
    assert {one["rank"], other["rank"]} == {0, 1}
    assert len(one["shares"]) > 1 and one["shares"] == other["shares"]  # a busy core makes few steps
    assert one["digest"] == other["digest"]
