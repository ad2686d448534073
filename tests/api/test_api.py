"""`acetate.decompose` and `acetate.generate` in Python: what may be given, what comes back, progress and stopping."""

from __future__ import annotations

import io
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import acetate
from acetate.api import picture_from
from acetate.errors import Cancelled, InputError
from acetate.report import peak_memory_mib
from acetate.session import device_name


@pytest.fixture
def pixels() -> np.ndarray:
    """24 x 40 RGBA with soft transparency."""
    rows, columns = np.mgrid[:24, :40]
    channels = [rows * 10, columns * 6, np.full_like(rows, 90), 255 - columns * 5]
    return np.stack(channels, axis=-1).astype(np.uint8)


def largest_error(document: acetate.LayeredImage, pixels: np.ndarray) -> int:
    flat = np.asarray(document.flatten()).astype(int)
    visible = pixels[..., 3] > 0
    return int(np.abs(flat - pixels)[visible].max())


@pytest.mark.parametrize("form", ["array", "picture", "bytes", "path"])
def test_every_form_of_a_picture_gives_the_same(
    form: str, pixels: np.ndarray, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(data.getvalue())
    given: Any = {
        "array": pixels,
        "picture": Image.fromarray(pixels),
        "bytes": data.getvalue(),
        "path": path,
    }[form]
    document = acetate.decompose(given, 2, model=str(tiny_checkpoint))
    assert (document.width, document.height, len(document.leaves())) == (40, 24, 2)
    assert largest_error(document, pixels) <= 1


def test_sixteen_bits_stay_sixteen_bits(tiny_checkpoint: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65536, (16, 16, 3), np.uint16)
    document = acetate.decompose(pixels, 2, model=str(tiny_checkpoint))
    assert document.depth == 16
    assert np.abs(document.composite()[..., :3] - pixels / 65535).max() <= 1.01 / 65535


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_unusual_sizes(size: tuple[int, int], tiny_checkpoint: Path) -> None:
    pixels = np.full((size[1], size[0], 3), 120, np.uint8)
    document = acetate.decompose(pixels, 3, model=str(tiny_checkpoint))
    assert (document.width, document.height) == size
    assert np.abs(np.asarray(document.flatten())[..., :3].astype(int) - 120).max() <= 1


def test_arrays_are_read_as_they_say() -> None:
    grey = picture_from(np.full((2, 3), 0.5, np.float32))
    assert grey.pixels.tolist()[0][0] == [128, 128, 128, 255] and not grey.has_alpha
    for wrong, says in (
        (np.zeros((2, 3, 5), np.uint8), "shape"),
        (np.zeros((0, 3, 3), np.uint8), "shape"),
        (np.full((2, 3), 7.0), "divide by 255"),
        (np.zeros((2, 3), np.int32), "int32"),
    ):
        with pytest.raises(InputError, match=says):
            picture_from(wrong)


def test_progress_goes_through_every_phase_in_order(pixels: np.ndarray, tiny_checkpoint: Path) -> None:
    seen: list[tuple[str, int, int, float | None]] = []
    acetate.decompose(pixels, 2, model=str(tiny_checkpoint), on_progress=lambda *report: seen.append(report))
    phases = list(dict.fromkeys(phase for phase, *_ in seen))
    assert phases == ["load", "encode", "denoise", "decode", "upsample", "recompose"]
    denoise = [report for report in seen if report[0] == "denoise"]
    assert [report[1] for report in denoise] == [0, 1, 2] and {report[2] for report in denoise} == {2}
    assert denoise[1][3] is not None and denoise[-1][3] == 0.0


@pytest.mark.parametrize("phase", ["encode", "denoise", "decode", "upsample"])
def test_a_run_stops_where_it_is_told(phase: str, pixels: np.ndarray, tiny_checkpoint: Path) -> None:
    cancel = threading.Event()

    def stop(now: str, step: int, steps: int, remaining: float | None) -> None:
        if now == phase:
            cancel.set()

    with pytest.raises(Cancelled):
        acetate.decompose(pixels, 2, model=str(tiny_checkpoint), on_progress=stop, cancel=cancel)


def test_two_threads_do_not_disturb_each_other(pixels: np.ndarray, tiny_checkpoint: Path) -> None:
    def run(seed: int) -> bytes:
        document = acetate.decompose(pixels, 2, seed=seed, model=str(tiny_checkpoint))
        return b"".join(layer.pixels.tobytes() for layer in document.leaves())

    alone = {seed: run(seed) for seed in (1, 2)}
    together: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda s=seed: together.update({s: run(s)})) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_generate_counts_layers(tiny_checkpoint: Path) -> None:
    model = str(tiny_checkpoint)
    assert len(acetate.generate("a sky", model=model).leaves()) == 3
    described = acetate.generate("a sky", model=model, layer_prompts=["a red fish"])
    assert [layer.name for layer in described.leaves()] == ["Background", "a red fish"]
    assert (described.width, described.height) == (64, 64)
    assert described.metadata["report"]["recomposition"] is None
    odd = acetate.generate("a sky", 2, model=model, size=(50, 33))
    assert (odd.width, odd.height) == (50, 33)


def test_the_device_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACETATE_DEVICE", "cpu")
    assert device_name() == "cpu"
    monkeypatch.setenv("ACETATE_DEVICE", "abacus")
    with pytest.raises(InputError, match="ACETATE_DEVICE=abacus"):
        device_name()


def test_a_changed_folder_is_loaded_anew(pixels: np.ndarray, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    first = acetate.decompose(pixels, 2, model=str(folder))
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({key: value * 1.5 for key, value in load_file(file).items()}, file)
    second = acetate.decompose(pixels, 2, model=str(folder))
    assert first.metadata["revision"] != second.metadata["revision"]
    pairs = zip(first.leaves(), second.leaves(), strict=True)
    assert any(not np.array_equal(one.pixels, two.pixels) for one, two in pairs)


def test_auto_keeps_only_layers_that_hold_something(tiny_checkpoint: Path) -> None:
    picture = np.full((64, 64, 3), 90, np.uint8)
    document = acetate.decompose(picture, "auto", model=str(tiny_checkpoint), steps=1)
    assert 1 <= len(document.layers) <= 8
    assert all(layer.pixels[..., 3].any() for layer in document.leaves())
    assert document.metadata["arguments"]["layers"] == "auto"
    named = acetate.decompose(
        picture, "auto", model=str(tiny_checkpoint), steps=1, layer_prompts=[None, "a fish"] * 4
    )
    assert [layer.name for layer in named.leaves()].count("a fish") == 4
    with pytest.raises(acetate.InputError, match="number of layers"):
        acetate.decompose(picture, "many", model=str(tiny_checkpoint))  # type: ignore[arg-type]


def test_layer_prompts_reach_the_model_and_name_the_layers(pixels: np.ndarray, tiny_checkpoint: Path) -> None:
    """From the background up; blanks say nothing; other words give other layers, and all still equal the picture."""
    run = partial(acetate.decompose, pixels, 3, model=str(tiny_checkpoint), seed=4)
    plain, blank = run(), run(layer_prompts=["", None, "  "])
    told = run(layer_prompts=["the sky", None, " a red  fish "])
    other = run(layer_prompts=["the sky", None, "a blue star"])
    assert [layer.name for layer in told.leaves()] == ["the sky", "Layer 1", "a red fish"]
    assert [layer.provenance.prompt for layer in told.leaves()] == ["the sky", None, "a red  fish"]
    assert told.metadata["arguments"]["layer_prompts"] == ["the sky", None, "a red  fish"]
    assert [layer.name for layer in plain.leaves()] == ["Background", "Layer 1", "Layer 2"]
    same = [np.array_equal(a.pixels, b.pixels) for a, b in zip(plain.leaves(), blank.leaves(), strict=True)]
    assert all(same) and "layer_prompts" not in blank.metadata["arguments"]
    for document in (plain, told, other):
        assert largest_error(document, pixels) <= 1
    reports = [one.metadata["report"]["recomposition"]["before"] for one in (plain, told, other)]
    assert len({report["psnr"] for report in reports}) == 3
    with pytest.raises(InputError, match="4 layers are described, but only 3"):
        run(layer_prompts=["a", "b", "c", "d"])
    for wrong in ("a fish", ["a", 3]):
        with pytest.raises(InputError, match="a list with a text"):
            run(layer_prompts=wrong)


def test_the_best_of_some_tries_is_one_of_them_and_the_nearest(
    pixels: np.ndarray, tiny_checkpoint: Path
) -> None:
    run = partial(acetate.decompose, pixels, layers=2, model=str(tiny_checkpoint), size="model")
    alone = [run(seed=seed) for seed in (5, 6, 7)]
    best = run(seed=5, best_of=3)
    errors = [one.metadata["report"]["recomposition"]["before"]["psnr"] for one in alone]
    chosen = int(np.argmax(errors))
    assert best.metadata["seed"] == 5 + chosen
    assert best.metadata["report"]["recomposition"]["before"]["psnr"] == pytest.approx(
        errors[chosen], abs=0.05
    )
    with pytest.raises(InputError, match="between 1 and 16"):
        run(best_of=0)


def test_the_peak_is_that_of_whichever_accelerator_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", {0: 0, 1: 3 * 2**20}.__getitem__)
    assert peak_memory_mib()["accelerator"] == 3
