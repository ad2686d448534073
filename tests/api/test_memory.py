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
from acetate.fitting import Call, model_inventory, plan_here, work_of
from acetate.models.layout import Layout
from acetate.models.lora import read_loras
from acetate.models.memory.budget import GB, Budget
from acetate.models.memory.inventory import inventory_of
from acetate.models.memory.means import Means, ladder
from acetate.models.memory.plan import ladder_for, plan_with
from acetate.models.memory.prediction import predict
from acetate.models.quantised.gguf_writing import write_gguf
from acetate.models.registry import resolve
from acetate.pipelines import FluxTransparentImagePipeline, RegionLayersPipeline, flux_base
from acetate.session import ModelOptions

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


def test_plans_for_flux_count_what_its_pipelines_run() -> None:
    pipelines = {"transparent": FluxTransparentImagePipeline, "generate": RegionLayersPipeline}
    assert {task: one.published_steps for task, one in pipelines.items()} == fitting.FLUX_STEPS
    branches = {task: 1 + (one.published_scale > 1) for task, one in pipelines.items()}
    assert branches == fitting.FLUX_BRANCHES and fitting.FAST_STEPS == flux_base.FAST_STEPS


def test_the_size_is_the_models_for_pictures_and_as_asked_for_canvases() -> None:
    stored = {"default_resolution": 128, "size_multiple": 16, "default_steps": 10}
    picture, canvas = (
        work_of("decompose", stored, 2, (4000, 1000)),
        work_of("generate", stored, 2, (300, 200)),
    )
    assert (picture.width, picture.height, picture.steps) == (256, 64, 10)
    assert (canvas.width, canvas.height) == (300, 200)
    assert work_of("decompose", {}, 4, (1920, 1080)).width == 864


def test_a_layer_from_a_picture_is_planned_at_the_models_size(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[Any] = []
    monkeypatch.setattr(
        Call, "work", lambda call, *rest, work=Call.work: planned.append(call) or work(call, *rest)
    )
    large = np.zeros((400, 600, 4), np.uint8)
    document = acetate.transparent("a star", large, model=str(tiny_checkpoint), memory=8, steps=1)
    assert planned[0].size == (document.width, document.height) and document.width < 100


def run(task: str, model: Path, memory: Any, **more: Any) -> acetate.LayeredImage:
    common = {"model": str(model), "memory": memory, **more}
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

    follow(monkeypatch, means)
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
    follow(monkeypatch, means)
    document = run("decompose", tiny_checkpoint, 8)
    assert document.metadata["arguments"]["memory"] == [
        "computes in bfloat16 instead of float32",
        "the VAE works in overlapping tiles",
    ]


def test_a_table_that_was_asked_for_is_there_beside_a_plan_that_needs_none(tiny_checkpoint: Path) -> None:
    common = {"model": str(tiny_checkpoint), "memory": 8}
    plain = acetate.decompose(PICTURE, 2, **common)
    assert plain.metadata["report"]["memory_plan"]["means"] == [] and not session._loaded[5].table
    lean = acetate.decompose(PICTURE, 2, modulation_table=True, **common)
    assert session._loaded[5].table and lean.metadata["arguments"]["modulation_table"] is True
    assert np.array_equal(np.asarray(lean.flatten()), np.asarray(plain.flatten()))


def test_a_preset_beyond_this_machine_is_refused(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, work = resolve(tiny_checkpoint), work_of("decompose", {"default_resolution": 64}, 2)
    model = inventory_of(entry)
    assert plan_here(model, 8, work, "cpu").device == "cpu"
    monkeypatch.setattr(fitting, "_budget", lambda *_: Budget(device="cpu", memory=8 * GB, free=1000))
    with pytest.raises(InputError, match=r"--memory 8 takes 0\.0 GB, but only 0\.0 GB are free on cpu"):
        plan_here(model, 8, work, "cpu")
    with pytest.raises(InputError, match="not 'huge'"):
        run("transparent", tiny_checkpoint, "huge")


def follow(monkeypatch: pytest.MonkeyPatch, means: Means) -> None:
    """Whatever is asked for is held by ``means``."""
    monkeypatch.setattr(
        fitting, "plan_here", lambda model, memory, work, device, _: plan_with(model, work, means, device)
    )


@pytest.mark.parametrize("task", ["decompose", "generate", "complete", "extract", "transparent"])
def test_every_task_takes_quantised_weights_and_says_so(task: str, tiny_checkpoint: Path) -> None:
    document = run(task, tiny_checkpoint, "auto", quantise="int8")
    facts, report = document.metadata["arguments"], document.metadata["report"]["memory_plan"]
    assert facts["quantise"] == "int8" and not report["exact"]
    assert "transformer blocks are kept in 8 bits (int8, a scale per row)" in facts["memory"]


def test_few_bits_are_planned_for_what_is_free(tiny_checkpoint: Path) -> None:
    document = acetate.decompose(PICTURE, 2, model=str(tiny_checkpoint), quantise="nf4")
    assert document.metadata["report"]["memory_plan"]["budget"] == fitting._budget("auto", "cpu").memory
    assert session._loaded[5].storage == "nf4"
    acetate.decompose(PICTURE, 2, model=str(tiny_checkpoint))
    assert session._loaded[5] is None


def test_a_gguf_file_stands_for_the_transformer_and_is_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    pytest.importorskip("gguf")
    state = load_file(tiny_checkpoint / "transformer" / "diffusion_pytorch_model.safetensors")
    write_gguf(tmp_path / "tiny.gguf", state, "F16")
    found = run("decompose", tiny_checkpoint, None, transformer=tmp_path / "tiny.gguf")
    assert found.metadata["arguments"]["transformer"]["name"] == "tiny.gguf"
    assert len(found.metadata["arguments"]["transformer"]["contents"]) == 16


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"quantise": "int4"}, "quantise must be one of float8, int8, nf4, not 'int4'"),
        ({"quantise": 8}, "not 8"),
        ({"transformer": "nowhere.gguf"}, "nowhere.gguf is no .gguf file"),
        ({"transformer": "MODEL"}, "is no .gguf file"),
        (
            {"transformer": "FILE", "quantise": "nf4"},
            "file.gguf is quantised already; leave --quantise nf4 out",
        ),
        ({"transformer": "FILE"}, "is no GGUF file: it does not begin with GGUF"),
        ({"quantise": "nf4", "loras": "LORA"}, "a LoRA .style.safetensors. lies beside layers as they are"),
        (
            {"transformer": "FILE", "loras": "LORA"},
            "a LoRA .style.safetensors. lies beside layers as they are",
        ),
    ],
)
def test_what_cannot_be_quantised_is_refused_before_anything_loads(
    given: dict[str, Any], says: str, tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path
) -> None:
    (tmp_path / "file.gguf").write_bytes(b"not one")
    known = {
        "FILE": tmp_path / "file.gguf",
        "MODEL": tiny_checkpoint,
        "LORA": flux_tools.lora(tmp_path / "style.safetensors", "qwen"),
    }
    with pytest.raises(InputError, match=says):
        run(
            "decompose",
            tiny_checkpoint,
            None,
            **{key: known.get(value, value) for key, value in given.items()},
        )


HELD = [
    Means(dtype="float32", text_first=True),
    Means(dtype="float32", table=True, text_first=True, offload="files"),
    Means(dtype="float32", table=True, text_first=True, offload="host"),
]


@pytest.mark.parametrize("means", HELD, ids=str)
def test_a_lora_comes_and_goes_with_the_transformer(
    means: Means, tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = flux_tools.lora(tmp_path / "style.safetensors", "qwen")
    common: dict[str, Any] = {"model": str(tiny_checkpoint)}
    plain, styled = (
        np.asarray(acetate.decompose(PICTURE, 2, loras=loras, size="model", **common).flatten())
        for loras in ((), [lora])
    )
    follow(monkeypatch, means)
    for loras, expected in (([lora], styled), ([lora], styled), ((), plain), ([lora], styled)):
        found = acetate.decompose(PICTURE, 2, loras=loras, size="model", memory=8, **common)
        assert np.array_equal(np.asarray(found.flatten()), expected)
    layers = [acetate.decompose(PICTURE, 2, loras=one, size="model", **common) for one in ((), [lora])]
    assert any(
        not np.array_equal(a.pixels, b.pixels) for a, b in zip(*(x.leaves() for x in layers), strict=True)
    )


def test_a_lora_is_counted_and_keeps_8_bits_and_the_table_away(flux_tools: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = flux_tools.lora(tmp_path / "attention.safetensors")
    options = ModelOptions(loras=read_loras([file]))
    entry = resolve("black-forest-labs/FLUX.1-dev")
    plain, styled = (model_inventory(entry, "transparent", one) for one in (None, options))
    assert styled.adapters == sum(value.numel() for value in load_file(file).values()) and plain.adapters == 0
    steps = ladder_for(styled, "cuda")
    assert any(one.storage for one in ladder_for(plain, "cuda")) and not any(one.storage for one in steps)
    assert not styled.adapts_modulation and any(one.table for one in steps)
    for key in ("transformer.transformer_blocks.0.norm1.linear", "lora_unet_double_blocks_0_img_mod_lin"):
        state = {f"{key}.lora_A.weight": torch.ones(2, 3072), f"{key}.lora_B.weight": torch.ones(9, 2)}
        save_file(state, tmp_path / "modulation.safetensors")
        options = ModelOptions(loras=read_loras([tmp_path / "modulation.safetensors"]))
        model = model_inventory(entry, "transparent", options)
        assert model.adapts_modulation and not any(one.table for one in ladder_for(model, "cuda"))
    work = Call(task="transparent", layers=1).work(plain, {})
    one, other = (predict(model, work, ladder("cuda")[2], shared=False) for model in (plain, styled))
    assert all(
        before.weights + 2 * styled.adapters == after.weights and before.work <= after.work
        for before, after in zip(one, other, strict=True)
    )
    save_file({"text_encoder.x.lora_A.weight": torch.ones(2, 4)}, tmp_path / "words.safetensors")
    with pytest.raises(InputError, match=r"changes the text encoder .* which comes and goes with --memory"):
        model_inventory(
            entry, "transparent", ModelOptions(loras=read_loras([tmp_path / "words.safetensors"]))
        )
