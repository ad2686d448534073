"""Dropping empty layers: what is judged, and what never goes."""

from __future__ import annotations

import numpy as np

from acetate.layers import Layer, LayeredImage, edit
from acetate.layers.document import Provenance


def layer(name: str, alpha: int, side: int = 20) -> Layer:
    pixels = np.full((side, side, 4), 200, np.uint8)
    pixels[..., 3] = alpha
    return Layer(pixels=pixels, name=name)


def document(*layers: Layer) -> LayeredImage:
    return LayeredImage(width=20, height=20, layers=layers)


def test_layers_without_alpha_go_and_the_rest_keeps_its_order() -> None:
    faint, speck = layer("c", 1, side=10), layer("d", 255, side=3)
    whole = document(layer("Background", 255), layer("a", 0), layer("b", 90), faint, speck)
    assert [n.name for n in edit.drop_empty(whole).layers] == ["Background", "b", "d"]


def test_layers_that_were_asked_for_stay_where_that_is_wanted() -> None:
    asked = layer("b", 0).replace(provenance=Provenance(prompt="a fish"))
    whole = document(layer("Background", 255), layer("a", 0), asked)
    assert [n.name for n in edit.drop_empty(whole, keep_asked=True).layers] == ["Background", "b"]
    assert [n.name for n in edit.drop_empty(whole).layers] == ["Background"]


def test_a_document_with_nothing_empty_is_returned_as_it_is() -> None:
    full = document(layer("Background", 255), layer("a", 255, side=5))
    assert edit.drop_empty(full) is full


def test_the_bottom_layer_stays_whatever_it_holds() -> None:
    assert len(edit.drop_empty(document(layer("Background", 0))).layers) == 1
