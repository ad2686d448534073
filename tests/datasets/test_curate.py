"""Each rule drops what it names and says so; merging never changes a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from paintings import disc, plate, poster

from acetate.datasets.curate import Rules, drop_anomalous, drop_unchanging, merge_apart, visible_changes
from acetate.datasets.leaves import extract_leaves
from acetate.datasets.psd import Unwanted, record_document, words_of
from acetate.datasets.records import premultiplied
from acetate.errors import InputError
from acetate.layers import BlendMode, Layer, LayeredImage
from acetate.layers.composite import flatten_array
from acetate.layers.io.colour import srgb_profile

SIZE = (96, 96)


def with_layers(*more: Layer, below: bool = False) -> LayeredImage:
    doc = poster()
    return doc.with_layers((*more, *doc.layers) if below else (*doc.layers, *more))


def test_the_poster_is_used_as_it_is() -> None:
    made = record_document(poster(), rules=Rules(merge="none"))
    assert [layer.caption for layer in made.record.layers] == ["", "sun", "moon", "box", "ball"]
    assert made.record.caption == "sun, moon, box, ball"
    assert made.dropped == () and made.leaves == 5 and made.record.error() == 0
    drawn = premultiplied(flatten_array(poster(), 8))
    assert np.abs(premultiplied(made.record.merged) - drawn).max() < 1.5


def test_what_changes_nothing_is_dropped_with_its_reason() -> None:
    layers = poster().layers
    covered = Layer(pixels=disc(30, (9, 9, 9)), name="covered", offset=(20, 20))
    echo = layers[0].pixels[:20, :90].copy()
    echo[..., 3] = 130
    doc = poster().with_layers((covered, layers[0], Layer(pixels=echo, name="echo"), *layers[1:]))
    kept, reasons = drop_unchanging(list(extract_leaves(doc)), SIZE)
    assert [leaf.name for leaf in kept] == ["Background", "sun", "moon", "box", "ball"]
    assert reasons == ["'covered' is hidden", "'echo' repeats what lies beneath"]


def test_of_two_twins_one_stays() -> None:
    layers = poster().layers
    soft = disc(30, (200, 10, 10), 0.6)
    for pixels in (plate(20, 20, (200, 10, 10)), soft):
        pair = (
            Layer(pixels=pixels, name="one", offset=(40, 20)),
            Layer(pixels=pixels, name="two", offset=(40, 20)),
        )
        kept, _ = drop_unchanging(list(extract_leaves(poster().with_layers((layers[0], *pair)))), SIZE)
        assert len(kept) == (3 if pixels is soft else 2)  # two half-transparent ones both count


def test_changes_are_those_of_the_picture() -> None:
    leaves = list(extract_leaves(poster()))
    changes = visible_changes(leaves, SIZE)
    layers = poster().layers
    for index, (leaf, change) in enumerate(zip(leaves, changes, strict=True)):
        without = poster().with_layers((*layers[:index], *layers[index + 1 :]))
        whole = np.abs(
            premultiplied(flatten_array(poster(), 8)) - premultiplied(flatten_array(without, 8))
        ).max(-1)
        x0, y0, x1, y1 = leaf.box
        np.testing.assert_allclose(change * 255, whole[y0:y1, x0:x1], atol=1.6)


def test_anomalous_layers_are_dropped_with_their_reason() -> None:
    speck = Layer(pixels=plate(3, 3, (250, 0, 250)), name="speck", offset=(2, 90))
    haze = Layer(pixels=plate(60, 60, (255, 255, 255), alpha=4), name="haze", offset=(2, 20))
    shadow = Layer(pixels=plate(30, 8, (0, 0, 0), alpha=20), name="faint shadow", offset=(2, 70))
    leaves = list(extract_leaves(with_layers(speck, haze, shadow)))
    kept, reasons = drop_anomalous(leaves, SIZE, Rules())
    assert reasons == ["'speck' is too small", "'haze' is almost transparent"]
    assert kept[-1].name == "faint shadow"  # black at low alpha is an effect, not an anomaly


def test_merging_all_puts_what_is_apart_on_one_layer() -> None:
    record = record_document(poster()).record
    assert [layer.caption for layer in record.layers] == ["", "sun and moon and box", "ball"]
    assert record.layers[1].box == (5, 5, 89, 80)
    one_by_one = record_document(poster(), rules=Rules(merge="none")).record
    assert np.array_equal(record.merged, one_by_one.merged)


def test_merging_as_needed_takes_the_nearest_pair_first() -> None:
    leaves = list(extract_leaves(with_layers(Layer(pixels=disc(8, (9, 9, 9)), name="star", offset=(28, 8)))))
    merged = merge_apart(leaves, "needed", 5)
    assert [leaf.name for leaf in merged] == ["Background", "sun and star", "moon", "box", "ball"]
    assert [len(merge_apart(leaves, "needed", most)) for most in (6, 4, 1)] == [
        6,
        4,
        3,
    ]  # the ball lies over the box


@pytest.mark.parametrize(
    ("doc", "rules", "message"),
    [
        (poster(40), Rules(), "smaller than 64"),
        (poster(), Rules(max_pixels=1000), "larger than 0 megapixels"),
        (poster(), Rules(merge="none", max_layers=4), "5 layers remain, more than 4"),
        (poster().with_layers(poster().layers[:1]), Rules(), "1 of its layers can be used, fewer than 2"),
        (with_layers(Layer(pixels=plate(96, 96, (20, 200, 20)), name="tone", blend=BlendMode.DIFFERENCE)), Rules(),
         "the difference layer 'tone' repaints"),
    ],
)  # fmt: skip
def test_files_that_teach_nothing_are_refused(doc: LayeredImage, rules: Rules, message: str) -> None:
    with pytest.raises(Unwanted, match=message):
        record_document(doc, rules=rules)


def test_bad_rules_are_refused() -> None:
    with pytest.raises(InputError, match="merge must be"):
        Rules(merge="some")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="min <= max"):
        Rules(min_layers=9, max_layers=3)


@pytest.mark.parametrize(
    ("name", "words"),
    [("Layer 12", ""), ("Layer 1 copy 3", ""), ("图层 4 拷贝", ""), ("Rectangle 7", ""), ("0012", ""), ("shape_3", ""),
     ("red_star", "red star"), ("Layer of snow", "Layer of snow"), ("  A   cat ", "A cat")],
)  # fmt: skip
def test_names_that_programs_give_are_no_captions(name: str, words: str) -> None:
    assert words_of(name) == words


def test_the_caption_hook_sees_the_picture_and_on_request_the_layers() -> None:
    seen: list[tuple[int, int]] = []

    def caption(image: object) -> str:
        seen.append(image.size)  # type: ignore[attr-defined]
        return f"picture {len(seen)}"

    record = record_document(poster(), caption=caption).record
    assert record.caption == "picture 1" and seen == [(96, 96)]
    record = record_document(poster(), caption=caption, caption_layers=True).record
    assert record.caption == "picture 5" and [layer.caption for layer in record.layers] == [
        "picture 2",
        "picture 3",
        "picture 4",
    ]
    assert record_document(poster().replace(metadata={"prompt": "a day"})).record.caption == "a day"


def test_sixteen_bits_and_profiles_end_as_eight_bit_srgb() -> None:
    deep = poster()
    layers = tuple(layer.replace(pixels=layer.pixels.astype(np.uint16) * 257) for layer in deep.leaves())
    made = record_document(deep.replace(layers=layers, depth=16, icc=srgb_profile())).record
    assert np.array_equal(made.merged, record_document(poster()).record.merged)
