"""Every wrong input leaves one sentence, the right exit status, and everything on disk as it was."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acetate.layers.document import Layer, LayeredImage

from .conftest import Run

OLD = b"an older result"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output that exists already; it must survive every refusal."""
    path = tmp_path / "result.psd"
    path.write_bytes(OLD)
    return path


def check_refused(run: Run, out: Path, *words: object, status: int = 2, says: str) -> str:
    """Runs a command that must be refused; returns its sentence."""
    before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")}
    outcome = run(*words)
    assert outcome.status == status, outcome.err
    assert says in outcome.complaint
    assert outcome.complaint.endswith((".", "?"))
    assert not outcome.complaint.endswith("?.")
    assert "Traceback" not in outcome.err
    assert out.read_bytes() == OLD
    assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")} == before
    return outcome.complaint


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and has almost no pixels."""
    chunk = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", chunk)
        + part(b"IDAT", zlib.compress(b"\0" * 100))
        + part(b"IEND", b"")
    )


def animated() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


def transparent() -> bytes:
    data = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(data, "PNG")
    return data.getvalue()


def truncated() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()[:3000]


PICTURES = {
    "empty": (b"", "is empty"),
    "truncated": (truncated(), "damaged"),
    "text": (b"this is not a picture, it is a letter", "not a picture"),
    "animated": (animated(), "animated"),
    "gigapixel": (png_header(200_000, 200_000), "megapixels"),
    "alpha only": (transparent(), "transparent"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_that_cannot_be_used(kind: str, run: Run, out: Path) -> None:
    data, says = PICTURES[kind]
    source = out.parent / "input.png"
    source.write_bytes(data)
    sentence = check_refused(run, out, "decompose", source, "-o", out, says=says)
    assert "input.png" in sentence


def test_a_missing_picture(run: Run, out: Path) -> None:
    check_refused(
        run, out, "decompose", out.parent / "nowhere.png", "-o", out, says="nowhere.png does not exist"
    )


@pytest.mark.parametrize("layers", ["0", "99", "-3"])
def test_impossible_numbers_of_layers(
    layers: str, run: Run, out: Path, picture: Path, tiny_checkpoint: Path
) -> None:
    words = ["decompose", picture, "-n", layers, "--model", tiny_checkpoint, "-o", out]
    check_refused(run, out, *words, says="number of layers must lie between 1 and 8")


def test_a_number_that_is_none(run: Run, out: Path, picture: Path) -> None:
    check_refused(
        run, out, "decompose", picture, "-n", "four", "-o", out, says="invalid number or auto value: 'four'"
    )


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("a fish@0,0,900,20", "leaves the 64 x 64 canvas"),
        ("a fish@-4,0,20,20", "leaves the 64 x 64 canvas"),
        ("a fish@10,10,10,40", "is empty"),
        ("a fish@30,10,10,40", "is empty"),
        ("a fish@1,2,3", "four whole numbers"),
        ("a fish@left", "four whole numbers"),
        ("@1,2,30,40", "has no prompt"),
    ],
)
def test_boxes_that_cannot_be(layer: str, says: str, run: Run, out: Path, tiny_checkpoint: Path) -> None:
    words = ["generate", "a fish", "--size", "64x64", "--layer", layer, "--model", tiny_checkpoint, "-o", out]
    check_refused(run, out, *words, says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--size", "640"], "WIDTHxHEIGHT"),
        (["--size", "0x64"], "width must lie between"),
        (["--size", "64x99999"], "height must lie between"),
        (["--steps", "0"], "steps must lie between 1"),
        (["--seed", "-1"], "seed must be"),
        (["--layer", "a", "--layer", "b", "-n", "2"], "ask for 3"),
    ],
)
def test_impossible_generations(
    words: list[str], says: str, run: Run, out: Path, tiny_checkpoint: Path
) -> None:
    check_refused(run, out, "generate", "a fish", *words, "--model", tiny_checkpoint, "-o", out, says=says)


def test_an_empty_prompt(run: Run, out: Path) -> None:
    check_refused(run, out, "generate", "  ", "-o", out, says="prompt is empty")


def test_an_unknown_model_name(run: Run, out: Path, picture: Path) -> None:
    sentence = check_refused(run, out, "decompose", picture, "--model", "tinny", "-o", out, says="'tinny'")
    assert "tiny" in sentence


def broken_copy(checkpoint: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))


def test_a_model_folder_with_a_missing_file(
    run: Run, out: Path, picture: Path, tiny_checkpoint: Path
) -> None:
    folder = broken_copy(tiny_checkpoint, out.parent)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    sentence = check_refused(run, out, "decompose", picture, "--model", folder, "-o", out, says="vae")
    assert "diffusion_pytorch_model.safetensors" in sentence


def test_a_model_folder_with_a_misshaped_file(
    run: Run, out: Path, picture: Path, tiny_checkpoint: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = broken_copy(tiny_checkpoint, out.parent)
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["img_in.weight"] = tensors["img_in.weight"][:, :-1].contiguous()
    save_file(tensors, file)
    sentence = check_refused(
        run, out, "decompose", picture, "--model", folder, "-o", out, says="img_in.weight"
    )
    assert str(file) in sentence


def test_a_folder_that_is_no_model(run: Run, out: Path, picture: Path) -> None:
    check_refused(run, out, "decompose", picture, "--model", out.parent, "-o", out, says="model_index.json")


def test_a_missing_output_folder(run: Run, out: Path, picture: Path) -> None:
    target = out.parent / "nowhere" / "x.psd"
    check_refused(run, out, "decompose", picture, "-o", target, says="does not exist")


def test_an_output_folder_that_is_a_file(run: Run, out: Path, picture: Path) -> None:
    check_refused(run, out, "decompose", picture, "-o", picture / "x.psd", says="does not exist")


def test_an_output_that_is_a_folder(run: Run, out: Path, picture: Path) -> None:
    (out.parent / "taken.psd").mkdir()
    check_refused(run, out, "decompose", picture, "-o", out.parent / "taken.psd", says="is a folder")


def test_an_output_folder_with_other_files(run: Run, out: Path, picture: Path) -> None:
    check_refused(run, out, "decompose", picture, "-o", out.parent, says="holds other files")


def test_an_output_over_the_input(run: Run, out: Path, picture: Path) -> None:
    before = picture.read_bytes()
    check_refused(run, out, "decompose", picture, "-o", picture, says="is the picture itself")
    assert picture.read_bytes() == before


@pytest.mark.parametrize("name", ["x.jpg", "x.xyz", "x.gif"])
def test_formats_that_are_none(name: str, run: Run, out: Path, picture: Path) -> None:
    check_refused(run, out, "decompose", picture, "-o", out.parent / name, says=name)


def test_nothing_that_is_read_is_overwritten(run: Run, out: Path, picture: Path) -> None:
    for words in (
        ("decompose", picture, "-o", out),
        ("extract", picture, "--box", "1,1,9,9", "-o", out),
        ("extract", out, "--mask", picture, "-o", out.parent / "other.psd"),
        ("complete", picture, "-o", out),
        ("transparent", "a fish", "--image", picture, "-o", out),
    ):
        check_refused(run, out, *words, "--report", picture, says="is what the command reads")
    check_refused(run, out, "extract", out, "--mask", picture, "-o", picture, says="is the picture itself")


def test_a_report_without_a_place(run: Run, out: Path, picture: Path) -> None:
    report = out.parent / "nowhere" / "r.json"
    check_refused(run, out, "decompose", picture, "-o", out, "--report", report, says="does not exist")


@pytest.fixture
def layered(tmp_path: Path) -> Path:
    pixels = np.full((20, 30, 4), 200, np.uint8)
    layers = (
        Layer(pixels=pixels, name="Background"),
        Layer(pixels=pixels[:5, :5], name="Sun", blend="vivid-light"),
    )
    return LayeredImage(width=30, height=20, layers=layers).save(tmp_path / "layered.psd")


def test_a_flat_format_for_layers(run: Run, out: Path, layered: Path) -> None:
    sentence = check_refused(
        run, out, "convert", layered, out.parent / "x.png", says="cannot hold the 2 layers"
    )
    assert "acetate flatten" in sentence


def test_a_format_that_lacks_the_blend_mode(run: Run, out: Path, layered: Path) -> None:
    sentence = check_refused(run, out, "convert", layered, out.parent / "x.ora", says="'Sun'")
    assert "vivid-light" in sentence or "vivid light" in sentence


def test_a_format_that_lacks_the_depth(run: Run, out: Path, tmp_path: Path) -> None:
    deep = np.full((4, 4, 4), 40_000, np.uint16)
    source = LayeredImage(width=4, height=4, layers=(Layer(pixels=deep),), depth=16).save(
        tmp_path / "deep.psd"
    )
    check_refused(run, out, "flatten", source, "-o", out.parent / "x.webp", says="16 bits")


def test_flatten_wants_a_flat_format(run: Run, out: Path, layered: Path) -> None:
    check_refused(run, out, "flatten", layered, "-o", out, says="flat picture")


@pytest.mark.parametrize(
    ("operation", "says"),
    [("fly:Sun,1,2", "fly"), ("move:Moon,1,2", "Moon"), ("move:Sun,far,2", "far"), ("opacity:Sun,7", "7")],
)
def test_edits_that_cannot_be(operation: str, says: str, run: Run, out: Path, layered: Path) -> None:
    check_refused(run, out, "edit", layered, operation, "-o", out, says=says)


@pytest.mark.parametrize("command", ["inspect", "flatten"])
def test_documents_that_are_none(command: str, run: Run, out: Path) -> None:
    broken = out.parent / "broken.psd"
    broken.write_bytes(b"8BPS\0\1" + b"\xff" * 40)
    words = [command, broken] + (["-o", out.parent / "x.png"] if command == "flatten" else [])
    check_refused(run, out, *words, says="broken.psd")


def test_an_unknown_command(run: Run, out: Path) -> None:
    check_refused(run, out, "explode", says="invalid choice: 'explode'")


def test_a_missing_output_option(run: Run, out: Path, picture: Path) -> None:
    check_refused(run, out, "decompose", picture, says="-o/--output")


LIMITED = """
import resource, signal, sys
from acetate.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_disk_that_fills_up(out: Path, tmp_path: Path) -> None:
    """The system refuses to let any file grow past 20 kB, as a full disk would."""
    assert resource.RLIMIT_FSIZE is not None
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 4), np.uint8)
    source = LayeredImage(width=200, height=200, layers=(Layer(pixels=noise),)).save(tmp_path / "noise.zip")
    before = sorted(out.parent.iterdir())
    command = [sys.executable, "-P", "-c", LIMITED, "convert", str(source), str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"acetate: cannot write {out}") and result.stderr.count("\n") == 1
    assert out.read_bytes() == OLD
    assert sorted(out.parent.iterdir()) == before


def test_a_place_where_nothing_can_be_written(run: Run, out: Path, picture: Path) -> None:
    """/proc takes no files, not even root's."""
    check_refused(
        run, out, "decompose", picture, "-o", "/proc/x.psd", status=1, says="cannot write /proc/x.psd"
    )
