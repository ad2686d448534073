"""ART's region decoder: inventory, boxes, order of layers, its file. Parity is in ``test_reference_parity.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from acetate.errors import InputError
from acetate.models.codecs import RegionDecoder
from acetate.models.frame_embedding import LayerEmbedding
from acetate.models.inventory import count_parameters, expected_shapes
from acetate.models.layout import Frame, Layout, Role

SMALL: dict[str, Any] = {"dim": 32, "heads": 2, "layers": 2, "axes": (4, 6, 6)}


def make() -> RegionDecoder:
    torch.manual_seed(0)
    return RegionDecoder(**SMALL).eval()


def layout(*frames: tuple[int, tuple[int, int, int, int] | None]) -> Layout:
    return Layout(
        height=4,
        width=6,
        frames=tuple(Frame(role=Role.LAYER, index=index, box=box) for index, box in frames),
    )


def test_the_published_inventory() -> None:
    shapes = expected_shapes(RegionDecoder, {})
    assert len(shapes) == 150 and count_parameters(shapes) == 85_265_920
    assert shapes["decoder.fc_in.weight"] == (768, 16) and shapes["decoder.fc_out.bias"] == (256,)
    layer = "decoder.encoder.layers.encoder_layer_11"
    assert shapes[f"{layer}.self_attention.in_proj_weight"] == (2304, 768)
    assert shapes[f"{layer}.mlp.0.weight"] == (3072, 768) and shapes[f"{layer}.mlp.3.bias"] == (768,)
    assert shapes["decoder.encoder.ln.weight"] == (768,)


@torch.no_grad()
def test_outside_of_boxes_is_nothing_and_inside_does_not_see_it() -> None:
    decoder, latents = make(), torch.randn(3, 16, 4, 6)
    where = layout((0, None), (1, None), (2, (1, 1, 4, 3)))
    seen = decoder(latents, where)
    assert seen.shape == (3, 4, 32, 48)
    assert not seen[2, :3, :, :8].any() and bool((seen[2, 3, 24:] == -1).all())
    assert bool(seen[2, :3, 8:24, 8:32].any())
    latents[2, :, 0] = 7.0
    assert torch.equal(decoder(latents, where), seen)
    latents[2, :, 1] = 7.0
    assert not torch.equal(decoder(latents, where)[0], seen[0])  # layers see one another


@torch.no_grad()
def test_swapping_layers_swaps_the_result() -> None:
    decoder, latents = make(), torch.randn(3, 16, 4, 6)
    first, second = (1, (0, 0, 3, 2)), (2, (2, 1, 6, 4))
    one = decoder(latents, layout((0, None), first, second))
    two = decoder(latents[[0, 2, 1]], layout((0, None), second, first))
    torch.testing.assert_close(two[[0, 2, 1]], one, rtol=0, atol=1e-5)
    moved = decoder(latents, layout((0, None), (5, first[1]), second))
    assert not torch.allclose(moved[1], one[1], atol=1e-5)  # the layer's number counts


@torch.no_grad()
def test_positions_are_whole_in_every_precision() -> None:
    decoder, seen = make().to(torch.bfloat16), []
    decoder.pos_embedding.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    wide = Layout(height=1, width=300, frames=(Frame(role=Role.LAYER, index=0),))
    decoder(torch.randn(1, 16, 1, 300, dtype=torch.bfloat16), wide)
    assert torch.equal(seen[0].long(), wide.positions())


@torch.no_grad()
def test_its_file(tmp_path: Path) -> None:
    decoder, latents = make(), torch.randn(1, 16, 4, 6)
    path = tmp_path / "transparent_decoder_ckpt.pt"
    torch.save({"model": decoder.state_dict()}, path)
    again = RegionDecoder.from_file(path, **SMALL)
    assert torch.equal(again(latents, layout((0, None))), decoder(latents, layout((0, None))))
    with pytest.raises(
        InputError, match=r"transparent_decoder_ckpt\.pt lack decoder\.encoder\.layers\.encoder_layer_2"
    ):
        RegionDecoder.from_file(path, **{**SMALL, "layers": 3})
    with pytest.raises(InputError, match="no place for"):
        RegionDecoder.from_file(path, **{**SMALL, "layers": 1})
    with pytest.raises(InputError, match="There is no file"):
        RegionDecoder.from_file(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="3 frames of 4 x 6"):
        decoder(latents, layout((0, None), (1, None), (2, None)))


def test_the_layer_embedding() -> None:
    embedding = LayerEmbedding(8, layers=4)
    with torch.no_grad():
        embedding.layer_pe[0, 2] = 1
    rows = embedding(layout((0, None), (2, (0, 0, 2, 2))))
    assert rows.shape == (28, 8) and not rows[:24].any() and bool((rows[24:] == 1).all())
    with pytest.raises(InputError, match="knows 4 layers, not layer 9"):
        embedding(layout((9, None)))
    assert list(embedding.state_dict()) == ["layer_pe"] and embedding.layer_pe.shape == (1, 4, 1, 1, 8)
