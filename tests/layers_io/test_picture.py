"""Reading flat pictures of every kind the issue names."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from documents import disc, nasty, other_profile, plate
from PIL import Image, ImageCms

from acetate.errors import InputError
from acetate.layers.composite import flatten_array
from acetate.layers.io import open_document, read_picture
from acetate.layers.io import picture as picture_module
from acetate.layers.io.colour import srgb_profile
from acetate.layers.io.limits import Limits
from acetate.layers.io.png import encode_png

RGBA = disc(11, 8, (200, 90, 30))
RGB = plate(11, 8)[..., :3]
tifffile = pytest.importorskip("tifffile")


def packed(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def raw_png(
    bits: int, colour: int, rows: bytes, width: int, height: int, *chunks: tuple[bytes, bytes]
) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0)
    body = b"".join(chunk(kind, data) for kind, data in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + body
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_rgba_is_exact_hidden_colours_included(kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    picture = read_picture(packed(Image.fromarray(RGBA), kind, **options))
    assert np.array_equal(picture.pixels, RGBA)
    assert picture.has_alpha and picture.mode == "RGBA" and picture.path is None and picture.dpi == 72


def test_opaque_pictures_have_no_alpha(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.fromarray(RGB).save(path, dpi=(300, 300))
    picture = read_picture(path)
    assert np.array_equal(picture.pixels[..., :3], RGB) and not picture.has_alpha
    assert picture.path == path and abs(picture.dpi - 300) < 0.1
    assert (picture.width, picture.height) == (11, 8)


def test_grey_one_bit_palette_and_their_transparency() -> None:
    grey = Image.fromarray(RGB[..., 1])
    assert np.array_equal(read_picture(packed(grey)).pixels[..., 2], RGB[..., 1])
    assert set(np.unique(read_picture(packed(grey.convert("1"))).pixels[..., 0])) <= {0, 255}
    both = Image.fromarray(RGBA[..., [0, 3]], "LA")
    assert np.array_equal(read_picture(packed(both)).pixels[..., [0, 3]], RGBA[..., [0, 3]])
    palette = Image.fromarray(RGB).quantize(8)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(read_picture(packed(palette)).pixels[..., :3], expected)
    clear = int(np.asarray(palette)[0, 0])
    seen = read_picture(packed(palette, transparency=clear))
    assert seen.has_alpha and np.array_equal(seen.pixels[..., 3] == 0, np.asarray(palette) == clear)
    keyed = read_picture(packed(Image.fromarray(RGB), transparency=tuple(int(v) for v in RGB[0, 0])))
    assert keyed.pixels[0, 0, 3] == 0 and keyed.pixels[-1, -1, 3] == 255


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_sixteen_bit_png(planes: int) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (6, 5, planes), np.uint16)
    picture = read_picture(encode_png(deep if planes > 1 else deep[..., 0], dpi=144))
    assert picture.pixels.dtype == np.uint16 and abs(picture.dpi - 144) < 0.1
    assert np.array_equal(picture.pixels[..., :planes] if planes > 1 else picture.pixels[..., 1:2], deep)


def test_sixteen_bit_png_with_grey_alpha_and_with_a_transparent_colour() -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (4, 3, 2), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    seen = read_picture(raw_png(16, 4, rows, 3, 4)).pixels
    assert np.array_equal(seen[..., [1, 3]], deep)
    colour = np.random.default_rng(3).integers(0, 65536, (4, 3, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    key = struct.pack(">3H", *(int(v) for v in colour[1, 2]))
    seen = read_picture(raw_png(16, 2, rows, 3, 4, (b"tRNS", key))).pixels
    assert np.array_equal(seen[..., :3], colour)
    assert seen[1, 2, 3] == 0 and (seen[..., 3] == 65535).sum() == 11


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("planes", "extra"), [(1, None), (3, None), (4, "unassalpha"), (4, "assocalpha")])
def test_sixteen_bit_tiff(planes: int, extra: str | None, compression: str | None, order: str) -> None:
    deep = np.random.default_rng(4).integers(0, 65536, (6, 5, planes), np.uint16)
    if extra == "assocalpha":
        deep[..., :3] = np.minimum(deep[..., :3], deep[..., 3:])
    with io.BytesIO() as file:
        tifffile.imwrite(
            file,
            deep if planes > 1 else deep[..., 0],
            photometric="rgb" if planes > 1 else "minisblack",
            compression=compression,
            byteorder=order,
            extrasamples=[extra] if extra else None,
        )
        seen = read_picture(file.getvalue()).pixels
    assert seen.dtype == np.uint16
    if extra == "assocalpha":
        again = seen[..., :3].astype(np.float64) * seen[..., 3:] / 65535
        assert np.abs(again - deep[..., :3]).max() <= 0.51
    elif planes == 1:
        assert np.array_equal(seen[..., 0], deep[..., 0])
    else:
        assert np.array_equal(seen[..., :planes], deep)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_exif_orientation(orientation: int, deep: bool) -> None:
    upright = Image.fromarray(RGB)
    # A camera stores the picture turned; the tag says how to turn it back.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    held = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    if deep:
        data = raw_png(
            16,
            2,
            b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.asarray(held).astype(np.uint16) * 257),
            held.width,
            held.height,
            (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        )
    else:
        data = packed(held, exif=exif)
    seen = read_picture(data).pixels[..., :3]
    assert np.array_equal(seen // 257 if deep else seen, RGB)


def test_a_profile_is_converted_and_alpha_left_alone() -> None:
    image = Image.fromarray(RGBA)
    seen = read_picture(packed(image, icc_profile=other_profile())).pixels
    assert np.array_equal(seen[..., 3], RGBA[..., 3])
    assert np.abs(seen[..., 2::-1].astype(int) - RGBA[..., :3])[RGBA[..., 3] > 0].max() <= 1
    deep = read_picture(encode_png(RGBA.astype(np.uint16) * 257, icc=other_profile())).pixels
    assert deep.dtype == np.uint16
    assert np.abs(deep.astype(int) - seen.astype(int) * 257).max() <= 257


def test_srgb_itself_changes_nothing_even_from_another_maker() -> None:
    assert np.array_equal(
        read_picture(packed(Image.fromarray(RGBA), icc_profile=srgb_profile())).pixels, RGBA
    )
    fresh = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read_picture(packed(Image.fromarray(RGBA), icc_profile=fresh)).pixels, RGBA)
    assert np.array_equal(read_picture(packed(Image.fromarray(RGBA), icc_profile=b"rubbish")).pixels, RGBA)


def test_cmyk_without_a_profile_follows_the_documented_rule() -> None:
    inks = Image.fromarray(np.dstack([RGB, RGB[..., :1] // 2]), "CMYK")
    seen = read_picture(packed(inks, "TIFF")).pixels
    assert np.array_equal(seen[..., :3], np.asarray(inks.convert("RGB"))) and (seen[..., 3] == 255).all()
    assert read_picture(packed(inks, "JPEG", quality=95)).pixels.shape == (8, 11, 4)


def test_fully_transparent_pictures_are_pictures() -> None:
    blank = np.zeros((3, 4, 4), np.uint8)
    seen = read_picture(packed(Image.fromarray(blank)))
    assert seen.has_alpha and not seen.pixels.any()


def test_pillow_images_lazy_or_not() -> None:
    assert np.array_equal(read_picture(Image.fromarray(RGBA)).pixels, RGBA)
    deep = np.random.default_rng(1).integers(0, 65536, (6, 5, 4), np.uint16)
    assert np.array_equal(read_picture(Image.open(io.BytesIO(encode_png(deep)))).pixels, deep)


def tiff(pixels: np.ndarray, photometric: str, order: str = "<", **options: object) -> bytes:
    with io.BytesIO() as file:
        tifffile.imwrite(file, pixels, photometric=photometric, byteorder=order, **options)
        return file.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_tiffs_where_white_is_zero(dtype: type, order: str) -> None:
    grey = np.tile(np.linspace(0, np.iinfo(dtype).max, 16).astype(dtype), (4, 1))
    if dtype is np.uint16 and order == ">":  # Pillow reads all of them but this one
        with pytest.raises(InputError, match="16-bit grey where white is zero"):
            read_picture(tiff(grey, "miniswhite", order))
        return
    for photometric, wanted in (("minisblack", grey), ("miniswhite", np.iinfo(dtype).max - grey)):
        seen = read_picture(tiff(grey, photometric, order)).pixels
        assert seen.dtype == dtype and np.array_equal(seen[..., 0], wanted), photometric


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    ("shape", "dtype", "photometric", "words"),
    [
        ((4, 5, 2), np.uint16, "minisblack", "16-bit grey with alpha"),
        ((4, 5, 5), np.uint8, "separated", "8-bit CMYK with alpha"),
        ((4, 5, 3), np.float32, "rgb", "32-bit floating-point RGB"),
    ],
)
def test_tiffs_of_unreadable_kinds_are_called_so(
    shape: tuple[int, ...], dtype: type, photometric: str, words: str
) -> None:
    options = {"extrasamples": ["unassalpha"]} if shape[2] in (2, 5) else {}
    data = tiff(np.zeros(shape, dtype), photometric, planarconfig="contig", **options)
    with pytest.raises(InputError, match=f"is a TIFF of a kind that acetate cannot read .{words}"):
        read_picture(data)
    with pytest.raises(InputError, match="is a TIFF that is damaged or cut short"):
        read_picture(data[:9])


@pytest.mark.filterwarnings("ignore::acetate.layers.io.FormatWarning")
@pytest.mark.parametrize("suffix", ["psd", "ora", "zip", ""])
def test_a_layered_file_given_as_a_picture_is_flattened(tmp_path: Path, suffix: str) -> None:
    doc = nasty(clipped_blend=False)
    doc = doc.with_layers([node for node in doc.layers if node.mask is None])
    path = doc.with_layers(doc.layers[:1] + doc.layers[2:]).save(tmp_path / f"a.{suffix}".rstrip("."))
    assert np.array_equal(read_picture(path).pixels, flatten_array(open_document(path)))
    if suffix:
        assert np.array_equal(read_picture(path.read_bytes()).pixels, flatten_array(open_document(path)))


def test_a_flat_picture_opens_as_one_layer_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "猫.psd"
    path.write_bytes(packed(Image.fromarray(RGBA)))
    doc = open_document(path)
    assert [layer.name for layer in doc.leaves()] == ["猫"]
    assert np.array_equal(doc.leaves()[0].pixels, RGBA)


def frames(kind: str) -> bytes:
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    return packed(first, kind, save_all=True, append_images=[second])


GOOD = packed(Image.fromarray(RGB))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello, I am no picture at all", "not a picture"),
        (GOOD[: len(GOOD) // 2], "cut short"),
        (packed(Image.fromarray(RGB), "JPEG")[:200], "cut short"),
        (frames("GIF"), "animated"),
        (frames("PNG"), "animated"),
        (frames("WEBP"), "animated"),
        (frames("TIFF"), "pages"),
        (raw_png(8, 2, b"", 100_000, 100_000), "megapixels"),
        (raw_png(8, 2, b"", 17_000, 17_000), "megapixels"),
        (packed(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), "floating"),
    ],
)
def test_bad_pictures_give_one_sentence(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    for reader in (read_picture, open_document):
        with pytest.raises(InputError, match=word) as caught:
            reader(path)
        assert "bad.png" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_strange_and_wrong_things(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path / "none.png" / "deeper", Path("a\0b")):
        with pytest.raises(InputError):
            read_picture(path)
    with pytest.raises(InputError, match="regular"):
        read_picture("/dev/null")
    with pytest.raises(InputError, match="manifest"):
        open_document(tmp_path)
    with pytest.raises(InputError, match="path, bytes"):
        read_picture(7)  # type: ignore[arg-type]


def test_the_size_is_checked_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_module, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="megapixels"):
        read_picture(GOOD, limits=Limits(pixels=80))
