"""`acetate bench quality` from end to end, on a random model: every row runs, the table is honest, the files are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acetate.cli import main
from acetate.cli.bench import load
from acetate.cli.progress import Silence
from acetate.datasets.sprites import Atlas
from acetate.errors import InputError
from acetate.evaluation.quality import ROWS, QualitySettings, run_quality
from acetate.evaluation.runs import decompose_scenes, generate_in_boxes
from acetate.evaluation.scenes import EvaluationScene
from acetate.evaluation.speed import measure_speed


@pytest.fixture
def silent() -> Silence:
    return Silence()


def test_every_row_from_the_command_line(
    tiny_checkpoint: Path, atlas: Atlas, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "sheets", tmp_path / "figures.json"
    words = ["bench", "quality", "--scenes", "2", "--model", str(tiny_checkpoint), "--out", str(out)]
    assert main([*words, "--json", str(report), "-q"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("random (revision ") and "2 held-out scenes at 64 px, 2 steps" in text
    assert "not built" not in text and "picture as one layer" in text and "written: " in text
    found = json.loads(report.read_text())
    assert (
        found["model"] == "random"
        and found["rows"] == list(ROWS)
        and str(tiny_checkpoint) not in report.read_text()
    )
    assert {figure["verdict"] for figure in found["figures"]} <= {
        "pass",
        "not yet",
        "not run",
        "",
    }
    assert found["methods"][0]["title"] == "random"
    assert len(found["methods"]) == 5 - len(found["not_run"]) and len(found["methods"][0]["samples"]) == 2
    given = found["given"]
    assert given["unchanged"] == given["given"] > 2 and given["back"]["count"] == 2
    assert found["codec"]["alpha_iou"] < 0.98 and found["speed"]["ratio"] > 0
    first = {f"{row}_first20.png" for row in ("decompose", "generate", "boxes", "given")}
    sheets = {*first, "decompose_worst8.png"}
    assert {path.name for path in out.iterdir()} == sheets
    for name in sheets:
        with Image.open(out / name) as page:
            assert page.mode == "RGB" and len(page.getcolors(1 << 24)) > 50


def test_a_scene_does_not_depend_on_its_batch(
    tiny_checkpoint: Path, scenes: list[EvaluationScene], silent: Silence
) -> None:
    models = load(str(tiny_checkpoint), None, silent)
    seen: list[tuple[int, int]] = []
    together = decompose_scenes(models, scenes, lambda done, total: seen.append((done, total)))
    alone = decompose_scenes(models, scenes[1:2], lambda done, total: None)
    difference = np.abs(together[1].layers.astype(int) - alone[0].layers)
    assert difference.max() <= 1
    assert seen[0] == (0, 4) and seen[-1] == (4, 4)
    assert [len(one.layers) for one in together] == [len(scene.layers) for scene in scenes]
    boxed = generate_in_boxes(models, scenes[:1], lambda done, total: None)
    for layer, (x0, y0, x1, y1) in zip(boxed[0].layers[1:], scenes[0].boxes, strict=True):
        outside = layer[..., 3].copy()
        outside[y0:y1, x0:x1] = 0
        assert not outside.any()


def test_the_codec_is_the_pipelines_own(
    tiny_checkpoint: Path, scenes: list[EvaluationScene], silent: Silence
) -> None:
    import torch

    from acetate.models.codecs import QwenRGBACodec

    models = load(str(tiny_checkpoint), None, silent)
    layers = scenes[0].layers
    codec = QwenRGBACodec(models.decompose.vae)
    pixels = torch.from_numpy(layers.astype(np.float32) / 127.5 - 1).movedim(-1, 1)
    with torch.no_grad():
        expected = codec.decode(codec.encode(pixels)).movedim(1, -1).numpy() * 127.5 + 127.5
    assert np.abs(models.codec(layers) - expected).max() < 0.51


def test_speed_is_measured_side_by_side(
    tiny_checkpoint: Path, scenes: list[EvaluationScene], silent: Silence
) -> None:
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_layered as stock

    before = stock.calculate_dimensions
    speed = measure_speed(load(str(tiny_checkpoint), 1, silent), scenes[0].picture, layers=2, pairs=1)
    assert stock.calculate_dimensions is before
    assert (speed.layers, speed.steps, len(speed.ours_all), len(speed.stock_all)) == (2, 1, 1, 1)
    assert speed.ratio == speed.ours / speed.stock > 0


def test_one_row_alone(tiny_checkpoint: Path, atlas: Atlas, silent: Silence) -> None:
    told: list[str] = []
    models = load(str(tiny_checkpoint), 1, silent)
    report = run_quality(
        models, QualitySettings(scenes=1, rows=("codec",)), lambda what, done, total, left: told.append(what)
    )
    assert len(report.figures) == 2 and report.results.model is None and report.facts["steps"] == 1
    assert told[0] == "drawing the scenes" and "true layers through the codec" in report.text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rows", "codec,colour"], "not colour"),
        (["--rows", ""], "--rows takes a list"),
        (["--scenes", "0"], "--scenes must be at least 1"),
        (["--steps", "0"], "--steps must lie between"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--json", "missing/figures.json"], "missing"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "quality", "-q", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert main(["bench", "quality", "-q", "--out", str(taken)]) == 2
    assert "is a file" in capsys.readouterr().err and taken.read_text() == "mine"
    with pytest.raises(InputError, match="an empty one"):
        QualitySettings(rows=())
