"""Edits of the tree: clipped layers stay with their base, and a lock holds for every edit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from acetate.errors import InputError
from acetate.layers import Group, Layer, LayeredImage, edit
from acetate.layers.composite import flatten_array


def block(
    name: str, x: int, y: int, width: int, height: int, colour: tuple[int, int, int], **changes: object
) -> Layer:
    pixels = np.full((height, width, 4), (*colour, 255), np.uint8)
    return Layer(pixels=pixels, name=name, offset=(x, y), **changes)  # type: ignore[arg-type]


@pytest.fixture
def doc() -> LayeredImage:
    """Ground, a base with two layers clipped to it, and one above."""
    return LayeredImage(
        width=64,
        height=48,
        layers=(
            block("ground", 0, 0, 64, 48, (200, 200, 255)),
            block("base", 10, 10, 20, 20, (255, 0, 0)),
            block("c1", 5, 5, 50, 20, (0, 255, 0), clipping=True, opacity=0.5),
            block("c2", 12, 0, 9, 48, (255, 255, 0), clipping=True),
            block("top", 0, 0, 20, 20, (0, 0, 255)),
        ),
    )


def same(a: LayeredImage, b: LayeredImage, tolerance: int = 0) -> bool:
    return int(np.abs(flatten_array(a).astype(int) - flatten_array(b).astype(int)).max()) <= tolerance


def test_groups_never_part_a_layer_from_its_base(doc: LayeredImage) -> None:
    for names in (["base"], ["c1"], ["c1", "top"], ["c1", "c2"], ["base", "c2"], ["ground", "base", "c1"]):
        with pytest.raises(InputError, match="is clipped to 'base'; group"):
            edit.group(doc, names)
    for names in (["base", "c1", "c2"], ["ground", "base", "c1", "c2"], ["c2", "base", "top", "c1"], ["top"]):
        assert same(edit.group(doc, names, "new"), doc)
    loose = doc.with_layers(doc.layers[2:])  # what is clipped to nothing is a base itself
    assert same(edit.group(loose, ["c1", "c2"]), loose)


def test_merging_down_never_clips_what_was_not(doc: LayeredImage) -> None:
    with pytest.raises(InputError, match="'c2' is clipped and 'top' would be too; merge 'c2' down first"):
        edit.merge_down(doc, "top")
    for name in ("c1", "c2"):
        assert same(edit.merge_down(doc, name), doc, 1)
    loose = doc.with_layers(doc.layers[2:])
    for name in ("c2",):
        assert same(edit.merge_down(loose, name), loose, 1)
    alone = doc.with_layers((doc.layers[2], doc.layers[4]))
    assert same(edit.merge_down(alone, "top"), alone, 1)


LOCKED: dict[str, Callable[[LayeredImage], LayeredImage]] = {
    "reorder": lambda doc: edit.reorder(doc, "base", "bottom"),
    "group": lambda doc: edit.group(doc, ["base", "top"]),
    "merge": lambda doc: edit.merge_down(doc, "top"),
    "duplicate": lambda doc: edit.duplicate(doc, "base"),
    "delete": lambda doc: edit.delete(doc, "base"),
    "move": lambda doc: edit.move(doc, "base", 1, 1),
    "split": lambda doc: edit.split_parts(doc, "base"),
}


@pytest.mark.parametrize("name", LOCKED)
@pytest.mark.parametrize("nested", [False, True])
def test_a_lock_holds_for_every_edit(doc: LayeredImage, name: str, nested: bool) -> None:
    layers = (doc.find("base"), doc.find("top"))
    inner = Group(layers=layers, name="inner")
    tree = doc.with_layers((Group(layers=(inner,), name="outer"),) if nested else layers)
    assert LOCKED[name](tree) is not tree
    for lock in ("inner", "outer") if nested else ("base",):
        locked = edit.lock(tree, lock)
        if name == "duplicate" and not nested:
            assert [node.locked for node in LOCKED[name](locked).layers] == [True, True, False]
            continue
        with pytest.raises(InputError, match=f"'{lock}' is locked"):
            LOCKED[name](locked)
