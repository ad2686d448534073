"""from_pretrained and save_pretrained: our own folder, the published layout, and parts that are loaded
already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acetate.models.frame_embedding import FrameEmbedding
from acetate.pipelines import ImageToLayersPipeline, TextToLayersPipeline


def arrays(output: Any) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in output.images[0]])


def test_round_trip(decompose: Any, picture: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    embedding = FrameEmbedding(dim=32)
    torch.nn.init.normal_(embedding.role, std=0.5)
    decompose.register_modules(frame_embedding=embedding)
    decompose.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["default_resolution"] == 64 and index["default_steps"] == 2 and index["size_multiple"] == 16
    loaded = ImageToLayersPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.default_guidance == 1.0
    assert isinstance(loaded.frame_embedding, FrameEmbedding)
    settings = {"layers": 2, "prompt": "a red cat", "seed": 1}
    # Weights mapped from a file lie at other addresses than those in memory, which moves the last bit of
    # float sums.
    assert (
        np.abs(
            arrays(loaded(picture(), **settings)).astype(int) - arrays(decompose(picture(), **settings))
        ).max()
        <= 1
    )
    document = loaded(picture(), **settings).documents[0]
    assert document.metadata["model"] == tmp_path.name
    assert str(tmp_path) not in json.dumps(document.metadata)

    generate = TextToLayersPipeline.from_pretrained(tmp_path)
    generate.set_progress_bar_config(disable=True)
    assert generate("sky", layers=2, seed=1).documents[0].width == 64


def test_the_frame_embedding_is_used(decompose: Any, picture: Any) -> None:
    plain = arrays(decompose(picture(), layers=1, seed=1))
    zero = FrameEmbedding(dim=32)
    decompose.register_modules(frame_embedding=zero)
    assert np.array_equal(arrays(decompose(picture(), layers=1, seed=1)), plain)
    torch.nn.init.normal_(zero.state, std=0.5)
    assert not np.array_equal(arrays(decompose(picture(), layers=1, seed=1)), plain)


def test_loading_through_the_checked_path(decompose: Any, picture: Any, tmp_path: Path) -> None:
    decompose.save_pretrained(tmp_path)
    loaded = ImageToLayersPipeline.load(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.default_resolution == 64
    settings = {"layers": 2, "seed": 1}
    output = loaded(picture(), **settings)
    by_diffusers = ImageToLayersPipeline.from_pretrained(tmp_path)
    by_diffusers.set_progress_bar_config(disable=True)
    assert np.array_equal(arrays(output), arrays(by_diffusers(picture(), **settings)))
    assert output.documents[0].metadata["revision"] == loaded.model_revision
    assert output.documents[0].layers[0].provenance.revision == loaded.model_revision


@pytest.fixture
def published(decompose: Any, tmp_path: Path) -> Path:
    """A tiny checkpoint laid out as ``Qwen/Qwen-Image-Layered`` is: its class names, files and processor."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    for name in ("transformer", "vae", "scheduler"):
        getattr(decompose, name).save_pretrained(tmp_path / name)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(alphabet)}
    special = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
    ]
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    text = {
        "vocab_size": len(tokenizer) + 8,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 16,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(tmp_path / "text_encoder")
    (tmp_path / "processor").mkdir()
    (tmp_path / "processor" / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen2_5_VLProcessor",
                "patch_size": 14,
                "temporal_patch_size": 2,
                "merge_size": 2,
                "min_pixels": 784,
                "max_pixels": 3136,
            }
        )
    )
    (tmp_path / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "QwenImageLayeredPipeline",
                "_diffusers_version": "0.36.0.dev0",
                "processor": ["transformers", "Qwen2VLProcessor"],
                "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
                "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
                "tokenizer": ["transformers", "Qwen2Tokenizer"],
                "transformer": ["diffusers", "QwenImageTransformer2DModel"],
                "vae": ["diffusers", "AutoencoderKLQwenImage"],
            }
        )
    )
    return tmp_path


def test_the_published_layout_loads_without_torchvision(
    published: Path, picture: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pipeline = ImageToLayersPipeline.from_pretrained(published)
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.config
    assert (config.default_resolution, config.default_steps, config.default_guidance) == (640, 50, 4.0)
    settings = {
        "layers": 2,
        "seed": 1,
        "num_inference_steps": 1,
        "width": 64,
        "height": 64,
        "true_cfg_scale": 2.0,
    }
    output = pipeline(picture(), prompt="a red cat", negative_prompt="dull", **settings)
    assert len(output.images[0]) == 2
    assert pipeline.captioner is not None
    pipeline.captioner.max_new_tokens = 2
    assert "prompt" in pipeline(picture(), prompt="a cat", **settings).documents[0].metadata
    captioned = [pipeline(picture(), **settings).documents[0].metadata.get("prompt") for _ in range(2)]
    assert captioned[0] == captioned[1]

    generate = TextToLayersPipeline.load(published)
    generate.set_progress_bar_config(disable=True)
    assert generate.captioner is not None
    assert (
        len(generate("a red cat", layers=2, seed=1, num_inference_steps=1, width=64, height=32).images[0])
        == 2
    )


def test_a_processor_may_be_passed(published: Path) -> None:
    ours = ImageToLayersPipeline.from_pretrained(published).processor
    assert ImageToLayersPipeline.from_pretrained(published, processor=ours).processor is ours
