"""What the operator decides holds for every visitor's runs, and is checked before the studio opens."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from acetate.errors import InputError
from acetate.models.quantised.gguf_writing import write_gguf
from acetate.ui.actions import Studio
from acetate.ui.settings import StudioSettings


def report(settings: StudioSettings, picture: Path) -> dict[str, Any]:
    """That of a picture taken apart by a visitor of the studio."""
    studio, ended = Studio(settings), threading.Event()
    document = studio.open_file("anna", picture, "poster.png")
    job = studio.decompose("anna", document["id"], layers=2, steps=1)
    studio.worker.when_ended(job, ended.set)
    assert ended.wait(120) and job.status == "done", job.error
    found: dict[str, Any] = studio.store.get("anna", document["id"]).state.doc.metadata["report"]
    studio.shut()
    return found


def test_how_models_are_held(tmp_path: Path, poster_file: Path) -> None:
    with pytest.raises(InputError, match=r"memory must be auto or one of 8, 12.*not '9'"):
        StudioSettings(memory="9")
    with pytest.raises(InputError, match="quantise must be one of float8, int8, nf4, not 'q4'"):
        StudioSettings(quantise="q4")
    found = report(StudioSettings(store=tmp_path / "store", memory="auto", quantise="int8"), poster_file)
    assert found["memory_plan"]["budget"] and found["arguments"]["quantise"] == "int8"


@pytest.fixture(params=["lora", "gguf"])
def given(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path
) -> dict[str, Any]:
    """What goes with one model."""
    if request.param == "lora":
        return {"loras": (f"{flux_tools.lora(tmp_path / 'style.safetensors', 'qwen')}:0.5",)}
    pytest.importorskip("gguf")
    state = load_file(tiny_checkpoint / "transformer" / "diffusion_pytorch_model.safetensors")
    return {"transformer": write_gguf(tmp_path / "tiny.gguf", state, "F16")}


def test_a_lora_or_a_file_of_weights_for_the_one_model(
    given: dict[str, Any], tiny_checkpoint: Path, tmp_path: Path, poster_file: Path
) -> None:
    model = str(tiny_checkpoint)
    with pytest.raises(InputError, match="belong to one model: give one --model with them"):
        StudioSettings(models=(model, "tiny"), **given)
    with pytest.raises(InputError, match=r"quantised already|not beside quantised ones"):
        StudioSettings(quantise="int8", **given)
    found = report(StudioSettings(store=tmp_path / "store", models=(model,), **given), poster_file)
    if "transformer" in given:
        assert found["arguments"]["transformer"]["name"] == "tiny.gguf"
    else:
        named = [(one["name"], one["scale"]) for one in found["arguments"]["loras"]]
        assert named == [("style.safetensors", 0.5)]


def test_flux_takes_its_alpha_from_the_operator(
    flux_checkpoint: Path, tiny_checkpoint: Path, alpha_parts: Path, tmp_path: Path
) -> None:
    """Visitors make a layer for every box; what it cannot do, or why it cannot be used at all, the page knows."""
    flux = str(flux_checkpoint)
    with pytest.raises(InputError, match="is where FLUX takes alpha from"):
        StudioSettings(models=(flux,), transparency=tmp_path / "nothing")
    with pytest.raises(InputError, match="belong to one model"):
        StudioSettings(models=(flux, "tiny"), transparency=alpha_parts)
    for model, alpha, error in (
        (flux, None, "FLUX alone makes no alpha"),
        (str(tiny_checkpoint), alpha_parts, "makes alpha by itself"),
    ):
        other = Studio(StudioSettings(store=tmp_path / "other", models=(model,), transparency=alpha))
        assert error in other.session("anna")["models"][0]["error"]
        other.shut()
    settings = StudioSettings(store=tmp_path / "store", models=(flux,), transparency=alpha_parts)
    studio, ended = Studio(settings), threading.Event()
    (facts,) = studio.session("anna")["models"]
    assert (facts["steps"], facts["resolution"], facts["max_layers"]) == (28, 1024, 51)
    assert facts["error"] is None and "decompose" not in facts["tasks"] and "no words" in facts["caveat"]
    boxes = [[8, 0, 40, 30], [32, 16, 48, 32]]
    job = studio.generate(
        "anna", "a card", layer_prompts=[None, None], boxes=boxes, width=48, height=32, steps=2
    )
    studio.worker.when_ended(job, ended.set)
    assert ended.wait(120) and job.status == "done", job.error
    doc = studio.store.get("anna", str(job.document)).state.doc
    assert [layer.name for layer in doc.leaves()] == ["Background", "Layer 1", "Layer 2"]
    assert (doc.width, doc.height) == (48, 32) and doc.leaves()[2].provenance.box == (32, 16, 48, 32)
    studio.shut()


def test_a_model_that_names_no_steps_takes_those_it_was_published_with(
    tiny_checkpoint: Path, tmp_path: Path, poster_file: Path
) -> None:
    """As Qwen-Image-Layered's own folder."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "published"))
    index = json.loads((folder / "model_index.json").read_text())
    for name in ("default_steps", "default_resolution"):
        del index[name]
    (folder / "model_index.json").write_text(json.dumps(index))
    studio = Studio(StudioSettings(store=tmp_path / "store", models=(str(folder),)))
    (facts,) = studio.session("anna")["models"]
    assert (facts["steps"], facts["resolution"]) == (50, 640)
    studio.shut()
