"""What many rooms of the house need in their tests: a model folder that is small enough to run at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

WORDS = [
    "a",
    "the",
    "red",
    "blue",
    "yellow",
    "circle",
    "square",
    "star",
    "fish",
    "sky",
    "on",
    "over",
    ",",
    ".",
]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in the layout of weights/: works at 64 x 64 pixels in two steps, means nothing, is always the same."""
    import torch
    from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel

    from acetate.models.text import build_encoder, build_tokenizer

    folder = tmp_path_factory.mktemp("models") / "random"
    torch.manual_seed(0)
    QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
        use_additional_t_cond=True,
        use_layer3d_rope=True,
    ).save_pretrained(folder / "transformer")
    AutoencoderKLQwenImage(
        base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1, input_channels=4
    ).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential").save_pretrained(
        folder / "scheduler"
    )
    tokenizer = build_tokenizer(WORDS)
    tokenizer.save_pretrained(folder / "tokenizer")
    build_encoder(len(tokenizer), 16, 1, 2).save_pretrained(folder / "text_encoder")
    settings = {
        "default_resolution": 64,
        "default_steps": 2,
        "default_guidance": 1.0,
        "size_multiple": 16,
        "max_layers": 8,
    }
    index = {"_class_name": "ImageToLayersPipeline", "_diffusers_version": "0.42.1", **settings}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
