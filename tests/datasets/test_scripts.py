"""The two scripts run as written and say in one line what is wrong."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from paintings import poster
from PIL import Image

from acetate.datasets.shards import read_shards
from acetate.datasets.sprites import Atlas
from acetate.layers import LayeredImage

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    return int(caught.value.code or 0)


def test_make_scenes_writes_documents_inputs_and_a_sheet(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run("make_scenes.py", "--out", str(tmp_path), "--count", "3", "--size", "64x48", "--effects", "0.5",
               "--degrade", "1", monkeypatch=monkeypatch)  # fmt: skip
    assert done == 0 and "3 scenes of 64 x 48 pixels" in capsys.readouterr().out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        *(f"scene-00000{k}{end}" for k in range(3) for end in ("-input.png", ".psd")),
        "sheet.png",
    ]
    document = LayeredImage.open(tmp_path / "scene-000000.psd")
    assert (document.width, document.height) == (64, 48) and document.leaves()[0].name.endswith("background")
    assert Image.open(tmp_path / "scene-000000-input.png").size == (64, 48)


def test_make_scenes_writes_shards(atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("--count", "2", "--size", "32x32", "--format", "shards", "--held-out", "--objects", "2-3")
    assert run("make_scenes.py", "--out", str(tmp_path), *arguments, monkeypatch=monkeypatch) == 0
    records = dict(read_shards(tmp_path))
    assert list(records) == ["scene-000000", "scene-000001"]
    assert all(record.error() == 0 and record.source["seed"] == 1 << 40 for record in records.values())


def test_make_scenes_refuses_what_it_cannot_draw(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("make_scenes.py", "--out", str(tmp_path), "--glow", "3", monkeypatch=monkeypatch) == 2
    assert "glow_share must lie in 0..1" in capsys.readouterr().err
    assert run("make_scenes.py", "--out", str(tmp_path), "--size", "64", monkeypatch=monkeypatch) == 2


def test_build_dataset_tells_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    poster().save(source / "poster.psd")
    (source / "bad.ora").write_bytes(b"words")
    assert run("build_dataset.py", str(source), str(out), "--merge", "none", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("bad      bad.ora  ")
    assert told[1:] == ["used     poster.psd  5 layers", "1 used, 0 unwanted, 1 bad, 0 known before"]
    assert len(dict(read_shards(out))) == 1
    assert run("build_dataset.py", str(source), str(out), "--merge", "all", monkeypatch=monkeypatch) == 2
    assert "other settings" in capsys.readouterr().err
    assert (
        run(
            "build_dataset.py",
            str(source),
            str(tmp_path / "o"),
            "--captioner",
            str(source),
            monkeypatch=monkeypatch,
        )
        == 2
    )
    assert "lacks the folder processor/" in capsys.readouterr().err
