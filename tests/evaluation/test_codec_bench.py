"""The codec bench: figures with known answers first, then the command on real parts, then what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acetate.cli import main
from acetate.datasets.sprites import Atlas
from acetate.evaluation.codec_bench import CodecSettings, Contender, run_codecs
from acetate.evaluation.codec_scores import compare_tiled, edge_band, halo_error, score_layers
from acetate.evaluation.scenes import EvaluationScene

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


def square(colour: tuple[int, int, int] = (200, 40, 90)) -> np.ndarray:
    """A 16 x 16 layer with an opaque square from 4 to 12; colour under alpha 0 is white, which nobody sees."""
    layer = np.full((16, 16, 4), 255, np.uint8)
    layer[..., 3] = 0
    layer[4:12, 4:12] = (*colour, 255)
    return layer


def test_the_band_lies_on_both_sides_of_the_edge() -> None:
    band = edge_band(square())
    assert band[3, 8] and band[2, 8] and not band[1, 8] and band[4, 8] and band[5, 8] and not band[6, 8]
    assert band.sum() == 12**2 - 4 - 4**2  # the four outermost corners are too far
    opaque = square()
    opaque[..., 3] = 255
    assert not edge_band(opaque).any() and halo_error(opaque, opaque, (0, 0, 0)) is None


def test_a_white_rim_is_a_halo_on_black_and_none_on_white() -> None:
    truth = square()
    rim = truth.copy()
    rim[3, 3:13, 3] = 255  # a row of what was hidden white
    assert halo_error(truth, truth, (0, 0, 0)) == 0
    assert halo_error(rim, truth, (1, 1, 1)) == 0
    # Ten pixels of the band's 124 are off by one in all three channels.
    assert halo_error(rim, truth, (0, 0, 0)) == pytest.approx(10 / 124)


def test_perfect_codecs_have_perfect_figures(scenes: list[EvaluationScene]) -> None:
    exact = score_layers([scene.layers for scene in scenes], scenes)
    assert exact.psnr == 60 and exact.pooled == 99 and exact.alpha_mae == 0 and exact.alpha_iou == 1
    assert set(exact.halo.values()) == {0.0} and exact.layers == sum(len(scene.layers) for scene in scenes)
    hidden = [scene.layers.copy() for scene in scenes]
    for layers in hidden:
        layers[..., :3][layers[..., 3] == 0] = 77  # colour that cannot be seen
    assert score_layers(hidden, scenes) == exact
    faint = [scene.layers.copy() for scene in scenes]
    for layers in faint:
        layers[1:, ..., 3] //= 2
    worse = score_layers(faint, scenes)
    assert (
        worse.alpha_iou < 0.51
        and worse.backgrounds == 60
        and worse.objects < 25
        and min(worse.halo.values()) > 0.05
    )


def test_tiles_are_compared_by_layer() -> None:
    whole = [np.stack([square()] * 2), np.stack([square()] * 4)]
    same = compare_tiled(whole, whole, [4.0, 8.0], [2.0, 4.0])
    assert (same.psnr, same.largest, same.seconds, same.whole_seconds, same.ratio) == (99, 0, 2, 1, 2)
    other = [one.copy() for one in whole]
    other[1][3, 8, 8, 0] += 51
    found = compare_tiled(other, whole, [1, 1], [1, 1])
    assert found.largest == pytest.approx(0.2) and 50 < found.psnr < 60


def test_every_contender_has_its_row(atlas: Atlas, tmp_path: Path) -> None:
    def dark(layers: np.ndarray) -> np.ndarray:
        worse = layers.copy()
        worse[..., :3] //= 2
        return worse

    contenders = [
        Contender(name="exact", origin="here", whole=lambda layers: layers, tiled=lambda layers: layers),
        Contender(name="dark", origin="there", whole=dark, tiled=lambda layers: layers),
    ]
    told: list[str] = []
    report = run_codecs(contenders, CodecSettings(scenes=2, size=64), lambda what, *rest: told.append(what))
    exact, darker = report.as_dict()["codecs"]
    assert (
        exact["psnr"] == 60
        and exact["tiled"]["psnr"] == 99
        and darker["psnr"] < 21
        and darker["tiled"]["largest"] > 0.2
    )
    assert "through dark" in told and "2 held-out scenes at 64 px" in report.text()
    sheet, figures = report.write(tmp_path / "out")
    assert json.loads(figures.read_text())["bench"] == "codecs"
    with Image.open(sheet) as page:
        assert page.mode == "RGB" and len(page.getcolors(1 << 24)) > 50


def test_every_kind_from_the_command_line(
    atlas: Atlas, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusers import AutoencoderKL

    from acetate.models.codecs import widen_rgb_vae
    from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet

    torch.manual_seed(0)
    vae = AutoencoderKL(
        latent_channels=16,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )
    vae.save_pretrained(tmp_path / "ld" / "vae")
    TransparentUNet(16, widths=(8, 8, 8, 8), attention_levels=1).save_pretrained(tmp_path / "ld" / "decoder")
    LatentOffsetEncoder(16, widths=(8, 8, 8, 8)).save_pretrained(tmp_path / "ld" / "encoder")
    widen_rgb_vae(vae).save_pretrained(tmp_path / "alpha")
    words = [
        "bench",
        "codecs",
        "--scenes",
        "1",
        "--size",
        "64",
        "--tile",
        "32",
        "--out",
        str(tmp_path / "out"),
        "-q",
    ]
    for kind in (f"kl:{tmp_path / 'alpha'}", f"layerdiffuse:{tmp_path / 'ld'}", f"qwen:{WEIGHTS / 'vae'}"):
        words += ["--codec", kind]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert (
        all(f"\n{name} " in text for name in ("embedded", "alpha", "ld", "weights")) and "written: " in text
    )
    found = json.loads((tmp_path / "out" / "codecs.json").read_text())
    embedded, alpha, _, same = found["codecs"]
    assert (
        embedded["psnr"] > 25 and alpha["psnr"] < embedded["psnr"] and str(tmp_path) not in json.dumps(found)
    )
    # The same weights without the fill that the model asks for: another row, nearly as good.
    assert same["psnr"] == pytest.approx(embedded["psnr"], abs=6)

    shutil.rmtree(tmp_path / "ld" / "decoder")
    assert main([*words[:-2], "--codec", f"layerdiffuse:{tmp_path / 'ld'}"]) == 2
    assert "no config.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--codec", "magic:x"], "--codec is qwen:VAE_FOLDER"),
        (["--codec", "kl:"], "--codec is qwen:VAE_FOLDER"),
        (["--codec", "kl:x,vae=y"], "not 'kl:x,vae=y'"),
        (["--codec", "kl:nowhere"], "no config.json in nowhere"),
        (["--codec", "layerdiffuse:x.pth"], "add ,vae=FOLDER"),
        (["--codec", f"kl:{WEIGHTS / 'vae'}"], "AutoencoderKL of 4 is needed"),
        (["--scenes", "0"], "--scenes must be at least 1"),
        (["--size", "100"], "--size must be a multiple of 16"),
        (["--tile", "8"], "--tile must be a multiple of 16"),
        (["--rows", "codec"], "--rows belongs to `acetate bench quality`"),
        (["--steps", "3"], "--steps belongs to `acetate bench quality`"),
        (["--model", "no-such-model"], "no-such-model"),
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
    assert main(["bench", "codecs", "-q", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_codec_bench_are_not_the_quality_benchs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "quality", "-q", "--tile", "64"]) == 2
    assert "--tile belongs to `acetate bench codecs`" in capsys.readouterr().err
