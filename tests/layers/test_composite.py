"""Compositing against a scalar float64 formulation, against psd-tools, and against itself in other tilings."""

from __future__ import annotations

import numpy as np
import pytest
from layer_scenes import LAYER_MODES, random_layer, random_pixels, rich_document
from PIL import Image
from psd_tools import PSDImage
from psd_tools.composite import composite as psd_composite
from psd_tools.constants import BlendMode as PsdBlend

from acetate.errors import InputError
from acetate.layers import BlendMode, Group, Layer, LayeredImage, Mask, composite
from acetate.layers.blend import SEPARABLE
from acetate.layers.composite import composite_nodes, flatten_array, quantise

Pixel = tuple[float, float, float, float]


def _separable(mode: BlendMode, cb: float, cs: float) -> float:
    return float(SEPARABLE[mode](np.float64(cb), np.float64(cs)))


def _over(under: Pixel, over: Pixel, mode: BlendMode) -> Pixel:
    """W3C section 5 for one pixel, as a mean of three regions: both, backdrop only, source only."""
    ab, as_ = under[3], over[3]
    both, backdrop, source = ab * as_, ab * (1 - as_), as_ * (1 - ab)
    alpha = both + backdrop + source
    if alpha == 0:
        return (0, 0, 0, 0)
    mixed = [
        (both * _separable(mode, cb, cs) + backdrop * cb + source * cs) / alpha
        for cb, cs in zip(under[:3], over[:3], strict=True)
    ]
    return (mixed[0], mixed[1], mixed[2], alpha)


def _pixel(nodes: tuple[Layer | Group, ...], x: int, y: int, under: Pixel) -> Pixel:
    """The reference: recursion over nodes for one pixel, pass-through and isolated groups, masks, opacities."""
    for node in nodes:
        if not node.visible:
            continue
        factor = node.opacity
        if node.mask is not None:
            mx, my = x - node.mask.offset[0], y - node.mask.offset[1]
            inside = 0 <= mx < node.mask.pixels.shape[1] and 0 <= my < node.mask.pixels.shape[0]
            factor *= float(node.mask.pixels[my, mx]) / 255 if inside else node.mask.default
        if isinstance(node, Layer):
            lx, ly = x - node.offset[0], y - node.offset[1]
            if not (0 <= lx < node.width and 0 <= ly < node.height):
                continue
            r, g, b, a = (float(value) / 255 for value in node.pixels[ly, lx])
            under = _over(under, (r, g, b, a * factor), node.blend)
        elif node.blend is BlendMode.PASS_THROUGH:
            through = _pixel(node.layers, x, y, under)
            alpha = factor * through[3] + (1 - factor) * under[3]
            color = [
                (factor * through[3] * t + (1 - factor) * under[3] * u) / alpha if alpha else 0.0
                for t, u in zip(through[:3], under[:3], strict=True)
            ]
            under = (color[0], color[1], color[2], alpha)
        else:
            alone = _pixel(node.layers, x, y, (0, 0, 0, 0))
            under = _over(under, (*alone[:3], alone[3] * factor), node.blend)
    return under


@pytest.mark.parametrize("mode", [mode for mode in SEPARABLE if mode is not BlendMode.DISSOLVE])
def test_against_the_scalar_reference(mode: BlendMode) -> None:
    rng = np.random.default_rng(list(SEPARABLE).index(mode))
    mask = Mask(pixels=rng.integers(0, 256, (3, 4)).astype(np.uint8), offset=(1, 1), default=0.25)

    def layer(**changes: object) -> Layer:
        return random_layer(rng, 7, blend=mode, **changes)

    inner = Group(layers=(layer(), layer()), blend=mode, opacity=0.75)
    through = Group(layers=(layer(opacity=0.5), inner), opacity=0.5, mask=mask)
    nodes = (layer(), layer(mask=mask), through, layer(visible=False), layer())
    result = composite(LayeredImage(width=6, height=5, layers=nodes))
    for y in range(5):
        for x in range(6):
            wanted = np.array(_pixel(nodes, x, y, (0, 0, 0, 0)))
            got = result[y, x].astype(np.float64)
            np.testing.assert_allclose(got[3], wanted[3], atol=1e-6)
            # Hard mix and other jumps may fall to either side where float noise meets the threshold.
            if mode is not BlendMode.HARD_MIX:
                np.testing.assert_allclose(got[:3] * got[3], wanted[:3] * wanted[3], atol=5e-6)


@pytest.mark.parametrize("seed", range(6))
def test_tile_size_changes_no_bit(seed: int) -> None:
    doc = rich_document(seed, LAYER_MODES, size=40)
    whole = composite(doc, tile=4096)
    for tile in (1, 7, 16):
        if tile > 1:
            np.testing.assert_array_equal(composite(doc, tile=tile), whole)
    np.testing.assert_array_equal(composite(doc, (5, 9, 31, 22)), whole[9:22, 5:31])
    np.testing.assert_array_equal(composite(doc, (5, 9, 8, 11), tile=1), whole[9:11, 5:8])


def _psd(nodes: list[Layer], size: int) -> np.ndarray:
    """Layers drawn by psd-tools, float32 (h, w, 4) straight."""
    psd = PSDImage.new("RGBA", (size, size), color=0)
    psd.background_color = None
    for node in nodes:
        made = psd.create_pixel_layer(
            Image.fromarray(np.array(node.pixels), "RGBA"), name="x", left=node.offset[0], top=node.offset[1],
            opacity=round(node.opacity * 255), blend_mode=PsdBlend[node.blend.name],
        )  # fmt: skip
        made.clipping = node.clipping
        if node.mask is not None:
            whole = np.full((size, size), round(node.mask.default * 255), np.uint8)
            (x, y), (h, w) = node.mask.offset, node.mask.pixels.shape
            whole[y : y + h, x : x + w] = node.mask.pixels
            made.create_mask(Image.fromarray(whole))
    color, _, alpha = psd_composite(psd, color=0.0, alpha=0.0, force=True)
    return np.concatenate((color, alpha), axis=2)


@pytest.mark.parametrize("mode", [mode for mode in LAYER_MODES if mode is not BlendMode.DISSOLVE])
def test_against_psd_tools(mode: BlendMode) -> None:
    size = 16
    rng = np.random.default_rng(LAYER_MODES.index(mode))
    mask = Mask(pixels=rng.integers(0, 256, (6, 7)).astype(np.uint8), offset=(4, 5), default=1.0)
    bottom = Layer(pixels=random_pixels(rng, size, size))
    solid = random_pixels(rng, size, size)
    solid[..., 3] = (
        255  # over soft shapes psd-tools clips otherwise than Photoshop's "blend clipped layers as group"
    )
    nodes = [
        bottom,
        Layer(pixels=random_pixels(rng, 12, 11), offset=(2, 3), blend=mode, opacity=128 / 255),
        Layer(pixels=random_pixels(rng, 10, 14), offset=(5, 1), blend=mode, mask=mask),
        Layer(pixels=solid),
        Layer(pixels=random_pixels(rng, 13, 13), offset=(1, 2), blend=mode, clipping=True, opacity=51 / 255),
        Layer(pixels=random_pixels(rng, 9, 9), offset=(4, 4), blend=mode),
    ]
    ours = composite(LayeredImage(width=size, height=size, layers=tuple(nodes)))
    theirs = _psd(nodes, size)
    tolerance = 1e-4 if mode is not BlendMode.HARD_MIX else 2
    np.testing.assert_allclose(ours[..., 3], theirs[..., 3], atol=1e-5)
    np.testing.assert_allclose(
        ours[..., :3] * ours[..., 3:], theirs[..., :3] * theirs[..., 3:], atol=tolerance
    )
    close = np.abs(ours[..., :3] * ours[..., 3:] - theirs[..., :3] * theirs[..., 3:]) < 1e-4
    assert close.mean() > 0.99


def test_clipping_keeps_the_shape_of_the_base() -> None:
    rng = np.random.default_rng(3)
    base, clipped = (
        Layer(pixels=random_pixels(rng, 8, 8)),
        Layer(pixels=random_pixels(rng, 8, 8), clipping=True),
    )
    doc = LayeredImage(width=8, height=8, layers=(base, clipped))
    result = composite(doc)
    alpha = base.pixels[..., 3].astype(np.float32) / 255
    np.testing.assert_array_equal(result[..., 3], alpha)
    a = clipped.pixels[..., 3:].astype(np.float64) / 255
    wanted = (base.pixels[..., :3] * (1 - a) + clipped.pixels[..., :3] * a) / 255
    np.testing.assert_allclose(result[alpha > 0][:, :3], wanted[alpha > 0], atol=1e-6)
    hidden = doc.with_layers((base.replace(visible=False), clipped))
    assert not composite(hidden).any()
    alone = LayeredImage(width=8, height=8, layers=(clipped,))
    np.testing.assert_array_equal(flatten_array(alone)[..., 3], clipped.pixels[..., 3])


def test_clipped_group_reads_as_one_with_the_mode_of_its_base() -> None:
    rng = np.random.default_rng(4)
    back = Layer(pixels=random_pixels(rng, 8, 8))
    base = Layer(pixels=random_pixels(rng, 8, 8), blend=BlendMode.MULTIPLY, opacity=0.5)
    clipped = Layer(pixels=random_pixels(rng, 8, 8), clipping=True, blend=BlendMode.SCREEN)
    merged = composite_nodes((base.replace(blend=BlendMode.NORMAL, opacity=1), clipped), (0, 0, 8, 8))
    together = Layer(pixels=merged, blend=BlendMode.MULTIPLY, opacity=0.5)
    ours = composite(LayeredImage(width=8, height=8, layers=(back, base, clipped)))
    wanted = composite(LayeredImage(width=8, height=8, layers=(back, together)))
    np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_group_identities() -> None:
    rng = np.random.default_rng(5)
    layers = tuple(random_layer(rng, 12) for _ in range(4))
    flat = composite(LayeredImage(width=10, height=10, layers=layers))
    through = composite(LayeredImage(width=10, height=10, layers=(layers[0], Group(layers=layers[1:]))))
    np.testing.assert_array_equal(through, flat)
    group = Group(layers=layers[1:], blend=BlendMode.NORMAL)
    isolated = composite(LayeredImage(width=10, height=10, layers=(layers[0], group)))
    np.testing.assert_allclose(isolated, flat, atol=2e-6)
    for opacity in (0.0, 1.0):
        multiplied = tuple(layer.replace(blend=BlendMode.MULTIPLY) for layer in layers[1:])
        part = Group(layers=multiplied, opacity=opacity)
        wanted = (layers[0], *multiplied) if opacity else layers[:1]
        np.testing.assert_array_equal(
            composite(LayeredImage(width=10, height=10, layers=(layers[0], part))),
            composite(LayeredImage(width=10, height=10, layers=wanted)),
        )
    assert not composite(LayeredImage(width=3, height=3, layers=(Group(layers=()),))).any()


def test_masks() -> None:
    rng = np.random.default_rng(6)
    layer = Layer(pixels=random_pixels(rng, 8, 8))
    plain = composite(LayeredImage(width=8, height=8, layers=(layer,)))
    for mask, same in (
        (Mask(pixels=np.zeros((2, 2), np.uint8), offset=(20, 20), default=1.0), True),
        (Mask(pixels=np.zeros((8, 8), np.uint8), enabled=False), True),
        (Mask(pixels=np.full((8, 8), 65535, np.uint16)), True),
        (Mask(pixels=np.ones((8, 8), np.float32)), True),
        (Mask(pixels=np.full((2, 2), 255, np.uint8), offset=(20, 20), default=0.0), False),
    ):
        got = composite(LayeredImage(width=8, height=8, layers=(layer.replace(mask=mask),)))
        np.testing.assert_array_equal(got, plain if same else np.zeros_like(plain))


def test_dissolve_is_all_or_nothing_and_repeats() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, 128
    doc = LayeredImage(width=64, height=64, layers=(Layer(pixels=pixels, blend=BlendMode.DISSOLVE),))
    result = flatten_array(doc)
    assert set(np.unique(result[..., 3])) == {0, 255}
    assert abs((result[..., 3] > 0).mean() - 128 / 255) < 0.03
    np.testing.assert_array_equal(flatten_array(doc, tile=9), result)


@pytest.mark.parametrize("depth", [8, 16])
def test_one_opaque_layer_is_itself(depth: int) -> None:
    rng = np.random.default_rng(7)
    pixels = random_pixels(rng, 50, 40, depth)
    doc = LayeredImage(width=50, height=40, depth=depth, layers=(Layer(pixels=pixels),))  # type: ignore[arg-type]
    pixels = np.where(pixels[..., 3:] > 0, pixels, 0)
    np.testing.assert_array_equal(flatten_array(doc), pixels)
    assert flatten_array(doc, 8).dtype == np.uint8


def test_quantise_rounds_half_up() -> None:
    for depth, levels in ((8, 255), (16, 65535)):
        every = np.arange(levels + 1, dtype=np.float32)
        np.testing.assert_array_equal(quantise(every / levels, depth), every)
    np.testing.assert_array_equal(quantise(np.array([0.5, 1.5, 2.5]) / 255, 8), [1, 2, 3])
    np.testing.assert_array_equal(quantise(np.array([-1.0, 2.0]), 8), [0, 255])


def test_flatten_on_a_background() -> None:
    pixels = np.full((2, 2, 4), (255, 0, 0, 128), np.uint8)
    doc = LayeredImage(width=3, height=2, layers=(Layer(pixels=pixels),))
    on_white = np.asarray(doc.flatten((255, 255, 255)))
    assert on_white.shape == (2, 3, 3)
    assert on_white[0, 0].tolist() == [255, 127, 127] and on_white[0, 2].tolist() == [255, 255, 255]
    assert doc.flatten().mode == "RGBA"
    with pytest.raises(InputError, match="background"):
        doc.flatten((1, 2, 300))


def test_boxes_outside_are_refused() -> None:
    doc = LayeredImage(width=4, height=4, layers=())
    assert not composite(doc).any()
    for box in ((0, 0, 5, 4), (2, 2, 2, 3), (-1, 0, 2, 2)):
        with pytest.raises(InputError):
            composite(doc, box)


def test_memory_maps_are_only_sliced(tmp_path) -> None:  # type: ignore[no-untyped-def]
    stored = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(300, 200, 4))
    stored[...] = 255
    layer = Layer(pixels=stored)
    assert isinstance(layer.pixels, np.memmap) and not layer.pixels.flags.writeable
    assert composite(LayeredImage(width=200, height=300, layers=(layer,)), (10, 20, 14, 23)).min() == 1
