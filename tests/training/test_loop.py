"""The loop: it learns, resumes, exports what loads again, and goes on from it."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from acetate.datasets.atlas import Atlas
from acetate.datasets.scenes import vocabulary
from acetate.training.alignment import GradientCosine
from acetate.training.chunks import ChunkStream
from acetate.training.loop import LoopSettings, Trainer
from acetate.training.model import LayersModel, ModelSettings
from acetate.training.pool import Pool
from acetate.training.tasks import TASKS, TaskBatch, TaskSettings, make_batch

TASK_SETTINGS = TaskSettings(tokens=512)


def trainer(model: LayersModel, pool: Pool, stream: ChunkStream, out: Path, **changes: object) -> Trainer:
    settings = LoopSettings(
        **{"minutes": 0.03, "batches": 1, "log_every": 2, "warm_up": 2, "average": 0.5, **changes}
    )
    rng = np.random.default_rng(0)
    kinds = {"boxes": "boxes", "object": "object"}
    batches = [make_batch(pool.encoded(stream.chunk(90 + i, kinds.get(t, "stack"))), pool, TASK_SETTINGS, rng, t)
               for i, t in enumerate(TASKS)]  # fmt: skip
    return Trainer(
        model,
        pool,
        batches,
        settings,
        TASK_SETTINGS,
        Accelerator(cpu=True),
        multiprocessing.Value("d", 0),
        out,
    )


def test_a_run_learns_and_what_it_exports_goes_on(
    world: Atlas, model: LayersModel, pool: Pool, stream: ChunkStream, tmp_path: Path
) -> None:
    run = trainer(model, pool, stream, tmp_path / "run", steps=15)
    before = run.validate()
    run.run()
    after = run.validate()
    assert set(after) >= {f"val_{task}" for task in TASKS}
    assert sum(after[f"val_{t}"] for t in TASKS) < 0.97 * sum(before[f"val_{t}"] for t in TASKS)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["share"] == 1.0 and lines[0]["tokens"] > 0
    written = load_file(tmp_path / "run" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}
    assert ModelSettings.of(tmp_path / "run") == model.settings
    assert (
        torch.load(tmp_path / "run" / "state.pt")["step"] == run.step
    )  # a run that is over can go on, however short
    other = LayersModel(vocabulary(world), model.settings)
    other.load(tmp_path / "run")
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, run.ema.shadow[name].to(torch.bfloat16).float(), atol=0, rtol=0)
    with pytest.raises(ValueError, match="other words"):
        LayersModel(["a"], model.settings).load(tmp_path / "run")


def test_a_state_resumes_exactly(model: LayersModel, pool: Pool, stream: ChunkStream, tmp_path: Path) -> None:
    first = trainer(model, pool, stream, tmp_path)
    first._step(np.random.default_rng(0), 0.1)
    first.seconds, first.cosine.mean, first.cosine.ended = 1.5, -0.25, True
    first.save()
    tokens = first.tokens
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    momentum = [v["momentum"].clone() for v in first.optimiser.state.values() if "momentum" in v]
    first._step(np.random.default_rng(1), 0.1)
    assert any(not torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    again = trainer(model, pool, stream, tmp_path, muon_lr=0.004, average=0.75)
    assert again.resume() and (again.step, again.tokens, again.seconds) == (1, tokens, 1.5)
    assert again.cosine.ended and again.cosine.mean == -0.25  # a head that was let go stays away
    assert again.optimiser.param_groups[0]["base_lr"] == 0.004 and again.ema.decay == 0.75
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    found = [v["momentum"] for v in again.optimiser.state.values() if "momentum" in v]
    assert all(torch.equal(a, b) for a, b in zip(found, momentum, strict=True)) and momentum
    rest = trainer(model, pool, stream, tmp_path, steps=3)  # as the minutes, steps are those of the whole run
    rest.resume()
    rest.run()
    assert rest.step == 3


def test_the_head_is_let_go_and_the_first_blocks_warm_up(
    model: LayersModel, pool: Pool, stream: ChunkStream, tmp_path: Path
) -> None:
    run = trainer(model, pool, stream, tmp_path, warm_blocks=0.2, align_until=0.4)
    last = model.transformer.transformer_blocks[-1].attn.to_q.weight
    first = model.transformer.transformer_blocks[0].attn.to_q.weight
    kept = last.clone(), first.clone()
    for _ in range(3):  # adaLN-zero: a block's gate must open before anything behind it can move
        run._step(np.random.default_rng(2), 0.05)
    assert torch.equal(last, kept[0]) and not torch.equal(first, kept[1])
    run._sums.clear()
    for _ in range(4):
        run._step(np.random.default_rng(3), 0.5)
    assert "align" not in run._sums and run.alignment._hidden is None


def test_rates_rise_hold_and_fall_to_zero() -> None:
    settings = LoopSettings(minutes=1, warm_up=10, decay=0.4, large=(0.1, 0.9))
    assert settings.rate(0.0, 0) == pytest.approx(0.1) and settings.rate(0.5, 100) == 1
    assert settings.rate(0.8, 100) == pytest.approx(0.5) and settings.rate(1.0, 100) == 0
    assert settings.large_share(0.2) == pytest.approx(0.1) and settings.large_share(0.7) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="share of the time"):
        LoopSettings(minutes=1, decay=0)
    with pytest.raises(ValueError, match="route"):
        LoopSettings(minutes=1, route=0)


@pytest.mark.slow
@pytest.mark.parametrize("flash", [False, True])
def test_blocks_are_compiled_once_for_every_task_and_shape(
    model: LayersModel, pool: Pool, stream: ChunkStream, flash: bool
) -> None:
    """One graph, whatever the task, the grid and the number of layers; the loss stays what it was. (A batch of one is a
    case of its own to torch's compiler; a GPU's batches never are.)"""
    rng, kinds = np.random.default_rng(3), {"boxes": "boxes", "object": "object"}
    wide = TaskSettings(tokens=1400)
    batches = [
        make_batch(pool.encoded(stream.chunk(60 + i, kinds.get(t, "stack"))), pool, wide, rng, t)
        for i, t in enumerate([*TASKS, "image", "text"])
    ]
    with torch.no_grad():
        for block in model.transformer.transformer_blocks:
            block.img_mod[1].bias.fill_(0.3)  # adaLN-zero blocks would hide whatever goes wrong in them
        model.transformer.proj_out.weight.normal_(0, 0.1)
    generator = torch.Generator().manual_seed(0)

    def losses() -> list[torch.Tensor]:
        found = []
        for batch in batches:
            generator.manual_seed(0)
            tokens = sum(len(t) for t, f in zip(_tokens(batch), batch.layout.frames, strict=True) if f.noisy)
            noise = torch.randn(len(batch), tokens, 16, generator=generator)
            found.append(model(batch, torch.full((len(batch),), 0.5), noise))
        return found

    plain = losses()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model.hurry(compiled=True, flash=flash, backend="eager")
    for one, other in zip(losses(), plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert min(map(len, batches)) > 1
    assert len({(batch.task, batch.layout.num_image_tokens) for batch in batches}) > 5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_blocks_let_the_gradient_cosine_go_through_them_twice(model: LayersModel) -> None:
    """torch's compiler gives a graph's buffers away at the first pass unless it is told not to; only inductor does."""
    torch._dynamo.reset()
    model.hurry(compiled=True, flash=False)
    layers = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.GELU(), torch.nn.Linear(32, 8))
    out = torch.compile(lambda x: layers(x), dynamic=True)(torch.randn(4, 8))
    cosine = GradientCosine(layers[0].weight)
    cosine.update(out.sum(), out.square().sum())
    assert cosine.mean is not None and -1 <= cosine.mean <= 1
    (out.sum() + out.square().sum()).backward()


def _tokens(batch: TaskBatch) -> list[range]:
    return [range(part.start, part.stop) for part in batch.layout.slices]
