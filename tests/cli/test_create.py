"""`acetate decompose` and `generate` on a small random model: what is written, what is said, and that it repeats."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acetate.layers.document import LayeredImage
from acetate.models.registry import MODELS

from .conftest import Run

FORMATS = ["psd", "psb", "ora", "zip", ""]


@pytest.mark.parametrize("suffix", FORMATS)
def test_decompose_writes_a_document_equal_to_the_picture(
    suffix: str, run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / ("result" + (f".{suffix}" if suffix else ""))
    outcome = run("decompose", picture, "-n", 3, "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 0, outcome.err
    document = LayeredImage.open(out)
    assert len(document.leaves()) == 3
    error = np.asarray(document.flatten()).astype(int) - np.asarray(Image.open(picture).convert("RGBA"))
    assert np.abs(error).max() <= 1
    assert f"{out}: 3 layers, 40 x 30 px" in outcome.out
    assert "recomposition error" in outcome.out


@pytest.mark.parametrize("suffix", ["pptx", "png", "webp", "tiff"])
def test_decompose_writes_what_holds_no_layers_too(
    suffix: str, run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"result.{suffix}"
    outcome = run("decompose", picture, "-n", 2, "-q", "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 0, outcome.err
    assert out.stat().st_size > 100
    if suffix != "pptx":
        assert "one flat picture" in outcome.complaint


def test_layer_prompts_name_the_layers(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """From the background up, an empty one leaves its layer open; one too many is said before the model runs."""
    out = tmp_path / "named.ora"
    words = [part for text in ("the sky", "", "a red fish") for part in ("--layer-prompt", text)]
    assert run("decompose", picture, "-n", 3, *words, "--model", tiny_checkpoint, "-o", out).status == 0
    assert [layer.name for layer in LayeredImage.open(out).leaves()] == ["the sky", "Layer 1", "a red fish"]
    outcome = run(
        "decompose", picture, "-n", 2, *words, "--model", tiny_checkpoint, "-o", tmp_path / "no.psd"
    )
    assert outcome.status != 0 and "3 layers are described, but only 2 are made" in outcome.complaint


def test_the_report_tells_what_was_done(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out, path = tmp_path / "r.psd", tmp_path / "r.json"
    words = ["--seed", 7, "--steps", 1, "--prompt", "a red square", "--report", path]
    assert run("decompose", picture, "-n", 2, *words, "--model", tiny_checkpoint, "-o", out).status == 0
    report = json.loads(path.read_text())
    assert report["seed"] == 7 and report["task"] == "decompose"
    assert report["model"] == tiny_checkpoint.name and len(report["revision"]) == 16
    assert report["arguments"] == {"layers": 2, "prompt": "a red square", "steps": 1, "size": "native"}
    assert set(report["seconds"]) == {"load", "encode", "denoise", "decode", "upsample", "recompose", "total"}
    assert all(value >= 0 for value in report["seconds"].values())
    assert report["peak_memory_mib"]["host"] > 100
    assert [layer["name"] for layer in report["layers"]] == ["Background", "Layer 1"]
    assert report["layers"][0]["box"] == [0, 0, 40, 30]
    recomposition = report["recomposition"]
    assert recomposition["before"]["max"] > 1 >= recomposition["after"]["max"]


def test_the_model_size_gives_a_document_of_that_size(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    words = ["-n", 2, "--size", "model", "--model", tiny_checkpoint, "-o", tmp_path / "m.psd"]
    assert run("decompose", picture, *words).status == 0
    document = LayeredImage.open(tmp_path / "m.psd")
    assert (document.width, document.height) == (80, 48)  # near 64 x 64 with the picture's aspect


def test_generate_places_layers_in_their_boxes(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.zip"
    boxes = ["--layer", "a red circle@8,8,40,40", "--layer", "a blue star"]
    outcome = run("generate", "a sky", *boxes, "--size", "64x48", "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 0, outcome.err
    document = LayeredImage.open(out)
    assert (document.width, document.height) == (64, 48)
    background, circle, star = document.leaves()
    assert (background.name, circle.name, star.name) == ("Background", "a red circle", "a blue star")
    assert circle.box == (8, 8, 40, 40) and circle.provenance.prompt == "a red circle"
    assert document.metadata["arguments"]["boxes"] == [[8, 8, 40, 40], None]
    assert "recomposition" not in outcome.out


def test_what_the_embedded_model_does_not_do_with_words_is_said(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny", dataclasses.replace(MODELS["tiny"], path=tiny_checkpoint))
    out = tmp_path / "out.zip"
    told = "does not follow prompts"
    assert told in run("models").out and told in run("generate", "a sky", "-n", "2", "-o", out).complaint
    for number, words in enumerate(([], ["--prompt", "a fish"])):
        outcome = run("complete", out, *words, "--add", "above", "-o", tmp_path / f"{number}.zip")
        assert outcome.status == 0 and (told in outcome.err) == bool(words), outcome.err
    assert told not in run("decompose", picture, "-n", "2", "-o", out).err
    assert told not in run("generate", "a sky", "-n", "2", "--model", tiny_checkpoint, "-o", out).err


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for task in (["decompose", picture], ["generate", "a red fish"]):
        for name, seed in (("one", 3), ("two", 3), ("three", 4)):
            words = ["-n", 3, "--seed", seed, "--model", tiny_checkpoint, "-o", tmp_path / task[0] / name]
            (tmp_path / task[0]).mkdir(exist_ok=True)
            assert run(*task, *words).status == 0
        one, two, three = (files_of(tmp_path / task[0] / name) for name in ("one", "two", "three"))
        assert one == two
        assert one != three


def test_no_file_keeps_what_differs_between_runs(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for suffix in ("zip", "psd", "ora", "png"):
        out = tmp_path / f"m.{suffix}"
        assert run("decompose", picture, "-n", 2, "-q", "--model", tiny_checkpoint, "-o", out).status == 0
        metadata = LayeredImage.open(out).metadata
        assert "report" not in metadata
        if suffix != "ora":
            assert metadata["seed"] == 0 and metadata["revision"] and metadata["acetate"]
        assert str(tiny_checkpoint.parent).encode() not in out.read_bytes()


def test_progress_names_phases_steps_and_time(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    words = ["-n", 2, "--model", tiny_checkpoint, "-o", tmp_path / "p.psd"]
    lines = run("decompose", picture, *words).err.splitlines()
    assert lines[0] == "loading the model" and lines[-1] == "writing"
    assert any(line.startswith("finding the layers, step 0 of 2") for line in lines)
    assert run("decompose", picture, "-q", *words).err == ""


def test_ctrl_c_leaves_nothing_behind(
    run: Run, picture: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once while the model runs and once while the file is written."""
    from acetate.cli import create, output

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "c.psd"
    out.write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    words = ["decompose", picture, "-n", 2, "-q", "--model", tiny_checkpoint, "-o", out]
    for module, name in ((create, "_write"), (output, "save_document")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupted)
            outcome = run(*words)
        assert outcome.status == 130
        assert "stopped" in outcome.complaint
        assert out.read_bytes() == b"old" and sorted(tmp_path.iterdir()) == before


def test_errors_inside_acetate_are_one_sentence_and_a_traceback_on_demand(
    run: Run,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from acetate import cli
    from acetate.cli import documents

    def broken(*_: object) -> None:
        raise RuntimeError("the wheels\ncame off")

    monkeypatch.setattr(documents, "open_document", broken)
    outcome = run("inspect", picture)
    assert outcome.status == 1
    assert outcome.complaint == (
        "acetate: an error inside acetate, RuntimeError: the wheels came off (ACETATE_DEBUG=1 shows where)."
    )
    assert "Traceback" not in outcome.err
    monkeypatch.setenv("ACETATE_DEBUG", "1")
    assert cli.main(["inspect", str(picture)]) == 1
    assert "Traceback" in capsys.readouterr().err
