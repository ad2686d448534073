"""PSD and PSB: the six traps, readers we did not write, and files we did not write."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from documents import disc, map_layers, nasty, outline, plate, worst
from PIL import Image, ImageChops
from psd_tools import PSDImage
from psd_tools.composite import composite as psd_composite
from psd_tools.constants import Clipping, Compression, Resource, Tag
from psd_tools.psd.base import EmptyElement
from psd_tools.psd.descriptor import Descriptor, DescriptorBlock, Double
from psd_tools.psd.layer_and_mask import ChannelData, ChannelDataList, ChannelInfo, LayerRecord
from psd_tools.psd.tagged_blocks import TaggedBlock, TaggedBlocks

from acetate.errors import InputError
from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask
from acetate.layers.composite import flatten_array
from acetate.layers.io import Limits, open_document, psd_write, save_document
from acetate.layers.io.colour import srgb_profile

EXTERNAL = pytest.mark.external


def over(depth: int = 8) -> LayeredImage:
    """A document of normal layers only, as decomposition makes them."""
    layers = (
        Layer(pixels=plate(72, 56, depth), name="Background"),
        Layer(pixels=disc(40, 30, (250, 40, 40), depth), name="前景", offset=(-6, 8)),
        Layer(pixels=disc(30, 40, (40, 90, 250), depth), name="over it", offset=(50, 30)),
    )
    return LayeredImage(width=72, height=56, layers=layers, depth=depth)


@pytest.mark.parametrize("suffix", ["psd", "psb"])
@pytest.mark.parametrize("depth", [8, 16])
def test_psd_tools_draws_our_layers_as_we_do(tmp_path: Path, depth: int, suffix: str) -> None:
    doc = over(depth)
    psd = PSDImage.open(doc.save(tmp_path / f"a.{suffix}"))
    colour, _, alpha = psd_composite(psd, color=0.0, alpha=0.0, force=True)
    ours = doc.composite()
    assert np.abs(np.concatenate([colour, alpha], axis=2) - ours).max() <= 1 / 255
    assert [layer.name for layer in psd] == ["Background", "前景", "over it"]


def test_psd_tools_draws_groups_masks_and_modes_as_we_do(tmp_path: Path) -> None:
    # Without clipping: psd-tools mixes clipped layers differently on soft edges of their base (GIMP as we
    # do).
    doc = nasty()
    doc = doc.with_layers(map_layers(doc.layers, lambda node: {"clipping": False}))
    psd = PSDImage.open(doc.save(tmp_path / "a.psd"))
    colour, _, alpha = psd_composite(psd, color=0.0, alpha=0.0, force=True)
    assert np.abs(np.concatenate([colour, alpha], axis=2) - doc.composite()).max() <= 2 / 255


@pytest.mark.parametrize("depth", [8, 16])
def test_the_merged_image_is_ours_and_has_alpha(tmp_path: Path, depth: int) -> None:
    doc = over(depth).replace(layers=over(depth).layers[1:])
    psd = PSDImage.open(doc.save(tmp_path / "a.psd"))
    picture = psd.topil(apply_icc=False)
    assert picture is not None and picture.mode == "RGBA"
    ours = flatten_array(doc, 8).astype(int)
    solid = ours[..., 3] > 128
    assert np.abs(np.asarray(picture).astype(int) - ours)[solid].max() <= 2
    assert np.abs(np.asarray(picture).astype(int) - ours)[..., 3].max() <= 1
    assert psd._record._get_layer_info().layer_count < 0
    version = psd.image_resources.get_data(Resource.VERSION_INFO)
    assert version.has_composite


def test_sixteen_bit_layers_lie_in_their_block_and_profile_and_resolution_are_there(tmp_path: Path) -> None:
    psd = PSDImage.open(over(16).replace(dpi=300.0).save(tmp_path / "a.psd"))
    assert Tag.LAYER_16 in psd.tagged_blocks
    assert psd._record.layer_and_mask_information.layer_info.layer_count == 0
    assert psd.image_resources.get_data(Resource.ICC_PROFILE) == srgb_profile()
    assert psd.image_resources.get_data(Resource.RESOLUTION_INFO).horizontal == 300 * 65536
    assert b"urn:acetate" in psd.image_resources.get_data(Resource.XMP_METADATA)
    assert sorted(layer.layer_id for layer in psd) == [1, 2, 3]


@pytest.mark.parametrize("mode", [mode for mode in BlendMode if mode is not BlendMode.PASS_THROUGH])
def test_every_blend_mode_survives(tmp_path: Path, mode: BlendMode) -> None:
    doc = LayeredImage(
        width=4, height=4, layers=(Layer(pixels=np.full((4, 4, 4), 200, np.uint8), blend=mode),)
    )
    group = Group(layers=doc.layers, blend=mode)
    doc = doc.with_layers([*doc.layers, group])
    assert [node.blend for _, node in open_document(doc.save(tmp_path / "a.psd")).walk()] == [mode] * 3


@pytest.mark.parametrize("name", ["a", "前景 🎈", "x" * 255, "🎈" * 255, "\x01", "é\n/\\"])
def test_names(tmp_path: Path, name: str) -> None:
    doc = LayeredImage(width=1, height=1, layers=(Layer(pixels=np.full((1, 1, 4), 9, np.uint8), name=name),))
    assert open_document(doc.save(tmp_path / "a.psd")).layers[0].name == name


def test_half_a_character_in_a_name_is_refused(tmp_path: Path) -> None:
    doc = LayeredImage(
        width=1, height=1, layers=(Layer(pixels=np.full((1, 1, 4), 9, np.uint8), name="\ud83c"),)
    )
    with pytest.raises(InputError, match="rename"):
        doc.save(tmp_path / "a.psd")


def test_a_long_side_becomes_psb(tmp_path: Path) -> None:
    doc = LayeredImage(width=30_001, height=1, layers=(Layer(pixels=plate(30_001, 1), name="long"),))
    path = doc.save(tmp_path / "a.psd")
    assert path.read_bytes()[4:6] == b"\0\2"
    assert np.array_equal(open_document(path).leaves()[0].pixels, doc.leaves()[0].pixels)
    with pytest.raises(InputError, match="300000"):
        LayeredImage(width=300_001, height=1, layers=()).save(tmp_path / "b.psb")


def test_the_merged_image_does_not_depend_on_its_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = nasty()
    one = doc.save(tmp_path / "a.psd").read_bytes()
    monkeypatch.setattr(psd_write, "_BAND_PIXELS", 72 * 16)
    assert doc.save(tmp_path / "b.psd").read_bytes() == one


def test_a_grey_mask_default_is_painted_in(tmp_path: Path) -> None:
    mask = Mask(pixels=np.full((2, 2), 255, np.uint8), offset=(10, 10), default=0.5)
    layer = Layer(pixels=disc(20, 20, (200, 10, 10)), name="m", offset=(5, 5), mask=mask)
    doc = LayeredImage(
        width=30, height=30, layers=(layer, Group(layers=(layer,), mask=mask, blend=BlendMode.NORMAL))
    )
    back = open_document(doc.save(tmp_path / "a.psd"))
    assert worst(flatten_array(back), flatten_array(doc)) <= 1


@EXTERNAL
@pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is not installed")
@pytest.mark.parametrize("suffix", ["psd", "psb"])
@pytest.mark.parametrize("depth", [8, 16])
def test_imagemagick_reads_layers_and_places(tmp_path: Path, depth: int, suffix: str) -> None:
    doc = over(depth)
    path = doc.save(tmp_path / f"a.{suffix}")
    convert = shutil.which("convert-im6.q16") or "convert"
    listed = subprocess.run(
        ["identify", "-format", "%W %H %w %h %X %Y\n", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(listed) == 4  # the merged image and three layers
    canvas = np.zeros((56, 72, 4))
    for index, line in enumerate(listed[1:], start=1):
        width, height, x, y = map(int, line.split()[2:])
        raw = subprocess.run(
            [convert, f"{path}[{index}]", "-depth", "16", "-endian", "MSB", "RGBA:-"],
            capture_output=True,
            check=True,
        ).stdout
        pixels = np.frombuffer(raw, ">u2").reshape(height, width, 4) / 65535
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, 72), min(y + height, 56)
        part, under = pixels[y0 - y : y1 - y, x0 - x : x1 - x], canvas[y0:y1, x0:x1]
        alpha = part[..., 3:]
        under[..., :3] = part[..., :3] * alpha + under[..., :3] * (1 - alpha)
        under[..., 3:] = alpha + under[..., 3:] * (1 - alpha)
    assert (
        np.abs(canvas - doc.composite()).max() <= 1 / 255
    )  # the ground is opaque, so premultiplied is straight


# Files of other programs
# ------------------------------------------------------------------------------------------


def foreign(mode: str, size: tuple[int, int] = (6, 5), **options: object) -> PSDImage:
    return PSDImage.new(mode, size, **options)


def stored(psd: PSDImage, path: Path) -> Path:
    psd._updated = False
    psd.save(path)
    return path


def test_grey_and_cmyk_documents_become_srgb_and_say_so(tmp_path: Path) -> None:
    for mode, colour, wanted in (("L", 100, (100, 100, 100)), ("CMYK", (0, 255, 255, 0), (255, 0, 0))):
        psd = foreign(mode)
        psd.create_pixel_layer(Image.new(mode, (6, 5), colour), "ink", 0, 0, Compression.RLE)
        back = open_document(stored(psd, tmp_path / f"{mode}.psd"))
        pixels = back.leaves()[0].pixels
        assert tuple(pixels[2, 2]) == (*wanted, 255)
        assert "sRGB" in back.metadata["dropped"][0]


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("depth", [8, 16])
def test_all_compressions_of_other_programs(tmp_path: Path, compression: Compression, depth: int) -> None:
    psd = foreign("RGBA", (20, 18), depth=depth)
    pixels = disc(20, 18, (200, 100, 50), depth)
    psd.create_pixel_layer_from_array(pixels, "a", 0, 0, compression)
    back = open_document(stored(psd, tmp_path / "a.psd"))
    assert worst(back.leaves()[0].pixels, pixels) <= 0.01


@pytest.mark.parametrize(
    ("mode", "depth", "word"), [("LAB", 8, "RGB"), ("RGB", 32, "16 or 8"), ("RGBA", 32, "16 or 8")]
)
def test_what_is_not_read_is_refused_with_the_remedy(
    tmp_path: Path, mode: str, depth: int, word: str
) -> None:
    with pytest.raises(InputError, match=word):
        open_document(stored(foreign(mode, depth=depth), tmp_path / "a.psd"))


def test_flat_files(tmp_path: Path) -> None:
    picture = Image.fromarray(plate(9, 7)[..., :3])
    for mode in ("RGB", "L", "CMYK", "1"):
        image = picture.convert(mode)
        psd = PSDImage.frompil(
            ImageChops.invert(image) if mode == "CMYK" else image
        )  # the file counts paper, not ink
        back = open_document(stored(psd, tmp_path / f"{mode}.psd"))
        wanted = np.asarray(picture.convert(mode).convert("RGB")).astype(int)
        assert np.abs(back.leaves()[0].pixels[..., :3].astype(int) - wanted).max() <= 1
        assert (back.leaves()[0].pixels[..., 3] == 255).all()


def test_a_foreign_profile_is_kept_with_the_pixels(tmp_path: Path) -> None:
    profile = bytearray(srgb_profile())
    profile[30] = 9  # another creation time: another profile
    doc = over().replace(icc=bytes(profile))
    for suffix in ("psd", "ora", "zip"):
        assert open_document(doc.save(tmp_path / f"a.{suffix}")).icc == bytes(profile)
    assert open_document(over().save(tmp_path / "b.psd")).icc is None


def with_special_layer(path: Path, name: str, key: Tag, data: object) -> Path:
    """The three-layer document with a pixel-less layer of another kind on top."""
    psd = PSDImage.open(over().save(path))
    info = psd._record._get_layer_info()
    record = LayerRecord(name=name, tagged_blocks=TaggedBlocks())
    record.tagged_blocks[key] = TaggedBlock(key=key, data=data)
    record.channel_info = [ChannelInfo(id=k - 1, length=2) for k in range(4)]
    info.layer_records.append(record)
    info.channel_image_data.append(ChannelDataList([ChannelData() for _ in range(4)]))
    info.layer_count -= 1
    with path.open("wb") as file:
        psd._record.write(file)
    return path


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (Tag.TYPE_TOOL_INFO, "text layer 'X' became pixels"),
        (Tag.PLACED_LAYER1, "smart object 'X' became pixels"),
    ],
)
def test_text_and_smart_objects_become_pixels_and_are_named(tmp_path: Path, key: Tag, words: str) -> None:
    back = open_document(with_special_layer(tmp_path / "a.psd", "X", key, b""))
    assert back.metadata["dropped"] == [words]
    assert len(back.layers) == 4


def test_fills_are_drawn_and_named(tmp_path: Path) -> None:
    colour = Descriptor(classID=b"RGBC")
    for channel, value in ((b"Rd  ", 255.0), (b"Grn ", 128.0), (b"Bl  ", 0.0)):
        colour[channel] = Double(value)
    block = DescriptorBlock(classID=b"null")
    block[b"Clr "] = colour
    back = open_document(with_special_layer(tmp_path / "a.psd", "fill", Tag.SOLID_COLOR_SHEET_SETTING, block))
    assert back.metadata["dropped"] == ["solidcolorfill layer 'fill' became pixels"]
    assert (flatten_array(back) == (255, 128, 0, 255)).all()


@pytest.mark.parametrize("how", ["plain", "hidden", "in a hidden group", "clipped", "faded"])
def test_fills_keep_their_colour_and_what_is_clipped_to_them(tmp_path: Path, how: str) -> None:
    psd = PSDImage.new("RGBA", (32, 24))
    colour = Descriptor(classID=b"RGBC")
    for channel, value in ((b"Rd  ", 255.0), (b"Grn ", 0.0), (b"Bl  ", 0.0)):
        colour[channel] = Double(value)
    block = DescriptorBlock(classID=b"null")
    block[b"Clr "] = colour
    ground = psd.create_pixel_layer(Image.new("RGBA", (32, 24), (0, 0, 255, 255)), name="ground")
    fill = psd.create_pixel_layer(Image.new("RGBA", (32, 24), (1, 2, 3, 255)), name="fill")
    clip = psd.create_pixel_layer(Image.new("RGBA", (32, 10), (0, 255, 0, 128)), name="clip")
    key = Tag.SOLID_COLOR_SHEET_SETTING
    fill._record.tagged_blocks[key] = TaggedBlock(key=key, data=block)
    fill._record.top = fill._record.left = fill._record.bottom = fill._record.right = 0
    for info, channel in zip(fill._record.channel_info, fill._channels, strict=True):
        channel.compression, channel.data, info.length = Compression.RAW, b"", 2
    clip._record.clipping = Clipping.NON_BASE
    if how == "in a hidden group":
        psd.create_group(layer_list=[fill, clip], name="group").visible = False
    fill.visible = how != "hidden"
    if how == "clipped":
        fill._record.clipping = Clipping.NON_BASE
    if how == "faded":
        fill.opacity, fill.fill_opacity = 51, 128
    path = tmp_path / "a.psd"
    psd.save(path)
    back = {layer.name: layer for layer in open_document(path).leaves()}
    assert (back["fill"].pixels == (255, 0, 0, 255)).all()
    assert back["clip"].clipping and (back["clip"].pixels == (0, 255, 0, 128)).all()
    assert back["fill"].visible == (how != "hidden") and back["fill"].clipping == (how == "clipped")
    assert back["fill"].opacity == pytest.approx(51 * 128 / 255 / 255 if how == "faded" else 1)
    assert back[ground.name].pixels.shape == (24, 32, 4)


def test_adjustments_are_left_out_and_named(tmp_path: Path) -> None:
    back = open_document(with_special_layer(tmp_path / "a.psd", "Invert 1", Tag.INVERT, EmptyElement()))
    assert back.metadata["dropped"] == ["adjustment layer 'Invert 1'"]
    assert [node.name for node in back.layers] == ["Background", "前景", "over it"]


def test_fill_opacity_and_mask_density_are_merged(tmp_path: Path) -> None:
    path = over().save(tmp_path / "a.psd")
    psd = PSDImage.open(path)
    psd[1].fill_opacity = 128
    psd[2].opacity = 102
    stored(psd, path)
    back = open_document(path)
    assert [round(node.opacity * 255) for node in back.layers] == [255, 128, 102]


def test_layers_moved_in_another_program_keep_their_provenance(tmp_path: Path) -> None:
    doc = nasty()
    path = doc.save(tmp_path / "a.psd")
    psd = PSDImage.open(path)
    psd[1].move_up()
    psd[0].name = "renamed"
    stored(psd, path)
    back = open_document(path)
    kept = {node.id: node for _, node in back.walk()}
    wanted = next(layer for layer in doc.leaves() if layer.provenance.prompt)
    assert kept[wanted.id].provenance == wanted.provenance
    assert {line[8] for line in outline(back)} == {line[8] for line in outline(doc)}


def test_damage_is_named(tmp_path: Path) -> None:
    data = over().save(tmp_path / "a.psd").read_bytes()
    for cut in (10, 26, 60, len(data) // 2):
        (tmp_path / "b.psd").write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"b\.psd"):
            open_document(tmp_path / "b.psd")
    huge = bytearray(data)
    huge[14:22] = (299_000).to_bytes(4, "big") * 2
    (tmp_path / "b.psd").write_bytes(huge)
    with pytest.raises(InputError, match="megapixels"):
        open_document(tmp_path / "b.psd")


def test_groups_nested_too_deep_are_refused(tmp_path: Path) -> None:
    node: Layer | Group = Layer(pixels=np.full((1, 1, 4), 9, np.uint8))
    for _ in range(40):
        node = Group(layers=(node,))
    doc = LayeredImage(width=1, height=1, layers=(node,))
    path = save_document(doc, tmp_path / "a.psd", limits=Limits(depth=50))
    with pytest.raises(InputError, match="deep"):
        open_document(path)


def test_normal_layers_come_back_from_an_edited_tree(tmp_path: Path) -> None:
    doc = nasty()
    plain = doc.with_layers(map_layers(doc.layers, lambda node: {"mask": None, "clipping": False}))
    with io.BytesIO() as file:
        psd_write.write_psd(plain, file)
        assert file.getvalue() == plain.save(tmp_path / "a.psd").read_bytes()
