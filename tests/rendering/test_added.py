"""What jobs add to their model: LoRAs, a file of weights, fewer bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from acetate.cli import main
from acetate.layers import LayeredImage
from acetate.models.quantised.gguf_writing import write_gguf
from acetate.rendering import RenderSettings, make_plan
from acetate.rendering.plan import Plan
from acetate.rendering.variables import parse_vary

from .conftest import write_jobs


def plan_of(path: Path, **others: Any) -> Plan:
    return make_plan(RenderSettings(jobs=path, folder=path.parent / "out", **others))


@pytest.fixture
def lora(flux_tools: Any, tmp_path: Path) -> Path:
    return flux_tools.lora(tmp_path / "my style.safetensors", "qwen")


@pytest.fixture
def weights(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    pytest.importorskip("gguf")
    state = load_file(tiny_checkpoint / "transformer" / "diffusion_pytorch_model.safetensors")
    return write_gguf(tmp_path / "tiny.gguf", state, "Q8_0")


def test_lists_of_every_kind_name_them(lora: Path, tmp_path: Path) -> None:
    job = {"task": "generate", "prompt": "x", "loras": [f"{lora}:0.5", str(lora)]}
    table = tmp_path / "jobs.csv"
    table.write_text(f"task,prompt,loras\ngenerate,x,{lora}:0.5; {lora}\n")
    for path in (write_jobs(tmp_path / "jobs.jsonl", [job]), table):
        (planned,) = plan_of(path).todo
        assert planned.job.loras == (f"{lora}:0.5", str(lora))
    plain = write_jobs(tmp_path / "plain.jsonl", [{"task": "generate", "prompt": "x", "id": "a"}])
    swept = plan_of(plain, sweeps=(parse_vary(f"loras={lora}:1,{lora}:0.3"),)).todo
    assert [(one.job.id, one.job.loras) for one in swept] == [
        ("a-lorasmy_style.safetensors_1", (f"{lora}:1",)),
        ("a-lorasmy_style.safetensors_0.3", (f"{lora}:0.3",)),
    ]


def test_what_cannot_be_added_is_a_row_with_a_reason(lora: Path, weights: Path, tmp_path: Path) -> None:
    rows = [
        {"loras": "style.safetensors"},
        {"loras": ["nowhere.safetensors"]},
        {"loras": [f"{lora}:much"]},
        {"loras": [str(lora)], "quantise": "int8"},
        {"transformer": str(weights), "quantise": "int8"},
        {"transformer": str(lora)},
        {"transformer": 3},
        {"transparency": str(lora)},
        {"transparency": "nowhere"},
        {"task": "convert", "prompt": None, "input": "a.png", "loras": [str(lora)]},
    ]
    given = [{"task": "generate", "prompt": "x", **row} for row in rows]
    jobs = [{name: value for name, value in row.items() if value is not None} for row in given]
    plan = plan_of(write_jobs(tmp_path / "jobs.jsonl", jobs))
    wrong = (
        "loras must be a list of 1 to 16 texts",
        "There is no LoRA nowhere.safetensors",
        "A LoRA is written FILE or FILE:SCALE",
        "not beside quantised ones",
        "quantised already",
        "is no .gguf file",
        "transformer must be a text",
        "tiny makes alpha by itself",
        "no file or folder nowhere",
        "convert has no loras",
    )
    assert not plan.todo
    for one, words in zip(plan.rejected, wrong, strict=True):
        assert words in one.reason


def test_jobs_whose_weights_are_held_alike_follow_each_other(weights: Path, tmp_path: Path) -> None:
    """So that a model is loaded once for each way, however the list mixes them."""
    kinds: list[dict[str, Any]] = [{}, {"quantise": "int8"}, {"transformer": str(weights)}]
    jobs = [
        {"id": f"j{n}", "task": "generate", "prompt": "x", "size": [64, 64 + 16 * (n // 6)], **kinds[n % 3]}
        for n in range(12)
    ]
    order = [one.job.id for one in plan_of(write_jobs(tmp_path / "jobs.jsonl", jobs)).todo]
    assert order == [f"j{n}" for first in range(3) for n in range(first, 12, 3)]


def test_they_change_results_and_other_contents_make_the_job_anew(
    lora: Path, weights: Path, tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path
) -> None:
    common = {"task": "generate", "prompt": "a fish", "size": [64, 64], "steps": 1, "outputs": ["zip"]}
    jobs = write_jobs(
        tmp_path / "jobs.jsonl",
        [
            {**common, "model": str(tiny_checkpoint), "id": "plain"},
            {**common, "model": str(tiny_checkpoint), "id": "lora", "loras": [str(lora)]},
            {**common, "model": str(tiny_checkpoint), "id": "gguf", "transformer": str(weights)},
        ],
    )
    out = tmp_path / "out"
    assert main(["render", str(jobs), "-o", str(out), "--quiet"]) == 0
    made = {name: LayeredImage.open(out / name / "document.zip") for name in ("plain", "lora", "gguf")}
    assert made["lora"].metadata["arguments"]["loras"][0]["name"] == lora.name
    assert made["gguf"].metadata["arguments"]["transformer"]["name"] == "tiny.gguf"
    seen = {name: np.asarray(one.flatten().convert("RGBA")) for name, one in made.items()}
    assert not np.array_equal(seen["plain"], seen["lora"])
    assert json.loads((out / "lora" / "job.json").read_text())["job"]["loras"] == [str(lora)]
    assert len(plan_of(jobs).done) == 3
    flux_tools.lora(lora, "qwen", seed=6)
    assert [one.job.id for one in plan_of(jobs).todo] == ["lora"]


def test_flux_makes_stacks_in_regions(flux_checkpoint: Path, alpha_parts: Path, tmp_path: Path) -> None:
    """Its layers have boxes alone; what it cannot make is a row with a reason before anything runs."""
    flux = {
        "task": "generate",
        "prompt": "a card",
        "model": str(flux_checkpoint),
        "size": [48, 32],
        "steps": 1,
    }
    boxes = [{"box": [8, 0, 40, 30]}, {"box": [32, 16, 48, 32]}]
    rows = [
        {**flux, "id": "card", "layers": boxes, "transparency": str(alpha_parts), "outputs": ["zip"]},
        {**flux, "id": "opaque", "layers": boxes},
        {"task": "decompose", "input": "x.png", "id": "apart", "model": str(flux_checkpoint)},
    ]
    jobs, out = write_jobs(tmp_path / "jobs.jsonl", rows), tmp_path / "out"
    plan = plan_of(jobs)
    assert [one.job.id for one in plan.todo] == ["card"]
    assert "FLUX alone makes no alpha" in plan.rejected[0].reason
    assert "cannot do `acetate decompose`" in plan.rejected[1].reason
    main(["render", str(jobs), "-o", str(out), "--quiet"])
    made = LayeredImage.open(out / "card" / "document.zip")
    assert [layer.provenance.box for layer in made.leaves()][1:] == [(8, 0, 40, 30), (32, 16, 48, 32)]
    assert made.metadata["arguments"]["transparency"]["contents"] and len(plan_of(jobs).done) == 1
