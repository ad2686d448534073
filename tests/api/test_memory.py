"""`memory=` in Python: every function takes it, the plan fits the task, and a preset beyond this machine is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acetate
from acetate import fitting, session
from acetate.errors import InputError
from acetate.fitting import plan_here, work_of
from acetate.models.layout import Layout
from acetate.models.memory.budget import GB, Budget
from acetate.models.memory.means import Means
from acetate.models.memory.plan import plan_with
from acetate.models.registry import resolve

PICTURE = np.full((48, 64, 3), 90, np.uint8)


def test_a_task_has_as_many_frames_as_its_layout() -> None:
    layouts = {
        "decompose": Layout.image_to_layers(4, 4, 3, None),
        "generate": Layout.text_to_layers(4, 4, 3, None),
        "complete": Layout.missing_layers(4, 4, 3, (1, 2), None),
        "extract": Layout.object_with_effects(4, 4),
        "transparent": Layout.one_layer(4, 4),
    }
    for task, layout in layouts.items():
        layers = {"extract": 2, "transparent": 1}.get(task, 3)
        assert work_of(task, {}, layers).frames == len(layout.frames), task


def test_the_size_is_the_models_for_pictures_and_as_asked_for_canvases() -> None:
    stored = {"default_resolution": 128, "size_multiple": 16, "default_steps": 10}
    picture, canvas = (
        work_of("decompose", stored, 2, (4000, 1000)),
        work_of("generate", stored, 2, (300, 200)),
    )
    assert (picture.width, picture.height, picture.steps) == (256, 64, 10)
    assert (canvas.width, canvas.height) == (300, 200)
    assert work_of("decompose", {}, 4, (1920, 1080)).width == 864


def run(task: str, model: Path, memory: Any) -> acetate.LayeredImage:
    common = {"model": str(model), "memory": memory}
    if task == "decompose":
        return acetate.decompose(PICTURE, 2, **common)
    if task == "generate":
        return acetate.generate("a red circle", 2, **common)
    if task == "complete":
        return acetate.complete([None, np.dstack([PICTURE, PICTURE[..., :1]])], **common)
    if task == "extract":
        return acetate.extract(PICTURE, box=(8, 8, 40, 40), **common)
    return acetate.transparent("a red circle", **common)


@pytest.mark.parametrize("task", ["decompose", "generate", "complete", "extract", "transparent"])
def test_every_task_follows_a_plan_and_makes_the_same(
    task: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(task, tiny_checkpoint, None)
    assert "memory_plan" not in plain.metadata["report"]
    means = Means(dtype="float32", table=True, text_first=True, offload="files")

    def exactly(entry: Any, memory: Any, work: Any, device: str) -> Any:
        return plan_with(fitting._inventory(entry, fitting._stamp(entry)), work, means, device)

    monkeypatch.setattr(fitting, "plan_here", exactly)
    planned = run(task, tiny_checkpoint, "auto")
    assert np.array_equal(np.asarray(planned.flatten()), np.asarray(plain.flatten()))
    report = planned.metadata["report"]["memory_plan"]
    assert [one["what"].split()[0] for one in report["means"]] == ["modulation", "text", "1"]
    assert json.loads(json.dumps(report)) == report
    without = {key: value for key, value in planned.metadata.items() if key != "report"}
    assert without == {key: value for key, value in plain.metadata.items() if key != "report"}


def test_what_changes_results_is_written_into_the_file(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = Means(dtype="bfloat16", tiling=True)
    monkeypatch.setattr(
        fitting,
        "plan_here",
        lambda entry, memory, work, device: plan_with(fitting._inventory(entry, ""), work, means, device),
    )
    document = run("decompose", tiny_checkpoint, 8)
    assert document.metadata["arguments"]["memory"] == [
        "computes in bfloat16 instead of float32",
        "the VAE works in overlapping tiles",
    ]


def test_a_table_that_was_asked_for_is_there_beside_a_plan_that_needs_none(tiny_checkpoint: Path) -> None:
    common = {"model": str(tiny_checkpoint), "memory": 8}
    plain = acetate.decompose(PICTURE, 2, **common)
    assert plain.metadata["report"]["memory_plan"]["means"] == [] and not session._loaded[-1].table
    lean = acetate.decompose(PICTURE, 2, modulation_table=True, **common)
    assert session._loaded[-1].table and lean.metadata["arguments"]["modulation_table"] is True
    assert np.array_equal(np.asarray(lean.flatten()), np.asarray(plain.flatten()))


def test_a_preset_beyond_this_machine_is_refused(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, work = resolve(tiny_checkpoint), work_of("decompose", {"default_resolution": 64}, 2)
    assert plan_here(entry, 8, work, "cpu").device == "cpu"
    monkeypatch.setattr(fitting, "_budget", lambda *_: Budget(device="cpu", memory=8 * GB, free=1000))
    with pytest.raises(InputError, match=r"--memory 8 takes 0\.0 GB, but only 0\.0 GB are free on cpu"):
        plan_here(entry, 8, work, "cpu")
    with pytest.raises(InputError, match="not 'huge'"):
        run("transparent", tiny_checkpoint, "huge")


def test_a_lora_over_parts_that_come_and_go_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import save_file

    key = "transformer.transformer_blocks.0.attn.to_q"
    lora = {f"{key}.lora_A.weight": torch.ones(2, 32), f"{key}.lora_B.weight": torch.ones(32, 2)}
    save_file(lora, tmp_path / "style.safetensors")
    common = {"model": str(tiny_checkpoint), "loras": [tmp_path / "style.safetensors"]}
    adapted = acetate.decompose(PICTURE, 2, memory=8, **common)
    assert adapted.metadata["report"]["memory_plan"]["means"] == []
    means = Means(dtype="float32", text_first=True)
    monkeypatch.setattr(
        fitting,
        "plan_here",
        lambda entry, memory, work, device: plan_with(fitting._inventory(entry, ""), work, means, device),
    )
    with pytest.raises(InputError, match=r"--memory 8 the transformer comes and goes, and a LoRA cannot"):
        acetate.decompose(PICTURE, 2, memory=8, **common)
