"""Files: LayerDiffuse's two layouts, folders and shards, metadata, hostile input, and the script as people run it."""

from __future__ import annotations

import json
import pickle
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from acetate.errors import InputError
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet, read_layerdiffuse
from acetate.models.codecs.layerdiffuse.files import PUBLISHED_DECODER, PUBLISHED_ENCODER
from acetate.models.conversion import convert_checkpoint, describe_checkpoint, open_checkpoint
from acetate.models.conversion.source import TensorSource

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "convert_checkpoint.py"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["convert_checkpoint.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def transparent() -> dict[str, torch.Tensor]:
    """TransparentVAE as published: full-size keys; every tensor is one number spread out, so that it costs nothing."""
    with torch.device("meta"):
        decoder, encoder = TransparentUNet(**PUBLISHED_DECODER), LatentOffsetEncoder(**PUBLISHED_ENCODER)
    state = {}
    for prefix, network in (("decoder.", decoder), ("encoder.", encoder)):
        for number, (key, value) in enumerate(network.state_dict().items()):
            state[prefix + key] = torch.tensor(number / 512, dtype=torch.float8_e4m3fn).expand(value.shape)
    assert len(state) == 538 + 18
    return state


def test_layerdiffuse_in_one_file_and_in_two(
    transparent: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: Any
) -> None:
    state = {**transparent, **{f"sd_vae.{key}": one for key, one in tools.kl().state_dict().items()}}
    torch.save({key: one.contiguous() for key, one in state.items()}, tmp_path / "TransparentVAE.pth")
    assert run(monkeypatch, tmp_path / "TransparentVAE.pth", tmp_path / "two", "--to", "separate") == 0
    decoder, encoder, vae = sorted((tmp_path / "two").iterdir())
    assert vae.name == "vae.safetensors" and "decoder" in decoder.name and "encoder" in encoder.name
    parts = read_layerdiffuse(decoder, encoder, None)  # as the codec reads the SDXL form's two files
    assert parts.offset_scale == 300 and parts.latent_channels == 16
    arguments = ("--with", encoder, "--with", vae, "--to", "transparent-vae")
    assert run(monkeypatch, decoder, tmp_path / "one.safetensors", *arguments) == 0
    tools.assert_equal(load_file(tmp_path / "one.safetensors"), state)
    assert read_layerdiffuse(tmp_path / "one.safetensors", None, None).encoder is not None


def test_layerdiffuse_needs_both_halves(transparent: dict[str, torch.Tensor]) -> None:
    decoder = {
        key.removeprefix("decoder."): one for key, one in transparent.items() if key.startswith("decoder.")
    }
    with pytest.raises(InputError, match="name the file of the encoder with --with"):
        convert_checkpoint(TensorSource(decoder), "transparent-vae")
    with pytest.raises(InputError, match="both LayerDiffuse's decoder"):
        convert_checkpoint(TensorSource(decoder), "transparent-vae", beside=(TensorSource(decoder),))
    broken = {key: one for key, one in transparent.items() if key != "encoder.blocks.4.bias"}
    with pytest.raises(InputError, match=r"lacks encoder\.blocks\.4\.bias"):
        convert_checkpoint(TensorSource(broken), "separate")


def test_single_file_to_a_folder_that_diffusers_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tools: Any
) -> None:
    model = tools.flux()
    model.save_pretrained(tmp_path / "transformer")
    single = tmp_path / "flux.safetensors"
    assert run(monkeypatch, tmp_path / "transformer", single, "--to", "bfl") == 0
    assert run(monkeypatch, single) == 0
    assert "FLUX.1's transformer in Black Forest Labs' layout" in capsys.readouterr().out
    arguments = ("--to", "diffusers", "--shard-size", "0.0001")
    assert run(monkeypatch, single, tmp_path / "sharded", *arguments) == 2
    assert "needs the model's config.json" in capsys.readouterr().err
    config = ("--config", tmp_path / "transformer" / "config.json")
    assert run(monkeypatch, single, tmp_path / "sharded", *arguments, *config) == 0
    assert len(list((tmp_path / "sharded").glob("*-of-*.safetensors"))) > 3
    again = FluxTransformer2DModel.from_pretrained(str(tmp_path / "sharded"), local_files_only=True)
    tools.assert_equal(again.state_dict(), model.state_dict())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".acetate")]


def test_metadata_and_alignment_are_kept(tmp_path: Path, tools: Any) -> None:
    state = {key: one.bfloat16() for key, one in tools.qwen().state_dict().items()}
    state["txt_norm.weight"] = state["txt_norm.weight"].float()  # dtypes may mix
    metadata = {"format": "pt", "modelspec.title": "näme"}
    tools.converted(state, "comfy", tmp_path, metadata)
    with safe_open(tmp_path / "out.safetensors", framework="pt") as handle:
        assert handle.metadata() == metadata
    data = (tmp_path / "out.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    widths = {"BF16": 2, "F32": 4}
    assert size % 8 == 0
    assert all(
        one["data_offsets"][0] % widths[one["dtype"]] == 0 for key, one in header.items() if key[0] != "_"
    )


def test_one_part_of_a_file_of_several(tmp_path: Path, tools: Any) -> None:
    flux = {f"model.diffusion_model.{key}": one for key, one in tools.converted(
        tools.flux().state_dict(), "bfl", tmp_path / "a").items()}  # fmt: skip
    vae = tools.converted(tools.kl().state_dict(), "comfy", tmp_path / "b")
    both = {**flux, **vae, "text_encoders.clip_l.x": torch.zeros(1)}
    with pytest.raises(InputError, match=r"two things: .*--part transformer"):
        describe_checkpoint(TensorSource(both))
    tools.assert_equal(tools.converted(both, "diffusers", tmp_path, part="transformer"), tools.flux().state_dict())
    tools.assert_equal(tools.converted(both, "diffusers", tmp_path, part="vae"), tools.kl().state_dict())
    with pytest.raises(InputError, match="holds no vae"):
        describe_checkpoint(TensorSource(flux), part="vae")


def test_reading_goes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are copied CHUNK bytes at a time, whatever the tensor's size."""
    from acetate.models.conversion import source

    save_file({"a": torch.arange(1000, dtype=torch.int32).reshape(100, 10)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(source, "CHUNK", 64)
    opened = source.open_checkpoint(tmp_path / "a.safetensors")
    pieces = list(opened.rows("a", 20, 30))
    assert max(map(len, pieces)) == 64 and len(b"".join(pieces)) == 400
    assert torch.frombuffer(bytearray(b"".join(pieces)), dtype=torch.int32).tolist() == list(range(200, 300))


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


def test_hostile_and_broken_inputs_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tools: Any
) -> None:
    good = tmp_path / "good.safetensors"
    save_file(tools.converted(tools.flux().state_dict(), "bfl", tmp_path / "t"), good)
    evil = Evil()
    evil.path = str(tmp_path / "ran")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": evil}))
    torch.save({"a": torch.zeros(1), "step": 3}, tmp_path / "more.bin")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-5])
    (tmp_path / "long.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "lfs.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    (tmp_path / "notes.txt").write_text("no weights")
    (tmp_path / "folder").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    (tmp_path / "old.safetensors").write_bytes(b"kept")
    save_file({"what.is.this": torch.zeros(1), "a": torch.zeros(1)}, tmp_path / "strange.safetensors")
    state = load_file(good)
    save_file({**state, "img_in.scale_weight": torch.zeros(1)}, tmp_path / "scaled.safetensors")
    save_file({key: one for key, one in state.items() if key != "img_in.bias"}, tmp_path / "lack.safetensors")
    state["single_blocks.0.linear1.weight"] = torch.zeros(90, 32)
    save_file(state, tmp_path / "shape.safetensors")
    out = tmp_path / "new.safetensors"
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        (("evil.pth", out), "no file of plain tensors"),
        (("more.bin", out), "holds more than named tensors (step is a int)"),
        (("cut.safetensors", out), "no complete safetensors file"),
        (("long.safetensors", out), "no complete safetensors file"),
        (("empty.safetensors", out), "no complete safetensors file"),
        (("lfs.safetensors", out), "Git LFS pointer"),
        (("notes.txt", out), "neither a .safetensors file nor"),
        (("folder", out), "no diffusion_pytorch_model.safetensors"),
        (("model", out), "whole model"),
        (("missing.safetensors", out), "no file or folder"),
        (("strange.safetensors", out), "its first keys are a, what.is.this"),
        (("scaled.safetensors", out), "img_in.scale_weight, which that has no place for: it is quantised"),
        (("lack.safetensors", out), "lacks img_in.bias"),
        (("shape.safetensors", out), "single_blocks.0.linear1.weight with (90, 32)"),
        (("good.safetensors", "old.safetensors"), "There is a file"),
        (("good.safetensors", "folder"), "needs the model's config.json"),
        (("good.safetensors", "good.safetensors", "--replace"), "is what is being converted"),
        (("good.safetensors", "x.pth"), "results are written as .safetensors"),
        (("good.safetensors", "nowhere/x.safetensors"), "the folder does not exist"),
        (("good.safetensors",), "--to needs a name"),
        (("good.safetensors", out, "--shard-size", "0"), "--shard-size"),
        (("good.safetensors", out, "--intervals", "3"), "--intervals must be a list"),
        (("good.safetensors", out, "--linear", '["a"]'), "--linear must be a list of numbers"),
        (("good.safetensors", out, "--intervals", "[[3,4]]"), "becomes diffusers without them"),
        (
            ("good.safetensors", out, "--with", "good.safetensors"),
            "becomes diffusers without good.safetensors",
        ),
        (("good.safetensors", out, "--family", "flux"), "says what a LoRA is for"),
    ]
    monkeypatch.chdir(tmp_path)
    for arguments, words in cases:
        status = run(monkeypatch, *arguments, "--to", "diffusers")
        told = capsys.readouterr().err
        assert status in (1, 2) and words in told and told.count("\n") == 1, (arguments, told)
        assert not out.exists()
    assert run(monkeypatch, "good.safetensors", out, "--to", "original") == 2
    assert "can become diffusers, comfy; not 'original'" in capsys.readouterr().err
    assert run(monkeypatch, "good.safetensors", "folder", "--to", "comfy") == 2
    assert "folder is for diffusers' layout" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists() and (tmp_path / "old.safetensors").read_bytes() == b"kept"
    assert run(monkeypatch, "good.safetensors", "old.safetensors", "--to", "diffusers", "--replace") == 0
    tools.assert_equal(load_file(tmp_path / "old.safetensors"), tools.flux().state_dict())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".acetate")]


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: Any
) -> None:
    from acetate.errors import OutputError
    from acetate.models.conversion import writing

    tools.flux().save_pretrained(tmp_path / "transformer")
    plan = convert_checkpoint(open_checkpoint(tmp_path / "transformer"), "diffusers")

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_pieces", full)
    for name in ("a.safetensors", "folder"):
        with pytest.raises(OutputError, match="disk is full"):
            plan.write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["transformer"]
