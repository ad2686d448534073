"""What acetate would not open again is not written, and the file that is there stays; what is only large is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acetate.errors import InputError
from acetate.layers import Group, Layer, LayeredImage, Mask
from acetate.layers.io import Limits, open_document, save_document

LAYERED = ["psd", "psb", "ora", "zip", "folder"]
PIXEL = np.full((1, 1, 4), 200, np.uint8)
DOT = Layer(pixels=PIXEL, name="dot")


def document(*layers: Layer | Group, width: int = 4, height: int = 4) -> LayeredImage:
    return LayeredImage(width=width, height=height, layers=layers or (DOT,))


def nested(depth: int, inner: tuple[Layer | Group, ...] = (DOT,)) -> LayeredImage:
    node = Group(layers=inner)
    for _ in range(depth - 1):
        node = Group(layers=(node,))
    return document(node)


TOO_MUCH: dict[str, tuple[Callable[[], LayeredImage], str]] = {
    "canvas": (lambda: document(width=20_000, height=20_000), "the canvas is 20000 x 20000 pixels.*268 megapixels"),
    "side": (lambda: document(width=400_000), "400000 x 4 pixels, longer than the 300000"),
    "layer": (lambda: document(DOT.replace(pixels=np.broadcast_to(PIXEL, (17_000, 17_000, 4)))), "'dot' in the document is"),
    "total": (lambda: document(*[DOT.replace(pixels=np.broadcast_to(PIXEL, (16_000, 16_000, 4)))] * 9), "together"),
    "place": (lambda: document(DOT.replace(offset=(3_000_000_000, 0))), "layer 'dot' lies at 3000000000, 0"),
    "nesting": (lambda: nested(35), "32 deep"),
    "number": (lambda: document(*[DOT.replace(name=f"{k}", id="") for k in range(4097)]), "more than 4096 layers"),
}  # fmt: skip


@pytest.mark.parametrize("form", LAYERED)
@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_could_not_be_opened_is_not_written(tmp_path: Path, name: str, form: str) -> None:
    make, words = TOO_MUCH[name]
    path = save_document(document(), tmp_path / "a", form)
    before = {file: file.read_bytes() for file in sorted([path, *path.rglob("*")]) if file.is_file()}
    with pytest.raises(InputError, match=f"{words}.*nothing was written"):
        save_document(make(), path, form)
    assert {file: file.read_bytes() for file in sorted([path, *path.rglob("*")]) if file.is_file()} == before
    assert open_document(path).width == 4


@pytest.mark.parametrize("form", LAYERED)
def test_what_is_just_within_the_limits_comes_back(tmp_path: Path, form: str) -> None:
    wide = save_document(document(width=300_000), tmp_path / "wide", form)
    assert open_document(wide).width == 300_000
    deep = save_document(nested(32), tmp_path / "deep", form)
    assert max(len(path) for path, _ in open_document(deep).walk()) == 33
    far = document(DOT.replace(offset=(2**31 - 2, 1 - 2**31)))
    assert open_document(save_document(far, tmp_path / "far", form)).leaves()[0].offset == (
        2**31 - 2,
        1 - 2**31,
    )


def test_masks_count(tmp_path: Path) -> None:
    mask = Mask(pixels=np.broadcast_to(np.uint8(9), (17_000, 17_000)))
    with pytest.raises(InputError, match="the mask of dot"):
        document(DOT.replace(mask=mask)).save(tmp_path / "a.zip")
    far = Mask(pixels=np.ones((1, 1), np.uint8), offset=(0, -(2**31)))
    with pytest.raises(InputError, match="the mask of 'dot' lies"):
        document(DOT.replace(mask=far)).save(tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_openraster_needs_a_level_for_clipped_layers(tmp_path: Path) -> None:
    doc = nested(32, (DOT, DOT.replace(name="clipped", clipping=True)))
    assert len(open_document(doc.save(tmp_path / "a.zip")).leaves()) == 2
    with pytest.raises(InputError, match="32 deep"):
        doc.save(tmp_path / "a.ora")


def test_flat_formats_ask_for_the_canvas_only(tmp_path: Path) -> None:
    odd = document(Group(layers=(DOT, *nested(35).layers)), DOT.replace(offset=(3_000_000_000, 0)))
    for suffix in ("png", "tiff", "webp"):
        assert open_document(odd.save(tmp_path / f"a.{suffix}")).width == 4
        with pytest.raises(InputError, match="nothing was written"):
            document(width=400_000).save(tmp_path / f"b.{suffix}")


def test_other_limits_for_both_ways(tmp_path: Path) -> None:
    path = save_document(nested(35), tmp_path / "a.psd", limits=Limits(depth=40))
    with pytest.raises(InputError, match="deep"):
        open_document(path)
    assert len(open_document(path, limits=Limits(depth=40)).leaves()) == 1
