from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from acetate.models.frame_embedding import NUM_ROLES, FrameEmbedding
from acetate.models.layout import Layout, Role


def test_every_token_gets_its_frames_role_and_state() -> None:
    embedding = FrameEmbedding(4)
    nn.init.normal_(embedding.role)
    nn.init.normal_(embedding.state)
    layout = Layout.image_to_layers(2, 3, 2, [None, (0, 0, 1, 2)])
    result = embedding(layout)
    assert result.shape == (layout.num_image_tokens, 4)
    roles = list(Role)
    for frame, where in zip(layout.frames, layout.slices, strict=True):
        expected = embedding.role[roles.index(frame.role)] + embedding.state[0 if frame.noisy else 1]
        assert torch.equal(result[where], expected.expand(where.stop - where.start, 4))


def test_a_fresh_one_is_zero_and_its_hook_comes_and_goes() -> None:
    embedding, layer = FrameEmbedding(4), nn.Linear(3, 4)
    assert not any(bool(p.any()) for p in embedding.parameters())
    assert embedding.role.shape == (NUM_ROLES, 4)
    layout, x = Layout.text_to_layers(2, 2, 1), torch.randn(3, 8, 3)
    plain = layer(x)
    with embedding.installed(layer, layout):
        assert torch.equal(layer(x), plain)
        embedding.state.data[0] = 1.0
        assert torch.allclose(layer(x), plain + 1)
        assert layer.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
    assert not layer._forward_hooks


def test_saves_and_loads_like_any_component(tmp_path: Path) -> None:
    embedding = FrameEmbedding(4)
    nn.init.normal_(embedding.role)
    embedding.save_pretrained(tmp_path)
    again = FrameEmbedding.from_pretrained(tmp_path)
    assert again.config["dim"] == 4
    assert torch.equal(again.role, embedding.role)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
