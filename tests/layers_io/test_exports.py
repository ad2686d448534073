"""Slides, flat pictures, the table of formats, and what the package loads."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from documents import disc, map_layers, nasty, plate, ramp, worst
from PIL import Image

from acetate.errors import InputError
from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask, Provenance
from acetate.layers.composite import flatten_array
from acetate.layers.io import FORMATS, open_document, save_document

EMU = 9525


def slide_of(path: Path) -> list[object]:
    from pptx import Presentation

    return list(Presentation(path).slides[0].shapes)


def poster() -> LayeredImage:
    layers = (
        Layer(pixels=plate(400, 300), name="Background"),
        Group(
            name="Things",
            layers=(
                Layer(
                    pixels=disc(60, 40, (255, 0, 0)),
                    name="红球 🎈",
                    offset=(-10, 20),
                    provenance=Provenance(prompt="a red <ball>"),
                ),
                Layer(pixels=disc(50, 50, (0, 0, 255)), name="half", offset=(100, 100), opacity=0.5),
            ),
        ),
        Layer(pixels=disc(9, 9, (0, 0, 0)), name="hidden", visible=False),
    )
    return LayeredImage(width=400, height=300, layers=layers, metadata={"seed": 3, "long": "x" * 300})


def test_a_slide_holds_one_picture_per_visible_layer(tmp_path: Path) -> None:
    path = poster().save(tmp_path / "a.pptx")
    shapes = slide_of(path)
    assert [shape.name for shape in shapes] == ["Background", "红球 🎈", "half"]
    notes = shapes[0].part.slide.notes_slide.notes_text_frame.text
    assert notes == f'acetate {{"long": "{"x" * 300}", "seed": 3}}'
    crop = np.argwhere(disc(60, 40, (255, 0, 0))[..., 3] > 0)
    assert shapes[1].left == (-10 + crop[:, 1].min()) * EMU and shapes[1].top == (20 + crop[:, 0].min()) * EMU
    assert shapes[0].width == 400 * EMU and shapes[0].height == 300 * EMU
    assert shapes[1]._element.nvPicPr.cNvPr.get("descr") == "a red <ball>"
    with zipfile.ZipFile(path) as deck:
        names = deck.namelist()
        assert {info.date_time for info in deck.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names[0] == "[Content_Types].xml"
    half = np.asarray(Image.open(io.BytesIO(shapes[2].image.blob)))
    assert 127 <= half[..., 3].max() <= 128


def test_a_slide_bakes_what_it_may_and_refuses_blend_modes(tmp_path: Path) -> None:
    one, two = disc(40, 40, (255, 0, 0)), disc(40, 40, (0, 255, 0))
    faded = Group(
        name="faded",
        opacity=0.5,
        layers=(Layer(pixels=one, name="a"), Layer(pixels=two, name="b", offset=(10, 0))),
        mask=Mask(pixels=ramp(40, 40), default=1.0),
    )
    clipped = (
        Layer(pixels=one, name="base"),
        Layer(pixels=two, name="on it", clipping=True, blend=BlendMode.SCREEN),
    )
    doc = LayeredImage(width=100, height=100, layers=(faded, *clipped))
    assert [shape.name for shape in slide_of(doc.save(tmp_path / "a.pptx"))] == ["faded", "base"]
    bad = [*doc.layers, Layer(pixels=one, name="odd", blend=BlendMode.MULTIPLY)]
    with pytest.raises(InputError, match=r"'odd' \(multiply\)"):
        doc.with_layers(bad).save(tmp_path / "b.pptx")
    through = Group(name="through", opacity=0.5, layers=(bad[-1],))
    with pytest.raises(InputError, match="'through'"):
        doc.with_layers([through]).save(tmp_path / "b.pptx")


def test_slides_keep_to_the_sizes_of_powerpoint(tmp_path: Path) -> None:
    from pptx import Presentation

    for width, height in ((1, 1), (9000, 2), (10, 3000)):
        doc = LayeredImage(width=width, height=height, layers=())
        deck = Presentation(doc.save(tmp_path / "a.pptx"))
        assert max(deck.slide_width, deck.slide_height) <= 51_206_400


def test_without_python_pptx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pptx", None)
    with pytest.raises(InputError, match=r"acetate\[export\]"):
        poster().save(tmp_path / "a.pptx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["png", "tiff", "tif", "webp"])
@pytest.mark.parametrize("depth", [8, 16])
def test_flat_pictures_are_exact_and_carry_profile_resolution_and_seed(
    tmp_path: Path, depth: int, suffix: str
) -> None:
    doc = nasty(depth).with_layers(nasty(depth).layers[1:])
    if suffix == "webp" and depth == 16:
        with pytest.raises(InputError, match="8 bits"):
            doc.save(tmp_path / "a.webp")
        return
    path = doc.save(tmp_path / f"a.{suffix}")
    back = open_document(path)
    assert np.array_equal(back.leaves()[0].pixels, flatten_array(doc)) and back.depth == depth
    assert back.metadata == doc.metadata
    if suffix != "webp":
        assert abs(back.dpi - 150) < 0.1


def test_a_second_reader_agrees_about_our_tiff_and_png(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for depth in (8, 16):
        doc = nasty(depth)
        page = tifffile.TiffFile(doc.save(tmp_path / "a.tiff")).pages[0]
        assert np.array_equal(page.asarray(), flatten_array(doc))
        assert page.extrasamples == (2,)
        with Image.open(doc.save(tmp_path / "a.png")) as image:
            seen = np.asarray(image.convert("RGBA")).astype(int)
        assert np.abs(seen - flatten_array(doc, 8)).max() <= 1


def test_formats_are_chosen_by_suffix_or_name(tmp_path: Path) -> None:
    doc = poster()
    assert save_document(doc, tmp_path / "a.PSD").read_bytes()[:4] == b"8BPS"
    assert save_document(doc, tmp_path / "b.bin", "png").read_bytes()[:4] == b"\x89PNG"
    assert save_document(doc, tmp_path / "c.x", format=".TIF").read_bytes()[:2] == b"II"
    assert save_document(doc, tmp_path / "d").is_dir()
    assert set(FORMATS) == {"psd", "psb", "ora", "folder", "zip", "pptx", "png", "webp", "tiff"}
    for path, name, word in (
        ("a.jpg", None, "transparency"),
        ("a.xyz", None, "suffix"),
        ("a.psd", "gif", "unknown format"),
        ("a.psd", "jpeg", "transparency"),
    ):
        with pytest.raises(InputError, match=word):
            save_document(doc, tmp_path / path, name)


def test_metadata_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    doc = poster().replace(metadata={"loss": float("nan")})
    for suffix in ("psd", "zip", "ora", "png"):
        with pytest.raises(InputError, match="stored"):
            doc.save(tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())


def test_hidden_documents_flatten_to_nothing(tmp_path: Path) -> None:
    doc = poster().with_layers(map_layers(poster().layers, lambda node: {"visible": False}))
    back = open_document(doc.save(tmp_path / "a.png"))
    assert worst(flatten_array(back), np.zeros((300, 400, 4), np.uint8)) == 0


def test_the_package_loads_no_torch_and_no_format_library() -> None:
    code = (
        "import sys, acetate.layers, acetate.layers.io\n"
        "loaded = {'torch', 'psd_tools', 'pptx', 'scipy', 'lxml', 'pydantic'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
