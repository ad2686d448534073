"""The contact sheet: what is on it and where."""

from __future__ import annotations

import numpy as np
from PIL import Image

from acetate.contact_sheet import DARK, LIGHT, PAPER, Sheet, contact_sheet
from acetate.layers.document import Layer, LayeredImage


def document() -> LayeredImage:
    ground = np.full((60, 90, 4), (20, 120, 40, 255), np.uint8)
    sun = np.full((20, 20, 4), (250, 200, 0, 255), np.uint8)
    return LayeredImage(
        width=90,
        height=60,
        layers=(Layer(pixels=ground, name="Ground"), Layer(pixels=sun, name="Sun", offset=(60, 5))),
    )


def test_every_layer_has_a_cell_on_a_checkerboard() -> None:
    sheet = Sheet(width=900)
    page = np.asarray(
        contact_sheet(document(), Image.new("RGBA", (90, 60), (1, 2, 3, 255)), title="T", sheet=sheet)
    )
    assert page.shape[1] == 900
    width = (900 - 2 * sheet.margin - 3 * sheet.gap) // 4
    height = round(60 * width / 90)
    cells = [
        page[sheet.head : sheet.head + height, left : left + width]
        for left in (sheet.margin + index * (width + sheet.gap) for index in range(4))
    ]
    picture, whole, ground, sun = cells
    assert (picture == (1, 2, 3)).all()
    assert tuple(whole[height // 4, int(width * 0.75)]) == (250, 200, 0)
    assert (ground == (20, 120, 40)).all()
    board = sun[height // 2 :, : width // 2]
    assert set(np.unique(board)) == {DARK, LIGHT}
    assert tuple(sun[height // 4, int(width * 0.75)]) == (250, 200, 0)


def test_many_layers_take_several_even_rows() -> None:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    layers = tuple(Layer(pixels=pixels, name=f"Layer {n}") for n in range(8))
    sheet = Sheet(width=1000)
    page = contact_sheet(LayeredImage(width=4, height=4, layers=layers), title="Nine cells", sheet=sheet)
    cell = (1000 - 2 * sheet.margin - 2 * sheet.gap) // 3
    assert page.height == sheet.head + 3 * (cell + sheet.caption + sheet.gap) + sheet.margin - sheet.gap
    assert page.getpixel((5, 5)) == PAPER
