"""The document: validation, identity, finding nodes, and what importing it loads."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from layer_scenes import rich_document

from acetate.errors import InputError
from acetate.layers import Group, Layer, LayeredImage, Mask, Provenance
from acetate.layers.select import insert_at

PIXELS = np.zeros((3, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pixels": [[1]]}, "numpy array"), ({"pixels": PIXELS[..., :3]}, "H x W x 4"),
        ({"pixels": PIXELS[:0]}, "empty"), ({"pixels": PIXELS.astype(np.int32)}, "uint8, uint16 or float32"),
        ({"pixels": PIXELS.astype(np.float32) + 2}, r"\[0, 1\]"), ({"pixels": PIXELS + np.float32("nan")}, r"\[0, 1\]"),
        ({"name": ""}, "empty"), ({"name": "x" * 256}, "255"), ({"opacity": 1.5}, "opacity"), ({"blend": "no"}, "blend"),
        ({"blend": "pass-through"}, "groups"), ({"offset": (0.5, 0)}, "whole"), ({"id": "xyz"}, "hexadecimal"),
        ({"mask": 3}, "Mask"),
    ],
)  # fmt: skip
def test_layers_are_checked(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Layer(**{"pixels": PIXELS, "name": "L", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"height": 1.5},
        {"depth": 12},
        {"dpi": 0},
        {"layers": (1,)},
        {"metadata": {"a": object()}},
    ],
)
def test_documents_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        LayeredImage(**{"width": 4, "height": 4, "layers": (), **changes})  # type: ignore[arg-type]


def test_masks_and_groups_are_checked() -> None:
    with pytest.raises(InputError, match="H x W"):
        Mask(pixels=PIXELS)
    with pytest.raises(InputError, match="coverage"):
        Mask(pixels=PIXELS[..., 0], default=2.0)
    with pytest.raises(InputError, match="can hold"):
        Group(layers=(3,))  # type: ignore[arg-type]


def test_nothing_can_be_written() -> None:
    pixels = PIXELS.copy()
    layer = Layer(pixels=pixels)
    with pytest.raises(ValueError, match="read-only"):
        layer.pixels[0, 0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.name = "x"  # type: ignore[misc]
    assert pixels.flags.writeable


def test_ids_repeat_between_runs_and_never_within_a_document() -> None:
    layer = Layer(pixels=PIXELS, name="a")
    assert layer.id == Layer(pixels=PIXELS.copy(), name="a").id
    assert layer.id != Layer(pixels=PIXELS, name="b").id
    doc = LayeredImage(width=4, height=4, layers=(layer, layer, Group(layers=(layer,))))
    ids = [node.id for _, node in doc.walk()]
    assert len(set(ids)) == len(ids) and ids[0] == layer.id
    assert [node.id for _, node in doc.with_layers(doc.layers).walk()] == ids
    assert doc.layers[0] is layer


def test_find() -> None:
    doc = rich_document(0)
    for path, node in doc.walk():
        assert doc.find(node.id) is node
        assert doc.find("#" + ".".join(map(str, path))) is node
    assert isinstance(doc.find("isolated"), Group)
    with pytest.raises(InputError, match="no layer 'nowhere'"):
        doc.find("nowhere")
    with pytest.raises(InputError, match="#9"):
        doc.find("#9")
    twins = LayeredImage(
        width=4, height=4, layers=(Layer(pixels=PIXELS, name="t"), Layer(pixels=PIXELS, name="t"))
    )
    with pytest.raises(InputError, match=r"2 layers are called 't'.*#0, #1"):
        twins.find("t")


def test_insert_at_depth() -> None:
    doc = rich_document(1)
    new = Layer(pixels=PIXELS, name="new")
    layers = insert_at(doc.layers, (1, 1), (new,))
    assert doc.with_layers(layers).find_path("new") == (1, 1)


def test_provenance_as_json() -> None:
    assert Provenance(prompt="a cat", box=(0, 1, 2, 3)).as_dict() == {"prompt": "a cat", "box": [0, 1, 2, 3]}


def test_importing_layers_loads_no_torch_and_no_scipy() -> None:
    code = (
        "import sys, acetate.layers; print([m for m in ('torch', 'scipy', 'cv2', 'psd_tools', 'diffusers') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
