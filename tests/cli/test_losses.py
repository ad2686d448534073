"""What acetate cannot take over from a file is said by every command, before anything is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from psd_tools import PSDImage
from psd_tools.constants import Compression, Tag
from psd_tools.psd.base import EmptyElement

from acetate.layers.document import Layer, LayeredImage, Mask

from .conftest import Run

LOST = "acetate: not taken over: adjustment layer 'Invert 1'"


@pytest.fixture
def adjusted(tmp_path: Path) -> Path:
    """A PSD with an adjustment layer over a photo."""
    pixels = np.full((24, 32, 4), 200, np.uint8)
    pixels[..., 3] = 255
    layers = (Layer(pixels=pixels, name="photo"), Layer(pixels=pixels[:1, :1], name="Invert 1"))
    path = LayeredImage(width=32, height=24, layers=layers).save(tmp_path / "adjusted.psd")
    psd = PSDImage.open(path)
    layer = psd[1]
    layer._record.tagged_blocks.set_data(Tag.INVERT)
    layer._record.tagged_blocks[Tag.INVERT].data = EmptyElement()
    layer._record.top = layer._record.left = layer._record.bottom = layer._record.right = 0
    for channel in layer._channels:
        channel.compression, channel.data = Compression.RAW, b""
    psd.save(path)
    return path


def test_every_command_says_it(run: Run, adjusted: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with_model = ("--model", tiny_checkpoint, "--steps", 1, "-q", "-o", tmp_path / "out.psd")
    for words in (
        ("inspect", adjusted),
        ("convert", adjusted, tmp_path / "out.zip"),
        ("edit", adjusted, "rename:photo,sea", "-o", tmp_path / "out.ora"),
        ("decompose", adjusted, "-n", 2, *with_model, "--report", tmp_path / "out.json"),
        ("complete", adjusted, *with_model),
        ("extract", adjusted, "--box", "4,4,20,20", *with_model),
        ("transparent", "a star", "--image", adjusted, *with_model),
    ):
        outcome = run(*words)
        assert outcome.status == 0 and LOST in outcome.err.splitlines(), (words, outcome)
    assert json.loads((tmp_path / "out.json").read_text())["dropped"] == ["adjustment layer 'Invert 1'"]
    assert run("inspect", tmp_path / "out.zip").err == ""  # a loss is told once
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"id": "a", "task": "convert", "input": "adjusted.psd", "outputs": ["png"]}\n')
    assert run("render", jobs, "-o", tmp_path / "made", "-q").status == 0
    assert "Invert 1" in (tmp_path / "made" / "a" / "job.json").read_text()
    assert "not taken over: adjustment layer" in (tmp_path / "made" / "report.html").read_text()


def test_an_edit_in_place_that_would_lose_something_is_refused(run: Run, adjusted: Path) -> None:
    before = adjusted.read_bytes()
    outcome = run("edit", adjusted, "rename:photo,sea", "-o", adjusted)
    assert (
        outcome.status == 2 and "would lose what acetate cannot read (adjustment layer" in outcome.complaint
    )
    assert adjusted.read_bytes() == before


def test_what_a_format_holds_in_another_form_is_one_line(run: Run, tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    mask = Mask(pixels=np.full((8, 8), 90, np.uint8))
    document = LayeredImage(width=8, height=8, layers=(Layer(pixels=pixels, name="sun", mask=mask),))
    outcome = run("convert", document.save(tmp_path / "masked.zip"), tmp_path / "masked.ora")
    assert outcome.status == 0 and outcome.complaint.startswith("acetate: OpenRaster has no masks")


def test_a_report_never_takes_the_place_of_a_pipe(run: Run, picture: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    outcome = run("decompose", picture, "-o", tmp_path / "out.psd", "--report", tmp_path / "pipe")
    assert outcome.status == 2 and "is a device or a pipe" in outcome.complaint
    assert not (tmp_path / "out.psd").exists() and (tmp_path / "pipe").is_fifo()


def test_names_that_a_terminal_cannot_show_are_escaped(tmp_path: Path, picture: Path) -> None:
    code = "import sys; from acetate.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-P", "-c", code, "convert", str(picture), str(tmp_path / "赤.psd")]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    ran = subprocess.run(words, env=environment, capture_output=True)
    assert ran.returncode == 0 and b"\\u8d64.psd: 1 layer" in ran.stdout and not ran.stderr
