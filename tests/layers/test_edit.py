"""Edits: what must not change the picture does not, exact ones are exact, the grammar says what is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
from layer_scenes import LAYER_MODES, random_layer, random_pixels, rich_document

from acetate.errors import InputError
from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask, edit
from acetate.layers.composite import flatten_array


@pytest.fixture
def doc() -> LayeredImage:
    """Four normal layers "a".."d" with soft alphas; "c" has a mask."""
    rng = np.random.default_rng(0)
    mask = Mask(pixels=rng.integers(0, 256, (5, 6)).astype(np.uint8), offset=(1, 2), default=1.0)
    layers = [random_layer(rng, 14, name=name) for name in "abcd"]
    layers[2] = layers[2].replace(mask=mask)
    return LayeredImage(width=16, height=12, layers=tuple(layers))


def same(a: LayeredImage, b: LayeredImage, tolerance: int = 0) -> bool:
    difference = np.abs(flatten_array(a).astype(int) - flatten_array(b).astype(int))
    return int(difference.max()) <= tolerance


def test_edits_share_what_they_do_not_touch(doc: LayeredImage) -> None:
    moved = edit.move(doc, "b", 1, 2)
    assert moved.layers[0] is doc.layers[0] and moved.layers[1] is not doc.layers[1]
    assert moved.layers[1].pixels.base is doc.layers[1].pixels.base


def test_move_out_and_back_loses_nothing(doc: LayeredImage) -> None:
    away = edit.move(doc, "c", -1000, 500)
    assert not same(away, doc)
    back = edit.move(away, "c", 1000, -500)
    assert same(back, doc) and back.find("c").mask.offset == (1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_structure_edits_keep_the_picture(seed: int) -> None:
    doc = rich_document(seed, LAYER_MODES)
    names = [node.name for node in doc.layers]
    grouped = edit.group(doc, [names[4], names[5]], "new")
    assert same(grouped, doc) and grouped.layers[-1].name == "new"
    assert same(edit.ungroup(grouped, "new"), doc)
    assert [n.name for n in edit.ungroup(grouped, "new").layers] == names
    assert same(edit.trim(doc), doc)
    # "#3" is hidden, so a copy of it is too; nothing above the copy is clipped to what lies below.
    assert same(edit.duplicate(doc, "#3"), doc)
    assert same(edit.delete(doc, "#3"), doc)
    assert same(edit.pad(doc, "#5"), doc)
    assert same(edit.reorder(edit.reorder(doc, "#5", "bottom"), "#0", "top"), doc)


def test_merge_down_keeps_normal_pictures(doc: LayeredImage) -> None:
    for name in "bcd":
        merged = edit.merge_down(doc, name)
        assert len(merged.layers) == 3 and same(merged, doc, 1)
    assert edit.merge_down(doc, "b").layers[0].name == "a"
    clipped = edit.set_clipping(doc, "d")
    assert same(edit.merge_down(clipped, "d"), clipped, 1)
    with pytest.raises(InputError, match="nothing below"):
        edit.merge_down(doc, "a")
    with pytest.raises(InputError, match="'a' is hidden"):
        edit.merge_down(edit.hide(doc, "a"), "b")
    with pytest.raises(InputError, match="clipped to 'c'"):
        edit.merge_down(clipped, "c")


def test_merge_group(doc: LayeredImage) -> None:
    grouped = edit.set_opacity(edit.group(doc, ["c", "d"], "g"), "g", 0.5)
    merged = edit.merge_group(grouped, "g")
    assert isinstance(merged.find("g"), Layer) and same(merged, grouped, 1)
    with pytest.raises(InputError, match="cannot take over"):
        edit.ungroup(grouped, "g")


def test_quarter_turns_and_flips_are_exact(doc: LayeredImage) -> None:
    for turn in (90, -90, 270):
        turned = edit.rotate(doc, "b", turn)
        np.testing.assert_array_equal(turned.find("b").pixels, np.rot90(doc.find("b").pixels, turn // 90))
        back = edit.rotate(turned, "b", -turn)
        assert back.find("b").box == doc.find("b").box
        np.testing.assert_array_equal(back.find("b").pixels, doc.find("b").pixels)
    for direction in ("horizontal", "vertical"):
        twice = edit.flip(edit.flip(doc, "c", direction), "c", direction)
        assert same(twice, doc) and twice.find("c").box == doc.find("c").box
    grouped = edit.group(doc, ["b", "c"], "g")
    four = grouped
    for _ in range(2):
        four = edit.rotate(four, "g", 180)
    assert same(four, grouped)
    assert same(edit.flip(edit.flip(grouped, "g", "vertical"), "g", "vertical"), grouped)


def test_rotation_direction_and_place() -> None:
    pixels = np.zeros((20, 40, 4), np.uint8)
    pixels[:, 30:] = (255, 0, 0, 255)
    doc = LayeredImage(width=60, height=60, layers=(Layer(pixels=pixels, name="a", offset=(10, 20)),))
    for degrees in (90, 89.999):
        flat = flatten_array(edit.rotate(doc, "a", degrees))[..., 3] > 127
        rows, columns = np.nonzero(flat)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 20, 39), degrees


def test_turning_and_scaling_keep_constants_and_edges_clean() -> None:
    pixels = np.full((30, 20, 4), (10, 200, 30, 255), np.uint8)
    frame = np.zeros((40, 30, 4), np.uint8)  # black under alpha 0 must not darken the edge
    frame[5:35, 5:25] = pixels
    doc = LayeredImage(width=60, height=60, layers=(Layer(pixels=frame, name="a", offset=(15, 10)),))
    for changed in (edit.rotate(doc, "a", 33.3), edit.scale(doc, "a", 0.37), edit.scale(doc, "a", 2.3, 1.7)):
        result = changed.find("a").pixels
        seen = result[result[..., 3] > 8]
        assert np.abs(seen[:, :3].astype(int) - (10, 200, 30)).max() <= 1
    x0, y0, x1, y1 = edit.scale(doc, "a", 2).find("a").box
    assert (x0 + x1, y0 + y1) == (60, 60) and (x1 - x0, y1 - y0) == (60, 80)


def test_masks_turn_with_their_layer() -> None:
    layer = Layer(pixels=np.full((20, 20, 4), 255, np.uint8), name="a", offset=(5, 5),
                  mask=Mask(pixels=np.zeros((6, 6), np.uint8), offset=(12, 12), default=1.0))  # fmt: skip
    turned = edit.rotate(LayeredImage(width=30, height=30, layers=(layer,)), "a", 45)
    alpha = flatten_array(turned)[..., 3]
    assert alpha[15, 15] == 0 and alpha[15, 5] == 255
    assert edit.move(turned, "a", 2, 0).find("a").mask.offset[0] == turned.find("a").mask.offset[0] + 2


def test_crop(doc: LayeredImage) -> None:
    cut = edit.crop(doc, (3, 2, 11, 9))
    np.testing.assert_array_equal(flatten_array(cut), flatten_array(doc)[2:9, 3:11])
    assert same(edit.crop(cut, (-3, -2, 13, 10)), doc)
    part = edit.crop(doc, (0, 0, 4, 4), "a")
    assert part.find("a").box[2] <= 4
    with pytest.raises(InputError, match="empty"):
        edit.crop(doc, (3, 3, 3, 9))
    with pytest.raises(InputError, match="Nothing of the layer 'a'"):
        edit.crop(doc, (900, 900, 901, 901), "a")


def test_trim_of_an_empty_layer_keeps_a_pixel() -> None:
    doc = LayeredImage(width=9, height=9, layers=(Layer(pixels=np.zeros((9, 9, 4), np.uint8), name="a"),))
    assert edit.trim(doc).find("a").box == (0, 0, 1, 1)


def test_split_parts() -> None:
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[..., :3] = (9, 8, 7)
    pixels[2:12, 2:12, 3] = 200
    pixels[15:25, 20:35, 3] = 255
    pixels[26, 36, 3] = 90  # touches nothing, too small: joins the nearer, larger part
    doc = LayeredImage(width=50, height=50, layers=(Layer(pixels=pixels, name="a", offset=(3, 4)),))
    split = edit.split_parts(doc, "a")
    assert [node.name for node in split.layers] == ["a 1", "a 2"] and same(split, doc)
    assert split.layers[0].box == (23, 19, 40, 31) and split.layers[1].box == (5, 6, 15, 16)
    assert len(edit.split_parts(doc, "a", 1).layers) == 3
    assert edit.split_parts(split, "a 1").layers[0] is split.layers[0]


def test_properties(doc: LayeredImage) -> None:
    done = edit.rename(edit.set_blend(edit.set_opacity(doc, "a", 0.25), "a", "color burn"), "a", "前景")
    assert done.find("前景").opacity == 0.25 and done.find("前景").blend is BlendMode.COLOR_BURN
    assert edit.show(edit.hide(doc, "a"), "a").find("a").visible
    locked = edit.lock(edit.group(doc, ["a", "b"], "g"), "g")
    with pytest.raises(InputError, match="'g' is locked"):
        edit.move(locked, "a", 1, 1)
    with pytest.raises(InputError, match="'g' is locked"):
        edit.reorder(locked, "a", "top")
    assert edit.move(edit.unlock(locked, "g"), "a", 1, 1)
    with pytest.raises(InputError, match="opacity"):
        edit.set_opacity(doc, "a", 3)


def test_recolour_keeps_alpha_and_luminosity(doc: LayeredImage) -> None:
    weights = np.array([0.3, 0.59, 0.11])
    before, after = doc.find("d").pixels, edit.recolour(doc, "d", "#3060ff").find("d").pixels
    np.testing.assert_array_equal(before[..., 3], after[..., 3])
    np.testing.assert_allclose(before[..., :3] @ weights, after[..., :3] @ weights, atol=0.6)
    np.testing.assert_array_equal(edit.recolour(doc, "d", "#36f", 0).find("d").pixels, before)
    with pytest.raises(InputError, match="#rrggbb"):
        edit.recolour(doc, "d", "blue")


def test_groups_only_of_siblings(doc: LayeredImage) -> None:
    nested = edit.group(doc, ["a", "b"], "g")
    with pytest.raises(InputError, match="same group"):
        edit.group(nested, ["a", "c"], "h")
    inner = edit.group(nested, ["a"], "h")
    assert isinstance(inner.find("#0.0"), Group) and same(inner, doc)


WORDS = [
    "move:a,3,-2", "scale:b,0.5", "scale:b,2,0.5", "rotate:c,30", "flip:a,h", "crop:1,1,9,9", "crop-layer:a,0,0,9,9",
    "trim", "trim:a", "recolour:a,#ff0000", "recolour:a,#f00,0.5", "defringe:a,3", "pad:a", "opacity:a,0.5",
    "blend:a,multiply", "rename:a,one, two", "show:a", "hide:a", "lock:a", "unlock:a", "clip:b", "unclip:b",
    "reorder:a,top", "reorder:a,2", "duplicate:a", "duplicate:a,a2", "delete:a", "group:g,a,b", "merge-down:b", "split:a,1",
]  # fmt: skip


@pytest.mark.parametrize("text", WORDS)
def test_grammar(doc: LayeredImage, text: str) -> None:
    assert isinstance(edit.parse_operation(text)(doc), LayeredImage)


def test_grammar_covers_every_word_and_means_the_functions(doc: LayeredImage) -> None:
    assert {text.partition(":")[0] for text in WORDS} | {"ungroup", "merge-group"} == set(edit.OPERATIONS)
    assert edit.parse_operation("rename:a,one, two")(doc).find("one, two").id == doc.find("a").id
    assert same(edit.parse_operation("move:b,3,-2")(doc), edit.move(doc, "b", 3, -2))
    assert edit.parse_operation(r"delete:one\, two")(edit.rename(doc, "a", "one, two")).layers[0].name == "b"
    assert all(operation.help and operation.arguments for operation in edit.OPERATIONS.values())


@pytest.mark.parametrize(
    "name", ["a,b", "C:\\", "C:\\,x", "x:y", "\\\\", "\\\\host\\share", "\\\\,\\,,", "one, two"]
)
def test_grammar_can_say_every_name(doc: LayeredImage, name: str) -> None:
    """As the last argument and before others: what is escaped right before a comma comes back as it was."""
    escaped = re.sub(r"(\\*),", r"\1\1\\,", name)
    named = edit.parse_operation(f"rename:a,{escaped}")(doc)
    assert [layer.name for layer in named.layers] == [name, *(layer.name for layer in doc.layers[1:])]
    before_a_comma = re.sub(r"(\\*)$", r"\1\1", escaped, count=1)
    assert same(edit.parse_operation(f"move:{before_a_comma},3,-2")(named), edit.move(doc, "a", 3, -2))
    group = edit.parse_operation(f"group:{before_a_comma},b")(doc).layers[1]
    assert isinstance(group, Group) and group.name == name


def test_backslashes_without_a_comma_are_themselves(doc: LayeredImage) -> None:
    for name in (r"C:\new", r"\\host\share", "a\\"):
        assert edit.parse_operation(f"rename:a,{name}")(doc).layers[0].name == name
    assert edit.parse_operation(r"rename:a,one\, two, three")(doc).layers[0].name == "one, two, three"
    with pytest.raises(InputError, match="NAME,DX,DY"):  # the comma belongs to the name
        edit.parse_operation(r"move:C:\,1,2")
    for text in ("\\", ",", "\\,", "\\\\,"):
        edit.parse_operation("rename:a,b" + text * 100_000)  # in linear time


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fly:a", "Unknown operation 'fly'"), ("move:a,1", r"move:NAME,DX,DY"), ("move:a,1,2,3", "NAME,DX,DY"),
        ("move:a,1,b", "'b' is not a whole number"), ("opacity:a,half", "'half' is not a number"),
        ("move", "NAME,DX,DY"), ("opacity:a,", "OPACITY"), ("recolour:a,reddish", "#rrggbb"), ("blend:a,no", "blend mode"),
        ("scale:a,nan", "not a number"),
    ],
)  # fmt: skip
def test_grammar_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        edit.parse_operation(text)


def test_random_pixels_helper_has_all_kinds() -> None:
    alpha = random_pixels(np.random.default_rng(1), 30, 30)[..., 3]
    assert (alpha == 0).any() and (alpha == 255).any() and ((alpha > 0) & (alpha < 255)).any()


def block(box: tuple[int, int, int, int], name: str = "a", colour: int = 200, **changes: object) -> Layer:
    """An opaque layer of one colour in a box."""
    pixels = np.full((box[3] - box[1], box[2] - box[0], 4), 255, np.uint8)
    pixels[..., :3] = colour
    return Layer(pixels=pixels, name=name, offset=box[:2], **changes)  # type: ignore[arg-type]


def test_what_lies_edge_to_edge_stays_so() -> None:
    pair = (block((10, 10, 27, 36)), block((27, 10, 45, 36), "b"))
    odd = (block((3, 3, 8, 10)), block((8, 3, 10, 10), "b"), block((3, 10, 10, 11), "c"))
    for layers in (pair, odd):
        doc = LayeredImage(width=60, height=60, layers=(Group(layers=layers, name="g", id="00000001"),))
        whole = sum(layer.width * layer.height for layer in layers)
        for degrees in (90, 180, 270, -90, 450):
            turned = [layer.box for layer in edit.rotate(doc, "g", degrees).leaves()]
            seen = flatten_array(edit.rotate(doc, "g", degrees))[..., 3] > 0
            rows, columns = np.nonzero(seen)
            assert np.count_nonzero(seen) == whole, (degrees, turned)
            assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == whole, (degrees, turned)
        for factor in (0.5, 0.6, 1.7, 2, 0.9):
            seen = flatten_array(edit.scale(doc, "g", factor))[..., 3] > 0
            rows, columns = np.nonzero(seen)
            assert seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all(), factor


@pytest.mark.parametrize("seed", range(4))
def test_quarter_turns_of_groups_and_masks_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = Mask(pixels=rng.integers(0, 256, (48, 61)).astype(np.uint8), offset=(-3, -5), default=0.4)
    layers = tuple(random_layer(rng, 14, name=name, mask=mask) for name in "abc")
    doc = LayeredImage(
        width=40, height=40, layers=(Group(layers=layers, name="g", mask=mask, id="00000001"),)
    )
    for name in ("g", *"abc"):
        for turns in ((90,) * 4, (-90,) * 4, (90, -90), (90, 90, 180), (270, 90), (-90, 180, -90)):
            turned = doc
            for degrees in turns:
                turned = edit.rotate(turned, name, degrees)
            for (_, old), (_, new) in zip(doc.walk(), turned.walk(), strict=True):
                assert old.mask.offset == new.mask.offset
                np.testing.assert_array_equal(old.mask.pixels, new.mask.pixels)
                if isinstance(old, Layer):
                    assert old.box == new.box
                    np.testing.assert_array_equal(old.pixels, new.pixels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("width", "height"), [(24, 24), (31, 17), (30, 17), (17, 30)])
def test_a_turned_document_is_its_turned_picture(seed: int, width: int, height: int) -> None:
    modes = [
        mode for mode in LAYER_MODES if mode is not BlendMode.DISSOLVE
    ]  # its grain belongs to the canvas
    doc = rich_document(seed, modes)
    ground = block((0, 0, width, height), "ground", 90)
    whole = LayeredImage(width=24, height=24, layers=(Group(layers=doc.layers, name="g"),))
    inside = edit.crop(whole, (0, 0, width, height), "g").find("g")
    doc = LayeredImage(
        width=width, height=height, layers=(Group(layers=(ground, *inside.layers), name="all"),)
    )
    for degrees in (90, 180, -90):
        turned = edit.rotate(doc, "all", degrees)
        box = turned.find("ground").box
        turned = edit.crop(turned, box)
        np.testing.assert_array_equal(flatten_array(turned), np.rot90(flatten_array(doc), degrees // 90))


def test_scaling_there_and_back_returns_to_the_place() -> None:
    doc = LayeredImage(
        width=60,
        height=60,
        layers=(Group(layers=(block((3, 4, 8, 10)), block((8, 3, 20, 9), "b")), name="g", id="00000001"),),
    )
    back = edit.scale(edit.scale(doc, "g", 2), "g", 0.5)
    assert [layer.box for layer in back.leaves()] == [layer.box for layer in doc.leaves()]
    tiny = block((5, 5, 6, 6), mask=Mask(pixels=np.zeros((20, 20), np.uint8), offset=(0, 0)))
    small = edit.scale(LayeredImage(width=20, height=20, layers=(tiny,)), "a", 0.3).find("a")
    assert small.pixels.shape[:2] == (1, 1) and small.mask.pixels.shape == (6, 6)


def test_results_larger_than_acetate_opens_are_refused(doc: LayeredImage) -> None:
    mask = Mask(pixels=np.broadcast_to(np.uint8(9), (12_000, 12_000)))
    masked = LayeredImage(width=9, height=9, layers=(block((0, 0, 4, 4), "a", mask=mask),))
    heavy = block((0, 0, 1, 1)).replace(
        pixels=np.broadcast_to(np.uint8(9), (15_000, 15_000, 4)), name="heavy"
    )
    big = LayeredImage(width=9, height=9, layers=(heavy,))
    for change, words in (
        (lambda: edit.scale(doc, "a", 1_000_000), "'a' in the scaled document is .* make it smaller"),
        (lambda: edit.scale(doc, "a", 1, 1e308), "scaled document"),
        (lambda: edit.scale(doc, "a", 200_000, 1), "longer than the 300000"),
        (lambda: edit.scale(masked, "a", 2), "the mask of a"),
        (lambda: edit.rotate(big, "heavy", 45), "'heavy' in the turned document"),
        (lambda: edit.crop(doc, (0, 0, 20_000, 20_000)), "the canvas is 20000 x 20000"),
        (lambda: edit.crop(doc, (0, 0, 400_000, 4)), "the canvas is 400000 x 4"),
        (lambda: edit.merge_down(edit.move(doc, "b", 2_000_000, 0), "b"), "'a' with what is merged"),
    ):
        with pytest.raises(InputError, match=words):
            change()
    assert edit.rotate(big, "heavy", 90).find("heavy").width == 15_000
    assert edit.crop(doc, (0, 0, 300_000, 4)).width == 300_000


def test_cropping_a_group_keeps_clipped_layers_with_their_base() -> None:
    low, base = block((0, 0, 10, 10), "low", 9), block((40, 20, 50, 30), "base")
    clipped = block((0, 0, 64, 48), "clipped", 100, clipping=True)
    doc = LayeredImage(width=64, height=48, layers=(Group(layers=(low, base, clipped), name="g"),))
    cut = edit.crop(doc, (0, 0, 20, 20), "g")
    assert [layer.name for layer in cut.leaves()] == ["low"]
    np.testing.assert_array_equal(flatten_array(cut)[:20, :20], flatten_array(doc)[:20, :20])
    assert [layer.name for layer in edit.crop(doc, (30, 10, 64, 48), "g").leaves()] == ["base", "clipped"]
