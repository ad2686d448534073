"""The same weights, noise and prompt embeddings give diffusers' own QwenImageLayeredPipeline's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import QwenImageLayeredPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_layered

from acetate.pipelines.sizes import bucket_size


class StubEncoder(torch.nn.Module):
    """What the stock pipeline asks of a text encoder when embeddings are given."""

    dtype = torch.float32
    device = torch.device("cpu")


@pytest.fixture
def stock(transformer: Any, vae: Any, scheduler: Any) -> QwenImageLayeredPipeline:
    pipeline = QwenImageLayeredPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=StubEncoder(),
        tokenizer=None,
        processor=None,
        transformer=transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("layers", "size", "guided", "normalise"),
    [(1, (64, 64), False, False), (3, (96, 64), True, True), (8, (64, 128), True, False)],
)
def test_equals_diffusers_per_layer(
    stock: Any,
    decompose: Any,
    picture: Any,
    embeds: Any,
    monkeypatch: pytest.MonkeyPatch,
    layers: int,
    size: tuple[int, int],
    guided: bool,
    normalise: bool,
) -> None:
    # Their resolution is 640 or 1024 only; the bucket is made small here, everything after it is theirs.
    monkeypatch.setattr(pipeline_qwenimage_layered, "calculate_dimensions", lambda area, ratio: size)
    shared = {
        "image": picture(*size),
        "layers": layers,
        "prompt_embeds": embeds(length=7),
        "prompt_embeds_mask": torch.tensor([[1] * 6 + [0]]),
        "num_inference_steps": 4,
        "true_cfg_scale": 4.0 if guided else 1.0,
        "cfg_normalize": normalise,
        "output_type": "pt",
    }
    if guided:
        shared["negative_prompt_embeds"] = embeds(length=4, seed=9)
    theirs = stock(prompt="said", generator=torch.Generator().manual_seed(5), **shared).images[0]
    ours = decompose(
        width=size[0], height=size[1], generator=torch.Generator().manual_seed(5), **shared
    ).images[0]
    assert ours.shape == (layers, 4, size[1], size[0])
    difference = (ours - theirs).abs().amax(dim=(1, 2, 3))
    assert float(difference.max()) <= 1e-5, difference
    assert float(ours.std()) > 0.01


def test_same_buckets_as_diffusers() -> None:
    for resolution in (640, 1024):
        for width, height in [(1920, 1080), (1000, 333), (517, 771), (640, 640), (33, 4000), (1, 1)]:
            expected = pipeline_qwenimage_layered.calculate_dimensions(
                resolution * resolution, width / height
            )
            assert bucket_size(width, height, resolution) == expected
    assert bucket_size(1920, 1080, 640) == (864, 480)
    assert bucket_size(1000, 333, 640) == (1120, 384)
    assert bucket_size(517, 771, 640) == (512, 768)
