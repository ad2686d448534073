from __future__ import annotations

import dataclasses

import pytest
import torch

from acetate.errors import InputError
from acetate.models.layout import Frame, Layout, Role, TextSpan


def test_image_to_layers_order_and_counts() -> None:
    layout = Layout.image_to_layers(4, 6, 3)
    assert [frame.role.value for frame in layout.frames] == [
        "composite",
        "background",
        "layer",
        "layer",
        "condition",
    ]
    assert [frame.index for frame in layout.frames] == [0, 1, 2, 3, -1]
    assert layout.num_image_tokens == 5 * 24
    assert layout.noisy_slice == slice(0, 96)
    assert layout.slices[-1] == slice(96, 120)
    assert [frame.index for frame in layout.clean_frames] == [-1]


def test_text_to_layers_has_no_condition_and_crops() -> None:
    layout = Layout.text_to_layers(4, 6, 2, boxes=[None, (1, 0, 4, 2)])
    assert all(frame.noisy for frame in layout.frames)
    assert layout.num_image_tokens == layout.num_noisy_tokens == 24 + 24 + 6
    assert layout.grid_index(2).tolist() == [1, 2, 3, 7, 8, 9]


def test_positions_are_global_integers() -> None:
    layout = Layout.text_to_layers(3, 5, 2, boxes=[None, (3, 1, 5, 3)])
    positions = layout.positions()
    assert positions.dtype == torch.int64
    assert positions[layout.slices[2]].tolist() == [[2, 1, 3], [2, 1, 4], [2, 2, 3], [2, 2, 4]]
    assert positions[7].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("height", "width", "layers", "start"), [(4, 6, 1, 3), (4, 6, 8, 9), (40, 20, 3, 20)]
)
def test_text_starts_after_every_position(height: int, width: int, layers: int, start: int) -> None:
    layout = Layout.image_to_layers(height, width, layers).with_text([TextSpan(length=2)])
    assert layout.text_start == start
    assert layout.text_positions().tolist() == [[start] * 3, [start + 1] * 3]
    assert layout.text_positions(5)[0].tolist() == [5, 5, 5]


def test_layer_prompts_sit_on_their_layer() -> None:
    spans = [TextSpan(length=2), TextSpan(length=2, index=2), TextSpan(length=1, index=1)]
    layout = Layout.text_to_layers(2, 2, 2).with_text(spans)
    assert layout.num_text_tokens == 5
    assert layout.text_slices[1] == slice(2, 4)
    assert layout.text_positions().tolist() == [[3, 3, 3], [4, 4, 4], [2, 5, 5], [2, 6, 6], [1, 7, 7]]


def test_crop_and_scatter_are_inverse() -> None:
    layout = Layout.text_to_layers(3, 4, 2, boxes=[None, (1, 1, 3, 3)])
    full = torch.randn(2, 12, 5)
    cropped = layout.crop(full, 2)
    assert torch.equal(cropped, full.reshape(2, 3, 4, 5)[:, 1:3, 1:3].reshape(2, 4, 5))
    assert torch.equal(layout.crop(full, layout.frames[1]), full)
    assert torch.equal(layout.scatter(cropped, 2, fill=full), full)
    back = layout.scatter(cropped, 2)
    assert torch.equal(layout.crop(back, 2), cropped)
    assert back.abs().sum(-1).bool().sum() == 8
    assert float(layout.scatter(cropped, 2, fill=3.0)[0, 0, 0]) == 3.0
    assert torch.equal(layout.scatter(cropped, 2, fill=full[:, :1])[:, 0], full[:, 0])


def test_scatter_carries_gradients() -> None:
    layout = Layout.text_to_layers(2, 2, 2, boxes=[None, (0, 0, 1, 2)])
    tokens = torch.randn(1, 2, 3, requires_grad=True)
    layout.scatter(tokens, 2).sum().backward()
    assert tokens.grad is not None and bool((tokens.grad == 1).all())


def test_layout_is_immutable_and_hashable() -> None:
    layout = Layout.image_to_layers(2, 3, 1)
    assert layout == Layout.image_to_layers(2, 3, 1)
    assert hash(layout) == hash(Layout.image_to_layers(2, 3, 1))
    assert layout.with_text(()) is layout
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.height = 3  # type: ignore[misc]


CLEAN = Frame(role=Role.CONDITION, index=-1, noisy=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"height": 0, "width": 2, "frames": (CLEAN,)}, "0 x 2"),
        ({"height": 2, "width": 2, "frames": ()}, "at least one frame"),
        (
            {"height": 2, "width": 2, "frames": (CLEAN, Frame(role=Role.LAYER, index=1))},
            "Noisy frames come first",
        ),
        (
            {"height": 2, "width": 2, "frames": (Frame(role=Role.LAYER, index=1, box=(0, 0, 3, 1)),)},
            "(0, 0, 3, 1)",
        ),
        ({"height": 2, "width": 2, "frames": (Frame(role=Role.LAYER, index=1, box=(1, 1, 1, 2)),)}, "empty"),
        ({"height": 2, "width": 2, "frames": (CLEAN,), "text": (TextSpan(length=0),)}, "at least one token"),
        ({"height": 2, "width": 2, "frames": (CLEAN,), "text": (TextSpan(length=1, index=4),)}, "layer 4"),
    ],
)
def test_wrong_layouts_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Layout(**arguments)
    assert words in str(caught.value)


def test_wrong_stacks_are_refused() -> None:
    with pytest.raises(InputError, match="negative"):
        Layout.text_to_layers(2, 2, -1)
    with pytest.raises(InputError, match="3 layers"):
        Layout.text_to_layers(2, 2, 3, boxes=[None])
    with pytest.raises(InputError, match="background"):
        Layout.text_to_layers(2, 2, 1, boxes=[(0, 0, 1, 1)])
    with pytest.raises(ValueError, match=r"\(B, 4, C\)"):
        Layout.text_to_layers(2, 2, 1).crop(torch.zeros(1, 5, 1), 0)
    assert [frame.index for frame in Layout.image_to_layers(2, 2, 0).frames] == [0, -1]


def test_missing_layers_keep_their_places() -> None:
    layout = Layout.missing_layers(2, 3, 4, given=[4, 1], boxes=[None, (0, 0, 1, 2), None, None])
    assert [(frame.index, frame.noisy) for frame in layout.frames] == [
        (0, True),
        (2, True),
        (3, True),
        (1, False),
        (4, False),
    ]
    assert [frame.role for frame in layout.clean_frames] == [Role.BACKGROUND, Role.LAYER]
    assert layout.num_noisy_tokens == 6 + 2 + 6
    assert Layout.missing_layers(2, 3, 2, given=[]) == Layout.text_to_layers(2, 3, 2)
    with pytest.raises(InputError, match="nothing to make"):
        Layout.missing_layers(2, 3, 2, given=[1, 2])
    with pytest.raises(InputError, match="from 1 to 2"):
        Layout.missing_layers(2, 3, 2, given=[0])


def test_one_layer_and_an_object_with_its_effects() -> None:
    assert [(f.role, f.index, f.noisy) for f in Layout.one_layer(2, 2).frames] == [(Role.LAYER, 0, True)]
    layout = Layout.object_with_effects(2, 2)
    assert [(f.role, f.index) for f in layout.noisy_frames] == [(Role.BACKGROUND, 1), (Role.LAYER, 2)]
    assert [(f.role, f.index) for f in layout.clean_frames] == [(Role.CONDITION, -1), (Role.MASK, -2)]
