"""Blend modes: identities, edges of the range, agreement with an independent renderer."""

from __future__ import annotations

import numpy as np
import pytest
from psd_tools.composite.blend import BLEND_FUNC
from psd_tools.constants import BlendMode as PsdBlend

from acetate.errors import InputError
from acetate.layers.blend import BlendMode, blend, dissolve_threshold

MODES = [mode for mode in BlendMode if mode is not BlendMode.PASS_THROUGH]
GRID = np.linspace(0, 1, 52, dtype=np.float32)


def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every pair of 8-bit-like values in one channel, with varied other channels, (52, 52, 3)."""
    cb, cs = np.meshgrid(GRID, GRID, indexing="ij")
    backdrop = np.stack([cb, cs, 1 - cb], axis=-1)
    source = np.stack([cs, 1 - cb, cb * cs], axis=-1)
    return backdrop, source


@pytest.mark.parametrize("mode", MODES)
def test_stays_in_range_and_finite(mode: BlendMode) -> None:
    with np.errstate(all="raise"):
        result = blend(mode, *_pairs())
    assert result.dtype == np.float32 and result.shape == (52, 52, 3)
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1 + 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_axis_does_not_matter(mode: BlendMode) -> None:
    backdrop, source = _pairs()
    planes = blend(mode, np.moveaxis(backdrop, -1, 0), np.moveaxis(source, -1, 0), axis=0)
    np.testing.assert_array_equal(np.moveaxis(planes, 0, -1), blend(mode, backdrop, source))


NEUTRAL = {  # the source colour that leaves every backdrop as it is
    BlendMode.MULTIPLY: 1, BlendMode.DARKEN: 1, BlendMode.COLOR_BURN: 1, BlendMode.LINEAR_BURN: 1, BlendMode.DIVIDE: 1,
    BlendMode.SCREEN: 0, BlendMode.LIGHTEN: 0, BlendMode.COLOR_DODGE: 0, BlendMode.LINEAR_DODGE: 0,
    BlendMode.DIFFERENCE: 0, BlendMode.EXCLUSION: 0, BlendMode.SUBTRACT: 0, BlendMode.OVERLAY: 0.5,
    BlendMode.SOFT_LIGHT: 0.5, BlendMode.HARD_LIGHT: 0.5, BlendMode.LINEAR_LIGHT: 0.5, BlendMode.PIN_LIGHT: 0.5,
    BlendMode.VIVID_LIGHT: 0.5, BlendMode.DARKER_COLOR: 1, BlendMode.LIGHTER_COLOR: 0,
}  # fmt: skip


@pytest.mark.parametrize("mode", NEUTRAL)
def test_neutral_source(mode: BlendMode) -> None:
    backdrop, _ = _pairs()
    if (
        mode is BlendMode.OVERLAY
    ):  # its neutral grey belongs to the backdrop, where hard light has it in the source
        source = backdrop
        result = blend(mode, np.full_like(backdrop, 0.5), source)
        np.testing.assert_allclose(result, source, atol=1e-6)
        return
    result = blend(mode, backdrop, np.full_like(backdrop, NEUTRAL[mode]))
    np.testing.assert_allclose(result, backdrop, atol=2e-6)


def test_modes_that_are_each_other() -> None:
    backdrop, source = _pairs()
    np.testing.assert_array_equal(
        blend(BlendMode.OVERLAY, backdrop, source), blend(BlendMode.HARD_LIGHT, source, backdrop)
    )
    inverted = 1 - blend(BlendMode.MULTIPLY, 1 - backdrop, 1 - source)
    np.testing.assert_allclose(blend(BlendMode.SCREEN, backdrop, source), inverted, atol=1e-6)
    burned = 1 - blend(BlendMode.COLOR_DODGE, 1 - backdrop, 1 - source)
    np.testing.assert_allclose(blend(BlendMode.COLOR_BURN, backdrop, source), burned, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "cb", "cs", "wanted"),
    [
        (BlendMode.COLOR_DODGE, 0, 1, 0), (BlendMode.COLOR_DODGE, 0.2, 1, 1), (BlendMode.COLOR_BURN, 1, 0, 1),
        (BlendMode.COLOR_BURN, 0.8, 0, 0), (BlendMode.VIVID_LIGHT, 1, 0, 0), (BlendMode.VIVID_LIGHT, 0, 1, 1),
        (BlendMode.DIVIDE, 0, 0, 0), (BlendMode.DIVIDE, 0.3, 0, 1), (BlendMode.HARD_MIX, 0.75, 0.25, 1),
        (BlendMode.HARD_MIX, 0.25, 0.75, 0), (BlendMode.HARD_MIX, 0.5, 0.6, 1), (BlendMode.SUBTRACT, 0.2, 0.5, 0),
    ],
)  # fmt: skip
def test_edges_of_the_range(mode: BlendMode, cb: float, cs: float, wanted: float) -> None:
    result = blend(mode, np.full((1, 1, 3), cb, np.float32), np.full((1, 1, 3), cs, np.float32))
    np.testing.assert_array_equal(result, np.full((1, 1, 3), wanted, np.float32))


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode is not BlendMode.DISSOLVE])
def test_agrees_with_psd_tools(mode: BlendMode) -> None:
    theirs = BLEND_FUNC[PsdBlend[mode.name]]
    backdrop, source = _pairs()
    np.testing.assert_allclose(blend(mode, backdrop, source), theirs(backdrop, source), atol=1e-5)


def test_component_modes_keep_what_they_say() -> None:
    rng = np.random.default_rng(0)
    backdrop, source = rng.random((2, 500, 3)).astype(np.float32)
    weights = np.array([0.3, 0.59, 0.11])
    for mode, keeper in ((BlendMode.HUE, backdrop), (BlendMode.SATURATION, backdrop), (BlendMode.COLOR, backdrop),
                         (BlendMode.LUMINOSITY, source)):  # fmt: skip
        np.testing.assert_allclose(blend(mode, backdrop, source) @ weights, keeper @ weights, atol=1e-5)


def test_pass_through_has_no_colour() -> None:
    with pytest.raises(InputError, match="for groups"):
        blend(BlendMode.PASS_THROUGH, *_pairs())


def test_parse_is_kind_and_says_what_it_knows() -> None:
    assert BlendMode.parse("Color_Burn") is BlendMode.COLOR_BURN
    assert BlendMode.parse("soft light") is BlendMode.SOFT_LIGHT
    with pytest.raises(InputError, match=r"'foo'.*multiply"):
        BlendMode.parse("foo")


def test_dissolve_is_even_and_depends_on_place_only() -> None:
    whole = dissolve_threshold(-20, -10, 200, 150)
    assert whole.min() > 0 and whole.max() < 1
    histogram = np.histogram(whole, 10, (0, 1))[0] / whole.size
    np.testing.assert_allclose(histogram, 0.1, atol=0.01)
    np.testing.assert_array_equal(dissolve_threshold(5, 7, 11, 13), whole[17:30, 25:36])
