"""`--memory`: the plan before anything is loaded, with a run, and refused with numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from acetate.cli import requirements
from acetate.models.registry import MODELS

from .conftest import Run

LAYERED, FLUX = "Qwen/Qwen-Image-Layered", "black-forest-labs/FLUX.1-dev"


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("acetate.models.loading.load_components", refuse)


@pytest.fixture
def embedded(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small random model in the place of the embedded one."""
    monkeypatch.setitem(MODELS, "tiny", dataclasses.replace(MODELS["tiny"], path=tiny_checkpoint))


def test_the_list_names_the_smallest_presets(run: Run) -> None:
    listed = {entry["name"]: entry["smallest_memory"] for entry in json.loads(run("models", "--json").out)}
    assert listed["tiny"] == {"cuda": 8, "cpu": 8} and listed[LAYERED] == {"cuda": 8, "cpu": 24}
    assert "smallest: --memory 8 on a GPU, --memory 24 on the CPU" in run("models").out


def test_a_plan_without_a_model_or_a_gpu(run: Run, nothing_loads: None) -> None:
    outcome = run("models", LAYERED, "--memory", "24", "--device", "cuda")
    assert outcome.status == 0, outcome.err
    assert "4 layers at 640 x 640 px, 24.0 GB (cuda)" in outcome.out
    assert "modulation from a table" in outcome.out and "same result" in outcome.out
    assert all(phase in outcome.out for phase in ("text", "encode", "denoise", "decode"))
    found = json.loads(run("models", LAYERED, "--memory", "24", "--device", "cuda", "--json").out)
    assert (
        found["exact"]
        and found["total"] <= 24e9
        and set(found["peaks"]) == {"text", "encode", "denoise", "decode"}
    )


def test_flux_is_planned_for_one_layer_or_several(run: Run, nothing_loads: None) -> None:
    one = run("models", FLUX, "--memory", "24", "--device", "cuda")
    assert one.status == 0, one.err
    assert "1 layer at 1024 x 1024 px, 24.0 GB (cuda)" in one.out and "wait" not in one.out
    found = json.loads(
        run(
            "models", FLUX, "-n", "3", "--memory", "16", "--device", "cuda", "--size", "512x768", "--json"
        ).out
    )
    assert found["size"] == [512, 768] and found["layers"] == 3 and found["exact"]
    assert found["peaks"]["denoise"]["host"] > 0 and found["total"] <= 16e9
    refused = run("models", FLUX, "--memory", "8", "--device", "cpu")
    assert refused.status == 2 and "reading the prompt: 10.3 GB" in refused.complaint
    odd = run("models", FLUX, "--memory", "24", "--device", "cuda", "--size", "500x500")
    assert odd.status == 2 and "multiple of 16" in odd.complaint


def test_a_table_of_all_presets(run: Run, nothing_loads: None, embedded: None) -> None:
    lines = run("models", "tiny", "--device", "cpu", "-n", "2").out.splitlines()
    assert len(lines) == 2 + 6 and all("as it is" in line for line in lines[2:])
    rows = json.loads(run("models", "tiny", "--device", "cpu", "--json").out)
    assert [row["memory"] for row in rows] == [8, 12, 16, 24, 48, 80] and all(row["plan"] for row in rows)


def test_auto_looks_at_this_machine(run: Run, nothing_loads: None, embedded: None) -> None:
    outcome = run("models", "tiny", "--memory", "auto")
    assert outcome.status == 0 and "(cpu)" in outcome.out
    refused = run("models", "tiny", "--memory", "auto", "--device", "cuda")
    assert refused.status == 2 and "no cuda" in refused.complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("models", LAYERED, "--memory", "20"), "not '20'"),
        (("models", LAYERED, "--memory", "-24"), "not '-24'"),
        (("models", "--memory", "24"), "needs a model"),
        (("models", "--quantise", "nf4"), "--quantise needs a model"),
        (("models", LAYERED, "--quantise", "q4"), "one of float8, int8, nf4, not 'q4'"),
        (("models", LAYERED, "--transformer", "nowhere.gguf"), "nowhere.gguf is no .gguf file"),
        (("models", LAYERED, "-n", "0"), "at least 1, not 0"),
        (("models", LAYERED, "--size", "big"), "WIDTHxHEIGHT"),
        (
            ("models", LAYERED, "--memory", "8", "--device", "cuda", "-n", "20", "--size", "2048x2048"),
            "there are 8.0 GB",
        ),
        (("models", LAYERED, "--memory", "16", "--device", "cpu"), "reading the prompt"),
    ],
)
def test_what_cannot_be_is_said(run: Run, words: tuple[str, ...], said: str) -> None:
    outcome = run(*words)
    assert outcome.status == 2 and said in outcome.complaint


def test_a_run_tells_its_plan(run: Run, embedded: None, picture: Path, tmp_path: Path) -> None:
    plain, planned, report = (tmp_path / name for name in ("plain.png", "planned.png", "report.json"))
    assert run("decompose", picture, "-n", 2, "-o", plain).status == 0
    outcome = run("decompose", picture, "-n", 2, "--memory", "8", "-o", planned, "--report", report)
    assert outcome.status == 0, outcome.err
    told = outcome.err
    assert (
        told.index("as it is: everything fits at once")
        < told.index("denoise")
        < told.index("loading the model")
    )
    stored = json.loads(report.read_text())
    assert stored["memory_plan"]["budget"] == 8_000_000_000 and stored["memory_plan"]["exact"]
    assert "memory" not in stored["arguments"], "what changes no pixel does not belong to the file's facts"
    assert planned.read_bytes() == plain.read_bytes()
    quiet = run("decompose", picture, "-n", 2, "--memory", "8", "-q", "-o", planned)
    assert quiet.status == 0 and "GB" not in quiet.err
    refused = run("decompose", picture, "-n", 2, "--memory", "9", "-o", planned)
    assert refused.status == 2 and "not '9'" in refused.complaint


def test_doctor_names_a_package_out_of_range(
    run: Run, embedded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = requirements.version
    old = {"diffusers": "0.30.0", "xformers": "0.0.1", "safetensors": None}
    monkeypatch.setattr(requirements, "version", lambda name: old[name] if name in old else real(name))
    outcome = run("doctor")
    assert outcome.status == 1
    assert "diffusers 0.30.0 is outside of <0.44,>=0.42.1" in outcome.out.replace(
        ">=0.42.1,<0.44", "<0.44,>=0.42.1"
    )
    assert "xformers 0.0.1 is outside of >=0.0.35" in outcome.out
    assert "safetensors is missing" in outcome.out and "works: revision" in outcome.out


def test_doctor_knows_what_acetate_asks_for() -> None:
    found = {one.name: one for one in requirements.findings()}
    assert found["torch"].fits and found["torch"].extra == "" and found["diffusers"].wanted
    assert found["bitsandbytes"].extra == "quant" and "pytest" not in found
    assert all(one.problem is None for one in found.values() if not one.extra)


def test_doctor_tries_the_attention_backends(run: Run, embedded: None) -> None:
    found = json.loads(run("doctor", "--json").out)
    assert found["attention"]["native"] == {"installed": True, "runs": True, "masks": "right", "note": ""}
    assert found["attention"]["_native_flash"]["masks"] == "refused"
    assert "GB free on cpu" in found["memory"] and found["problems"] == []
    lines = run("doctor").out.splitlines()
    assert any("native: right, with masks too" in line for line in lines)
    assert any("_native_flash: right, but refuses masks" in line for line in lines)


def test_few_bits_are_planned_for_any_machine(run: Run) -> None:
    outcome = run("models", LAYERED, "--quantise", "nf4", "--memory", "12", "--device", "cuda")
    assert outcome.status == 0, outcome.err
    assert "transformer blocks are kept in 4 bits (NF4) (changes the result)" in outcome.out
    rows = json.loads(run("models", LAYERED, "--quantize", "nf4", "--device", "cuda", "--json").out)
    assert all(row["plan"] and not row["plan"]["exact"] for row in rows)
    assert "blocks" not in str([one["what"] for one in rows[1]["plan"]["means"] if "wait" in one["what"]])


def test_a_run_in_few_bits_says_so_in_the_file(
    run: Run, embedded: None, picture: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    command = ("decompose", picture, "-n", 2, "--steps", 2, "-o", tmp_path / "out.psd", "--report", report)
    outcome = run(*command, "--quantise", "nf4")
    assert outcome.status == 0 and "4 bits (NF4)" in outcome.err
    facts = json.loads(report.read_text())["arguments"]
    assert facts["quantise"] == "nf4" and "transformer blocks are kept in 4 bits (NF4)" in facts["memory"]
    refused = run(*command, "--quantise", "nf5")
    assert refused.status == 2 and "not 'nf5'" in refused.complaint
