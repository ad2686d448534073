"""`acetate models` and `acetate doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from acetate.models import attention
from acetate.models.registry import MODELS

from .conftest import Run


def test_models_lists_every_model(run: Run) -> None:
    outcome = run("models")
    assert outcome.status == 0
    assert all(name in outcome.out for name in MODELS)
    listed = json.loads(run("models", "--json").out)
    assert [entry["name"] for entry in listed] == list(MODELS)
    assert all(entry["backbone"] and entry["files"] and entry["where"] for entry in listed)
    assert "embedded: " in outcome.out and "57.7 GB" in outcome.out
    assert {entry["licence"] for entry in listed} >= {"Apache-2.0"}


@pytest.fixture
def embedded(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small random model in the place of the embedded one."""
    entry = dataclasses.replace(MODELS["tiny"], path=tiny_checkpoint)
    monkeypatch.setitem(MODELS, "tiny", entry)


def test_doctor_runs_the_embedded_model(run: Run, embedded: None) -> None:
    outcome = run("doctor", "--json")
    findings = json.loads(outcome.out)
    assert outcome.status == 0, findings
    assert findings["embedded model"]["works"] is True
    assert findings["packages"]["torch"] and findings["devices"][0].startswith("cpu")
    assert "native" in findings["attention"]
    lines = run("doctor").out.splitlines()
    assert any(line.startswith("embedded model") and "works" in line for line in lines)
    assert any(line.startswith("torchvision") for line in lines)


def test_doctor_says_what_is_wrong(
    run: Run, embedded: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(MODELS, "tiny", dataclasses.replace(MODELS["tiny"], path=tmp_path))
    outcome = run("doctor")
    assert outcome.status == 1
    assert "does not work" in outcome.out and "model_index.json" in outcome.out


def test_doctor_tells_of_a_device_on_which_nothing_runs(
    run: Run, embedded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")

    attention.probe.cache_clear()
    monkeypatch.setattr("acetate.api.decompose", broken)
    monkeypatch.setattr(attention, "_attend", broken)
    outcome = run("doctor")
    attention.probe.cache_clear()
    assert outcome.status == 1 and not outcome.err
    assert "does not work: RuntimeError: CUDA error: no kernel image is available" in outcome.out
    assert "native: does not run on this device" in outcome.out
