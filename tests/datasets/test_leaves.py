"""Documents made plain keep their picture, whatever they hold; each rule on its own, then trees of everything."""

from __future__ import annotations

import numpy as np
import pytest
from paintings import disc, plate, random_document

from acetate.datasets.curate import drop_unchanging, merge_apart
from acetate.datasets.leaves import Leaf, extract_leaves, least_normal
from acetate.datasets.psd import plain_document
from acetate.datasets.records import premultiplied
from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask
from acetate.layers.composite import Planes, flatten_array

SIDE = 48


def document(*layers: Layer | Group) -> LayeredImage:
    return LayeredImage(width=SIDE, height=SIDE, layers=layers)


def ground() -> Layer:
    return Layer(pixels=plate(SIDE, SIDE, (90, 140, 200)), name="ground")


def difference(doc: LayeredImage, leaves: list[Leaf]) -> float:
    """The largest difference of the pictures in levels, premultiplied."""
    plain = plain_document(leaves, doc.width, doc.height)
    return float(np.abs(premultiplied(flatten_array(doc, 8)) - premultiplied(flatten_array(plain, 8))).max())


def test_opacity_and_masks_end_in_the_alpha() -> None:
    mask = Mask(pixels=np.tile(np.linspace(0, 255, 20).astype(np.uint8), (20, 1)), offset=(10, 10))
    layer = Layer(pixels=plate(20, 20, (250, 0, 0)), name="fade", offset=(10, 10), opacity=0.5, mask=mask)
    leaves = list(extract_leaves(document(ground(), layer)))
    assert [leaf.name for leaf in leaves] == ["ground", "fade"]
    assert leaves[1].alpha[5, -1] == 128 and leaves[1].box == (
        11,
        10,
        30,
        30,
    )  # what the mask hides is cut away
    assert difference(document(ground(), layer), leaves) <= 1


def test_hidden_empty_and_outlying_layers_are_left_out() -> None:
    hidden = Group(layers=(Layer(pixels=disc(9, (1, 2, 3))),), visible=False)
    empty = Layer(pixels=plate(9, 9, (1, 2, 3), alpha=0))
    outside = Layer(pixels=disc(9, (1, 2, 3)), offset=(SIDE, 0))
    unseen = Layer(pixels=disc(9, (1, 2, 3)), opacity=0.0)
    assert [leaf.name for leaf in extract_leaves(document(ground(), hidden, empty, outside, unseen))] == [
        "ground"
    ]


@pytest.mark.parametrize("mode", [BlendMode.NORMAL, BlendMode.PASS_THROUGH])
def test_a_weak_group_stays_apart_only_where_its_layers_do(mode: BlendMode) -> None:
    near = Layer(pixels=disc(20, (250, 0, 0)), name="near", offset=(2, 2))
    far = Layer(pixels=disc(20, (0, 250, 0)), name="far", offset=(26, 26))
    over = Layer(pixels=disc(20, (0, 0, 250)), name="over", offset=(10, 8))
    apart = document(ground(), Group(layers=(near, far), name="pair", opacity=0.5, blend=mode))
    crossing = document(ground(), Group(layers=(near, over), name="pair", opacity=0.5, blend=mode))
    for doc, names in ((apart, ["ground", "near", "far"]), (crossing, ["ground", "pair"])):
        leaves = list(extract_leaves(doc))
        assert [leaf.name for leaf in leaves] == names
        assert difference(doc, leaves) <= 1


def test_a_clipped_layer_gets_its_bases_shape_with_soft_edges() -> None:
    base = Layer(pixels=disc(30, (200, 30, 30)), name="base", offset=(8, 8))
    shade = Layer(pixels=plate(30, 15, (0, 0, 0), alpha=140), name="shade", offset=(8, 23), clipping=True)
    for mode in (BlendMode.NORMAL, BlendMode.MULTIPLY):
        doc = document(ground(), base, shade.replace(blend=mode))
        leaves = list(extract_leaves(doc))
        assert [leaf.name for leaf in leaves] == ["ground", "base", "shade"]
        edge = base.pixels[15:, :, 3]
        soft = (edge > 0) & (edge < 255)
        full = np.zeros((15, 30), np.uint8)
        x0, y0, x1, y1 = leaves[2].box
        full[y0 - 23 : y1 - 23, x0 - 8 : x1 - 8] = leaves[2].alpha
        np.testing.assert_allclose(full[soft], edge[soft] * (140 / 255), atol=0.6)
        assert difference(doc, leaves) <= 1


def test_multiplied_grey_becomes_black_at_low_alpha_and_a_screened_glow_white() -> None:
    flat = Layer(pixels=np.full((SIDE, SIDE, 4), (200, 200, 200, 255), np.uint8))
    grey = Layer(
        pixels=np.full((10, 10, 4), (128, 128, 128, 255), np.uint8), offset=(9, 9), blend=BlendMode.MULTIPLY
    )
    light = Layer(
        pixels=np.full((10, 10, 4), (100, 100, 100, 255), np.uint8), offset=(28, 9), blend=BlendMode.SCREEN
    )
    doc = document(flat, grey, light)
    _, shadow, glow = extract_leaves(doc)
    assert (
        shadow.blend is BlendMode.MULTIPLY and (shadow.alpha == 127).all() and shadow.rgba[..., :3].max() <= 1
    )
    assert (glow.alpha == 100).all() and glow.rgba[..., :3].min() >= 254
    assert difference(doc, [*extract_leaves(doc)]) <= 1


def test_the_least_alpha_is_exact_and_unique_where_nothing_lies_beneath() -> None:
    rng = np.random.default_rng(0)
    box, shape = (0, 0, 8, 8), (8, 8)
    before = Planes(box, np.zeros((3, *shape), np.float32), np.zeros(shape, np.float32))
    before.alpha[:, 4:], before.color[:, :, 4:] = 1, rng.random((3, 8, 4), np.float32)
    after = Planes(box, before.color.copy(), np.ones(shape, np.float32))
    after.color[:, 2:] = rng.random((3, 6, 8), np.float32)
    plain = least_normal(before, after)
    drawn = plain.color * plain.alpha + before.color * (1 - plain.alpha)
    np.testing.assert_allclose(drawn, after.color, atol=2e-6)
    assert (plain.alpha[:, :4] == 1).all() and (plain.alpha[:2, 4:] == 0).all()
    levels = plain.alpha * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)


@pytest.mark.parametrize("opaque", [True, False])
def test_trees_of_everything_keep_their_picture(opaque: bool) -> None:
    worst, merged_away = 0.0, 0
    for seed in range(40):
        doc = random_document(seed, SIDE, opaque=opaque)
        leaves = list(extract_leaves(doc))
        assert all(leaf.alpha.any(1).all() or leaf.alpha.any() for leaf in leaves)
        # Eight bits a layer can add up to two levels where the canvas is transparent; psd.py mends those.
        worst = max(worst, difference(doc, leaves))
        kept, reasons = drop_unchanging(leaves, (SIDE, SIDE))
        assert len(kept) + len(reasons) == len(leaves)
        worst = max(worst, difference(doc, kept))
        for how in ("all", "needed"):
            merged = merge_apart(kept, how, 3)
            assert difference(plain_document(kept, SIDE, SIDE), merged) == 0
            merged_away += len(kept) - len(merged)
    assert worst < (1.5 if opaque else 2.5) and merged_away > 40
