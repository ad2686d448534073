"""Tiny random parts of the published classes, and model folders in the published layout made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel

from acetate.models.frame_embedding import FrameEmbedding
from acetate.models.text import build_encoder, build_tokenizer

WORDS = ["a", "the", "red", "blue", "green", "circle", "square", "star", "on", "over", "white", ",", ".", "!"]
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
]


def make_transformer(**changes: Any) -> QwenImageTransformer2DModel:
    config: dict[str, Any] = {
        "in_channels": 64,
        "out_channels": 16,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "axes_dims_rope": (4, 6, 6),
        "use_additional_t_cond": True,
        "use_layer3d_rope": True,
    }
    torch.manual_seed(0)
    return QwenImageTransformer2DModel(**{**config, **changes}).eval()


def make_vae(**changes: Any) -> AutoencoderKLQwenImage:
    config: dict[str, Any] = {
        "base_dim": 8,
        "z_dim": 16,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "input_channels": 4,
    }
    torch.manual_seed(1)
    return AutoencoderKLQwenImage(**{**config, **changes}).eval()


def make_qwen_tokenizer() -> Any:
    """Byte-level Qwen2 tokenizer with no merges: one token per byte, plus the special tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {token: number for number, token in enumerate(sorted(ByteLevel.alphabet()))}
    for token in SPECIAL:
        vocabulary[token] = len(vocabulary)
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    return tokenizer


def write_published_tokenizer(tokenizer: Any, folder: Path) -> None:
    """vocab.json, merges.txt and tokenizer_config.json, as the hub has them (no tokenizer.json)."""
    folder.mkdir(parents=True)
    words = {token: number for token, number in tokenizer.get_vocab().items() if token not in SPECIAL}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    added = {tokenizer.convert_tokens_to_ids(t): {"content": t, "special": True, **flags} for t in SPECIAL}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL[1:],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def make_qwen_encoder(tokenizer: Any, width: int = 16) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    torch.manual_seed(2)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=len(tokenizer) + 1,
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


@pytest.fixture(scope="session")
def qwen_parts() -> tuple[Any, Any]:
    """A tiny Qwen2 tokenizer and Qwen2.5-VL of width 16."""
    tokenizer = make_qwen_tokenizer()
    return tokenizer, make_qwen_encoder(tokenizer)


@pytest.fixture
def transformer() -> Callable[..., QwenImageTransformer2DModel]:
    return make_transformer


@pytest.fixture
def vae() -> Callable[..., AutoencoderKLQwenImage]:
    return make_vae


def _write_shared(folder: Path, shard_size: str = "10GB") -> None:
    make_transformer().save_pretrained(folder / "transformer", max_shard_size=shard_size)
    make_vae().save_pretrained(folder / "vae")
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential")
    scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": "QwenImageLayeredPipeline", "_diffusers_version": "0.42.1"}
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.fixture
def embedded_folder(tmp_path: Path) -> Path:
    """A tiny model in the layout of weights/, frame embedding included."""
    folder = tmp_path / "embedded"
    _write_shared(folder)
    tokenizer = build_tokenizer(WORDS)
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(3)
    build_encoder(len(tokenizer), 16, 1, 2).save_pretrained(folder / "text_encoder")
    embedding = FrameEmbedding(32)
    torch.nn.init.normal_(embedding.role)
    embedding.save_pretrained(folder / "frame_embedding")
    return folder


@pytest.fixture
def qwen_folder(tmp_path: Path, qwen_parts: tuple[Any, Any]) -> Path:
    """A tiny model in the layout of Qwen/Qwen-Image-Layered: sharded transformer, processor."""
    from transformers import Qwen2VLImageProcessorPil

    folder = tmp_path / "qwen"
    _write_shared(folder, shard_size="40KB")
    tokenizer, encoder = qwen_parts
    write_published_tokenizer(tokenizer, folder / "tokenizer")
    encoder.save_pretrained(folder / "text_encoder")
    Qwen2VLImageProcessorPil().save_pretrained(folder / "processor")
    return folder
