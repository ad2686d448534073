"""What many rooms of the house need in their tests: a model folder that is small enough to run at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # several runs of the suite side by side share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

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


def write_flux(folder: Path, *, channels: int = 3, guidance: bool = True) -> Path:
    """A random FLUX.1 in the published layout, CLIP's tokenizer as vocab.json and merges.txt included: 64 tokens of text are
    slow enough. ``channels``: of the VAE; ``guidance`` False: schnell's shape and schedule."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5TokenizerFast

    torch.manual_seed(0)
    FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=12,
        axes_dims_rope=(4, 6, 6),
        guidance_embeds=guidance,
    ).save_pretrained(folder / "transformer")
    write_kl_vae(folder / "vae", channels)
    FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=guidance, shift=3.0 if guidance else 1.0
    ).save_pretrained(folder / "scheduler")
    letters = sorted(ByteLevel.alphabet())
    words = {
        word: number
        for number, word in enumerate(
            [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
        )
    }
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    clip = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=12,
        bos_token_id=words["<|startoftext|>"],
        eos_token_id=words["<|endoftext|>"],
    )
    torch.manual_seed(3)
    CLIPTextModel(clip).save_pretrained(folder / "text_encoder")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0)
    tokenizer.save_pretrained(folder / "tokenizer_2")
    t5 = T5Config(
        vocab_size=len(tokenizer),
        d_model=24,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    torch.manual_seed(4)
    T5EncoderModel(t5).save_pretrained(folder / "text_encoder_2")
    parts = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index = {"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0.dev0", **parts}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_kl_vae(folder: Path, channels: int, latent_channels: int = 16) -> Path:
    """A random AutoencoderKL of FLUX's kind."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=latent_channels,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    ).save_pretrained(folder)
    return folder


def write_alpha_parts(folder: Path) -> Path:
    """Random parts that FLUX takes alpha from, as the pipelines save them: LayerDiffuse's two and ART's two."""
    import torch

    from acetate.models.codecs import RegionDecoder
    from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
    from acetate.models.frame_embedding import LayerEmbedding

    torch.manual_seed(2)
    decoder = TransparentUNet(widths=(8, 8, 8, 16), attention_levels=1)
    torch.nn.init.normal_(decoder.latent_conv_in.weight, std=0.3)
    encoder = LatentOffsetEncoder(widths=(4, 4, 8, 8))
    torch.nn.init.normal_(encoder.blocks[-1].weight, std=3e-3)
    embedding = LayerEmbedding(32)
    torch.nn.init.normal_(embedding.layer_pe, std=0.3)
    decoder.save_pretrained(folder / "transparent_decoder")
    encoder.save_pretrained(folder / "offset_encoder")
    embedding.save_pretrained(folder / "layer_embedding")
    RegionDecoder(dim=32, heads=2, layers=1, axes=(4, 6, 6)).save_pretrained(folder / "region_decoder")
    return folder


def write_lora(file: Path, transformer: str = "flux", width: int = 32, seed: int = 5) -> Path:
    """A random LoRA of rank 2 of the attention's queries, in diffusers' names, strong enough to be seen."""
    import torch
    from safetensors.torch import save_file

    blocks = ["transformer_blocks.0.attn.to_q"]
    if transformer == "flux":
        blocks.append("single_transformer_blocks.0.attn.to_q")
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for block in blocks:
        state[f"transformer.{block}.lora_A.weight"] = torch.randn(2, width, generator=generator)
        state[f"transformer.{block}.lora_B.weight"] = torch.randn(width, 2, generator=generator)
    save_file(state, file)
    return file


@pytest.fixture(scope="session")
def flux_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random FLUX.1 dev with a 3-channel VAE; nobody writes into it."""
    return write_flux(tmp_path_factory.mktemp("models") / "flux")


@pytest.fixture(scope="session")
def schnell_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random FLUX.1 schnell with a 4-channel VAE."""
    return write_flux(tmp_path_factory.mktemp("models") / "schnell", channels=4, guidance=False)


@pytest.fixture(scope="session")
def alpha_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of parts for FLUX's alpha."""
    return write_alpha_parts(tmp_path_factory.mktemp("alpha"))


@pytest.fixture(scope="session")
def flux_tools() -> Any:
    """The functions that write such things, for tests that need their own."""
    from types import SimpleNamespace

    return SimpleNamespace(flux=write_flux, vae=write_kl_vae, alpha=write_alpha_parts, lora=write_lora)


@pytest.fixture
def one_thread() -> Any:
    """torch computes in one thread, so that sums are added in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
