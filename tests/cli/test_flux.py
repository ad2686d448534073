"""FLUX folders from the command line: what is written, listed and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from acetate.layers.document import LayeredImage

from .conftest import Run


def test_transparent_writes_a_layer_from_words_and_from_a_picture(
    run: Run, flux_checkpoint: Path, alpha_parts: Path, picture: Path, tmp_path: Path
) -> None:
    common = ["--model", flux_checkpoint, "--transparency", alpha_parts, "--size", "48x32", "--steps", "2"]
    out = tmp_path / "fish.png"
    outcome = run("transparent", "a red fish", *common, "-o", out, "--report", tmp_path / "r.json")
    assert outcome.status == 0, outcome.err
    assert f"{out}: 1 layer, 48 x 32 px" in outcome.out and "LoRA" not in outcome.err
    with Image.open(out) as written:
        assert written.mode == "RGBA" and written.size == (48, 32)
    assert json.loads((tmp_path / "r.json").read_text())["arguments"]["transparency"]["name"]
    words = ["--image", picture, "--strength", "0.6", "--guidance", "7"]
    other = tmp_path / "other.psd"
    assert run("transparent", "a red fish", *words, *common, "-q", "-o", other).status == 0
    first = LayeredImage.open(other).leaves()[0]
    assert first.name == "a red fish"
    again = tmp_path / "again.psd"
    assert run("transparent", "a red fish", *words, *common, "-q", "-o", again).status == 0
    assert again.read_bytes() == other.read_bytes()


def test_generate_writes_a_stack_in_regions(
    run: Run, flux_checkpoint: Path, alpha_parts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "card.psd"
    words = ["--region", "10,0,40,30", "--region", "32,16,48,32", "--size", "48x32", "--steps", "2"]
    model = ["--model", flux_checkpoint, "--transparency", alpha_parts]
    outcome = run("generate", "a card", *words, *model, "-o", out)
    assert outcome.status == 0, outcome.err
    assert f"{out}: 3 layers, 48 x 32 px" in outcome.out
    layers = LayeredImage.open(out).leaves()
    assert [layer.name for layer in layers] == ["Background", "Layer 1", "Layer 2"]
    assert bool((np.asarray(layers[0].pixels)[..., 3] == 255).all())


def test_a_region_is_a_layer_without_words_on_qwen_too(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scene.zip"
    words = ["--layer", "a red fish@0,0,32,32", "--region", "16,16,60,60", "--layer", "a star"]
    outcome = run("generate", "a sky", *words, "--size", "64x64", "--model", tiny_checkpoint, "-o", out)
    assert outcome.status == 0, outcome.err
    layers = LayeredImage.open(out).leaves()
    assert [layer.name for layer in layers] == ["Background", "a red fish", "Layer 2", "a star"]
    assert [layer.provenance.box for layer in layers] == [None, (0, 0, 32, 32), (16, 16, 60, 60), None]


def test_loras_are_options_of_every_command(
    run: Run, tiny_checkpoint: Path, flux_tools: Any, picture: Path, tmp_path: Path
) -> None:
    lora = flux_tools.lora(tmp_path / "style.safetensors", "qwen")
    for words in (
        ["transparent", "a fish"],
        ["generate", "a fish", "-n", "2"],
        ["decompose", picture, "-n", "2", "--size", "model"],
        ["extract", picture, "--box", "1,1,20,20"],
    ):
        written = []
        for number, options in enumerate(
            ([], ["--lora", f"{lora}:0.5", "--lora", lora], ["--modulation-table"])
        ):
            out = tmp_path / f"{words[0]}{number}.psd"
            outcome = run(*words, *options, "-q", "--model", tiny_checkpoint, "-o", out)
            assert outcome.status == 0, outcome.err
            written.append([layer.pixels for layer in LayeredImage.open(out).leaves()])
        plain, styled, lean = written
        assert any(a.shape != b.shape or (a != b).any() for a, b in zip(plain, styled, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(plain, lean, strict=True))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["decompose", "PICTURE"], "which cannot do `acetate decompose`"),
        (["transparent", "a fish"], "(--transparency)"),
        (
            ["transparent", "a fish", "--transparency", "nowhere.pth"],
            "There is no file or folder nowhere.pth",
        ),
        (["transparent", "a fish", "--lora", "nowhere.safetensors"], "There is no LoRA nowhere.safetensors"),
        (["transparent", "a fish", "--image", "nowhere.png"], "nowhere.png does not exist"),
        (["transparent", "a fish", "--strength", "0.5"], "give the picture"),
        (["generate", "a card", "--region", "1,2,3"], "--region must be four whole numbers"),
        (["generate", "a card", "--layer", "a fish@0,0,16,16"], "no words of their own"),
        (["generate", "a card", "--layer", "@0,0,16,16"], "or use --region"),
        (["generate", "a card"], "one layer for every box"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], says: str, run: Run, picture: Path, flux_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result.psd"
    out.write_bytes(b"old")
    named = [str(picture) if word == "PICTURE" else word for word in words]
    outcome = run(*named, "--model", flux_checkpoint, "-o", out)
    assert outcome.status == 2 and says in outcome.complaint
    assert out.read_bytes() == b"old"


def test_models_lists_flux_with_its_licences(run: Run) -> None:
    listed = {row["name"]: row for row in json.loads(run("models", "--json").out)}
    dev, schnell = (listed[f"black-forest-labs/FLUX.1-{name}"] for name in ("dev", "schnell"))
    assert "Non-Commercial" in dev["licence"] and schnell["licence"] == "Apache-2.0"
    assert dev["tasks"] == schnell["tasks"] == ["generate", "transparent"]
    text = run("models").out
    assert "FluxTransformer2DModel; 33.7 GB" in text and "hf auth login" in text
