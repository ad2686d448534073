"""The atlas: its file gives it back without fonts, hostile files are refused, and glyphs keep their colour at the edges."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from acetate.datasets import sprites
from acetate.datasets.atlas import CELL, Atlas, Sprite
from acetate.errors import InputError


@pytest.fixture
def small() -> Atlas:
    pixels = np.random.default_rng(0).integers(0, 256, (3, CELL, CELL, 4), np.uint8)
    return Atlas(
        pixels=pixels, sprites=tuple(Sprite(name=f"n{k}", kind="shape", tinted=k == 1) for k in range(3))
    )


def test_the_order_of_sprites_is_fixed(atlas: Atlas) -> None:
    listed = "\n".join(f"{s.kind}:{s.name}:{s.tinted}" for s in atlas.sprites)
    assert atlas.pixels.shape == (1591, CELL, CELL, 4)
    assert (
        hashlib.sha256(listed.encode()).hexdigest()
        == "7a77f22aae1972c2ffa3877c298949ca6793424e2b5244764cde5bc4456490f0"
    )
    assert (atlas.pixels[..., :3] <= atlas.pixels[..., 3:]).all()


def test_a_file_gives_the_atlas_back_and_is_small(atlas: Atlas, tmp_path: Path) -> None:
    path = atlas.save(tmp_path / "atlas.npz")
    read = Atlas.load(path)
    assert read.sprites == atlas.sprites and np.array_equal(read.pixels, atlas.pixels)
    assert path.stat().st_size < 20e6


def test_the_same_atlas_gives_the_same_bytes(small: Atlas, tmp_path: Path) -> None:
    assert small.save(tmp_path / "a.npz").read_bytes() == small.save(tmp_path / "b.npz").read_bytes()


def archive(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_hostile_files_are_refused(small: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "atlas.npz"
    names = np.frombuffer(b'[["n", "shape", true]]', np.uint8)
    cell: np.ndarray = np.zeros((1, CELL, CELL, 4), np.uint8)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, CELL, CELL, 4)}
    )
    lying = io.BytesIO()
    with zipfile.ZipFile(lying, "w") as file:
        file.writestr("pixels.npy", header.getvalue())
        file.writestr("sprites.npy", header.getvalue())
    for data, message in (
        (b"no archive", "damaged"),
        (archive(pixels=cell), "damaged"),
        (archive(pixels=cell, sprites=np.array([{"a": 1}], object)), "no uint8 array"),
        (archive(pixels=cell.astype(np.float32), sprites=names), "no uint8 array"),
        (lying.getvalue(), "of the size it states"),
        (archive(pixels=cell[:, :80], sprites=names), "not S x 112"),
        (archive(pixels=np.concatenate([cell, cell]), sprites=names), "other sprites"),
        (archive(pixels=cell, sprites=np.frombuffer(b"[[1, 2]]", np.uint8)), "a sprite is described as"),
        (archive(pixels=cell, sprites=np.frombuffer(b"[", np.uint8)), "not valid JSON"),
        (archive(pixels=cell, sprites=np.zeros(10**7, np.uint8)), "too large"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            Atlas.load(path)
    with pytest.raises(InputError, match="there is no atlas file"):
        Atlas.load(tmp_path / "none.npz")


def test_a_glyph_on_any_ground_is_what_pillow_draws_there() -> None:
    font, ground = sprites.load_emoji_font(), (90, 160, 40)
    glyph = sprites.draw_emoji("\N{FOX FACE}", font).astype(np.float64)
    laid = glyph[..., :3] + np.array(ground) * (1 - glyph[..., 3:] / 255)
    drawn = Image.new("RGB", (176, 176), ground)
    ImageDraw.Draw(drawn).text((88, 88), "\N{FOX FACE}", font=font, embedded_color=True, anchor="mm")
    assert ((glyph[..., 3] > 0) & (glyph[..., 3] < 255)).sum() > 200
    np.testing.assert_allclose(laid, np.asarray(drawn), atol=2.5)
