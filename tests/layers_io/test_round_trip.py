"""What goes into a file comes out again: the nasty document through every layered format."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from documents import nasty, on_canvas, outline, worst

from acetate.errors import InputError
from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask, Provenance
from acetate.layers.composite import flatten_array
from acetate.layers.io import FormatWarning, open_document, save_document
from acetate.layers.io.colour import srgb_profile


@pytest.mark.parametrize("suffix", ["psd", "psb", "zip", ""])
def test_tree_pixels_masks_and_facts_survive(document: LayeredImage, tmp_path: Path, suffix: str) -> None:
    path = document.save(tmp_path / f"a.{suffix}".rstrip("."))
    back = LayeredImage.open(path)
    assert outline(back) == outline(document)
    assert (back.width, back.height, back.depth, back.dpi) == (72, 56, document.depth, 150.0)
    assert back.metadata == document.metadata
    for one, other in zip(document.leaves(), back.leaves(), strict=True):
        assert other.pixels.dtype == one.pixels.dtype
        assert np.array_equal(on_canvas(one), on_canvas(other)), one.name
    for (_, one), (_, other) in zip(document.walk(), back.walk(), strict=True):
        assert (one.mask is None) == (other.mask is None)
        if one.mask is not None and other.mask is not None:
            assert np.array_equal(one.mask.pixels, other.mask.pixels)
            assert (one.mask.offset, one.mask.default, one.mask.enabled) == (
                other.mask.offset,
                other.mask.default,
                other.mask.enabled,
            )
    assert np.array_equal(flatten_array(document), flatten_array(back))


@pytest.mark.parametrize("suffix", ["zip", ""])
def test_the_canonical_form_keeps_hidden_colours_exact_opacities_and_every_depth(
    tmp_path: Path, suffix: str
) -> None:
    rng = np.random.default_rng(5)
    layers = (
        Layer(pixels=rng.integers(0, 256, (4, 5, 4), np.uint8), name="a", opacity=1 / 3, offset=(-3, 70000)),
        Layer(pixels=rng.integers(0, 65536, (3, 2, 4), np.uint16), name="b"),
        Group(
            layers=(), name="empty", opacity=0.1, mask=Mask(pixels=np.full((1, 1), 7, np.uint8), default=0.3)
        ),
    )
    doc = LayeredImage(
        width=5, height=4, layers=layers, icc=srgb_profile(), dpi=71.3, metadata={"x": [1, {"y": None}]}
    )
    back = open_document(doc.save(tmp_path / f"a.{suffix}".rstrip(".")))
    assert outline(back) == outline(doc)
    assert [n.opacity for _, n in back.walk()] == [1 / 3, 1.0, 0.1]
    assert (back.icc, back.dpi, back.metadata) == (doc.icc, doc.dpi, doc.metadata)
    for one, other in zip(doc.leaves(), back.leaves(), strict=True):
        assert np.array_equal(one.pixels, other.pixels) and one.pixels.dtype == other.pixels.dtype
        assert one.offset == other.offset


def test_float_layers_are_rounded_to_the_depth_half_up(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.float32)
    pixels[..., 3] = 1
    pixels[0, 0, 0] = 0.5 / 255 + 1e-6
    for depth, top in ((8, 255), (16, 65535)):
        doc = LayeredImage(width=2, height=2, depth=depth, layers=(Layer(pixels=pixels),))
        for suffix in ("zip", "psd", "ora"):
            back = open_document(doc.save(tmp_path / f"{depth}.{suffix}")).leaves()[0].pixels
            assert int(back[0, 0, 0]) == int(pixels[0, 0, 0] * top + 0.5)
            assert back[0, 0, 3] == top


@pytest.mark.parametrize("suffix", ["psd", "psb", "zip", "ora", "pptx", "png", "webp", "tiff", ""])
def test_the_same_document_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    doc = nasty()
    if suffix in ("pptx", "ora"):
        doc = doc.with_layers(
            [node for node in doc.layers if not isinstance(node, Group) and not node.clipping]
        )
    if suffix == "pptx":
        doc = doc.with_layers([node.replace(blend=BlendMode.NORMAL) for node in doc.layers])

    def written(name: str) -> dict[str, bytes]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = doc.save(tmp_path / f"{name}.{suffix}".rstrip("."))
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        return {str(file.relative_to(path)): file.read_bytes() for file in files}

    assert written("one") == written("two")


def test_openraster_keeps_tree_and_picture(tmp_path: Path) -> None:
    for depth in (8, 16):
        doc = nasty(depth, clipped_blend=False)
        with pytest.warns(FormatWarning, match="masked"):
            path = doc.save(tmp_path / f"{depth}.ora")
        back = open_document(path)
        assert outline(back) == outline(doc)
        assert back.metadata == doc.metadata and back.dpi == doc.dpi and back.depth == depth
        # a baked mask is rounded once more than a mask kept apart
        assert worst(flatten_array(back), flatten_array(doc)) <= 1


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"blend": BlendMode.VIVID_LIGHT}, ["'odd one'", "vivid-light", "psd", "zip"]),
        ({"blend": BlendMode.MULTIPLY, "clipping": True}, ["'odd one'", "clipped", "multiply", "psd"]),
        ({"name": "bell \a"}, ["control character", "rename"]),
    ],
)
def test_openraster_says_what_it_cannot_hold(
    tmp_path: Path, layer: dict[str, object], words: list[str]
) -> None:
    doc = nasty(clipped_blend=False)
    odd = Layer(pixels=np.full((2, 2, 4), 255, np.uint8), **{"name": "odd one", **layer})
    with pytest.raises(InputError) as caught:
        doc.with_layers([*doc.layers, odd]).save(tmp_path / "a.ora")
    assert all(word in str(caught.value) for word in words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["psd", "psb", "zip", "ora", "png", "tiff", "webp"])
@pytest.mark.parametrize("alpha", [0, 255])
def test_one_pixel_and_nothing_at_all(tmp_path: Path, suffix: str, alpha: int) -> None:
    pixels = np.array([[[9, 8, 7, alpha]]], np.uint8)
    doc = LayeredImage(width=1, height=1, layers=(Layer(pixels=pixels, name="dot"),))
    back = open_document(doc.save(tmp_path / f"a.{suffix}"))
    assert (back.width, back.height, len(back.layers)) == (1, 1, 1)
    assert np.array_equal(flatten_array(back), flatten_array(doc))


def test_no_layers_at_all(tmp_path: Path) -> None:
    doc = LayeredImage(width=3, height=2, layers=())
    for suffix in ("zip", "ora"):
        assert open_document(doc.save(tmp_path / f"a.{suffix}")).layers == ()
    for depth in (8, 16):  # a PSD without layers is its merged image
        back = open_document(doc.replace(depth=depth).save(tmp_path / "a.psd"))
        assert not flatten_array(back)[..., 3].any()


def test_saving_again_what_was_read_changes_nothing(tmp_path: Path) -> None:
    first = open_document(nasty().save(tmp_path / "a.psd"))
    second = open_document(first.save(tmp_path / "b.psd"))
    assert outline(first) == outline(second)
    assert (tmp_path / "a.psd").read_bytes() == (tmp_path / "b.psd").read_bytes()


def test_a_folder_is_rewritten_in_place_and_stale_pictures_go(tmp_path: Path) -> None:
    path = tmp_path / "doc"
    nasty().save(path)
    keep = path / "notes.txt"
    keep.write_text("mine")
    small = LayeredImage(width=2, height=2, layers=(Layer(pixels=np.full((2, 2, 4), 9, np.uint8)),))
    small.save(path)
    assert len(list((path / "layers").iterdir())) == 1
    assert keep.read_text() == "mine"
    assert flatten_array(open_document(path)).shape == (2, 2, 4)


def test_provenance_of_every_kind_survives(tmp_path: Path) -> None:
    fact = Provenance(
        prompt="雪 <&> \"'", box=(1, 2, 3, 4), seed=2**63, model="tiny", revision="abc", role="background"
    )
    doc = LayeredImage(
        width=2, height=2, layers=(Layer(pixels=np.full((2, 2, 4), 255, np.uint8), provenance=fact),)
    )
    for suffix in ("psd", "psb", "ora", "zip"):
        assert open_document(save_document(doc, tmp_path / f"a.{suffix}")).leaves()[0].provenance == fact


@pytest.mark.parametrize("top", ["my layers/", "图层/"])
def test_a_zip_of_the_folder_itself(tmp_path: Path, top: str) -> None:
    doc = nasty()
    folder = doc.save(tmp_path / "doc")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    extra = {"__MACOSX/._a": b"x", ".DS_Store": b"x"}
    for others, opens in (({}, True), (extra, True), ({"b/c": b"x"}, False), ({"c": b"x"}, False)):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.mkdir(top.rstrip("/"))
            for file in files:
                archive.write(file, top + file.relative_to(folder).as_posix())
            for name, data in others.items():
                archive.writestr(name, data)
        if opens:
            assert outline(open_document(tmp_path / "a.zip")) == outline(doc)
        else:
            with pytest.raises(InputError, match="a zip without manifest"):
                open_document(tmp_path / "a.zip")
