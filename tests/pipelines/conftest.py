"""Tiny random models in the published classes; no downloads, no trained weights. Run: pytest
tests/pipelines"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from PIL import Image

from acetate.models.frame_embedding import FrameEmbedding
from acetate.models.text import build_encoder, build_tokenizer
from acetate.pipelines.image_to_layers import ImageToLayersPipeline
from acetate.pipelines.text_to_layers import TextToLayersPipeline

TEXT_DIM = 16

# The values of the public model's scheduler_config.json that its arithmetic depends on.
SCHEDULER = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 8192,
    "max_shift": 0.9,
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: more threads only wait for each other, and results depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_transformer(seed: int = 0, **changes: Any) -> QwenImageTransformer2DModel:
    torch.manual_seed(seed)
    settings = {
        "patch_size": 2,
        "in_channels": 64,
        "out_channels": 16,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": TEXT_DIM,
        "axes_dims_rope": (4, 6, 6),
        "use_additional_t_cond": True,
        "use_layer3d_rope": True,
    }
    return QwenImageTransformer2DModel(**{**settings, **changes}).eval()


def make_vae(seed: int = 1) -> AutoencoderKLQwenImage:
    torch.manual_seed(seed)
    return AutoencoderKLQwenImage(
        base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1, input_channels=4
    ).eval()


@pytest.fixture(scope="session")
def vae() -> AutoencoderKLQwenImage:
    return make_vae()


@pytest.fixture
def new_vae() -> Callable[..., AutoencoderKLQwenImage]:
    """A VAE of one's own, for tests that change it; ``vae`` is shared by the session."""
    return make_vae


@pytest.fixture
def transformer() -> QwenImageTransformer2DModel:
    return make_transformer()


@pytest.fixture
def new_transformer() -> Callable[..., QwenImageTransformer2DModel]:
    return make_transformer


@pytest.fixture
def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**SCHEDULER)


@pytest.fixture(scope="session")
def text_parts() -> dict[str, Any]:
    torch.manual_seed(2)
    tokenizer = build_tokenizer(["a", "red", "blue", "cat", "dog", "on", "the", "sky", "star"])
    return {"tokenizer": tokenizer, "text_encoder": build_encoder(len(tokenizer), TEXT_DIM, 1, 2).eval()}


SMALL = {"default_resolution": 64, "default_steps": 2, "default_guidance": 1.0, "size_multiple": 16}


@pytest.fixture
def parts(transformer: Any, vae: Any, scheduler: Any, text_parts: dict[str, Any]) -> dict[str, Any]:
    return {"transformer": transformer, "vae": vae, "scheduler": scheduler, **text_parts, **SMALL}


@pytest.fixture
def decompose(parts: dict[str, Any]) -> ImageToLayersPipeline:
    return quiet(ImageToLayersPipeline(**parts))


@pytest.fixture
def generate(parts: dict[str, Any]) -> TextToLayersPipeline:
    frame_embedding = FrameEmbedding(dim=32)
    return quiet(TextToLayersPipeline(**parts, frame_embedding=frame_embedding))


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    def make(width: int = 64, height: int = 64, mode: str = "RGBA", seed: int = 0) -> Image.Image:
        """Random colour, alpha 1..255: nothing hides under a transparent pixel."""
        values = np.random.default_rng(seed).integers(1, 256, (height, width, 4), dtype=np.uint8)
        return Image.fromarray(values, "RGBA").convert(mode)

    return make


@pytest.fixture
def embeds() -> Callable[..., torch.Tensor]:
    def make(batch: int = 1, length: int = 5, seed: int = 3) -> torch.Tensor:
        return torch.randn(batch, length, TEXT_DIM, generator=torch.Generator().manual_seed(seed))

    return make
