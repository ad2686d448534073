"""Loading from checkpoints in the published layout, and one clear sentence for each that cannot be loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from PIL import Image
from safetensors.torch import load_file, save_file

from acetate.errors import InputError
from acetate.models.codecs import QwenRGBACodec
from acetate.models.frame_embedding import FrameEmbedding
from acetate.models.layout import Layout
from acetate.models.loading import load_components
from acetate.models.text import EmbeddedTextEncoder, QwenTextEncoder


@torch.no_grad()
def run(parts: Any, prompt: str) -> torch.Tensor:
    layout = Layout.image_to_layers(2, 3, 2, [None, (0, 0, 2, 1)])
    tokens = torch.randn(1, layout.num_image_tokens, 64, generator=torch.Generator().manual_seed(0))
    return parts.backbone.velocity(tokens, torch.tensor([0.5]), parts.text.encode([prompt]), layout)


def test_the_embedded_layout(embedded_folder: Path) -> None:
    parts = load_components(embedded_folder)
    assert isinstance(parts.text, EmbeddedTextEncoder)
    assert parts.captioner is None and parts.processor is None
    assert parts.frame_embedding is not None and bool(parts.frame_embedding.role.any())
    saved = QwenImageTransformer2DModel.from_pretrained(embedded_folder / "transformer").state_dict()
    loaded = parts.transformer.state_dict()
    assert loaded.keys() == saved.keys() and all(torch.equal(loaded[key], saved[key]) for key in saved)
    assert not parts.transformer.training and not parts.vae.training and not parts.encoder.training
    assert parts.scheduler.config.use_dynamic_shifting
    assert run(parts, "a red circle").isfinite().all()
    assert QwenRGBACodec(parts.vae).encode(torch.zeros(1, 4, 16, 16)).shape == (1, 16, 2, 2)
    assert parts.revision == load_components(embedded_folder).revision and len(parts.revision) == 16


def test_the_qwen_layout(qwen_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(list((qwen_folder / "transformer").glob("*-of-*.safetensors"))) > 2
    parts = load_components(str(qwen_folder))
    assert isinstance(parts.text, QwenTextEncoder) and parts.frame_embedding is None
    assert len(parts.tokenizer("<|im_start|>ab<|image_pad|>").input_ids) == 4
    assert parts.captioner is not None and parts.captioner.model is parts.encoder
    parts.captioner.max_new_tokens = 2
    assert isinstance(parts.captioner.caption(Image.new("RGB", (40, 40))), str)
    assert run(parts, "a red circle").isfinite().all()


def test_a_processor_saved_by_this_library_is_found_too(qwen_folder: Path) -> None:
    processor = load_components(qwen_folder).processor
    assert processor is not None
    shutil.rmtree(qwen_folder / "processor")
    processor.save_pretrained(qwen_folder / "processor")
    assert not (qwen_folder / "processor" / "preprocessor_config.json").exists()
    again = load_components(qwen_folder).processor
    assert again is not None and again.image_processor.merge_size == processor.image_processor.merge_size


def test_without_a_processor_there_is_no_captioner(qwen_folder: Path) -> None:
    shutil.rmtree(qwen_folder / "processor")
    assert load_components(qwen_folder).captioner is None


def test_dtype_and_revision(embedded_folder: Path) -> None:
    parts = load_components(embedded_folder, dtype=torch.bfloat16)
    assert {m.dtype for m in (parts.transformer, parts.vae, parts.encoder, parts.frame_embedding)} == {
        torch.bfloat16
    }
    assert run(parts, "a star").isfinite().all()
    lean = load_components(embedded_folder, dtype=torch.bfloat16, modulation_table=True)
    assert {one.dtype for one in lean.transformer.parameters()} == {torch.bfloat16}
    file = embedded_folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state["decoder.conv_out.bias"] += 1
    save_file(state, file)
    assert load_components(embedded_folder).revision != parts.revision


def edit_json(name: str, **changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return damage


def edit_weights(name: str, edit: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / name)
        edit(state)
        save_file(state, folder / name, metadata={"format": "pt"})

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text)


def widen_frame_embedding(folder: Path) -> None:
    FrameEmbedding(16).save_pretrained(folder / "frame_embedding")


TRANSFORMER, VAE = "transformer/config.json", "vae/config.json"
TRANSFORMER_FILE = "transformer/diffusion_pytorch_model.safetensors"
ENCODER_FILE = "text_encoder/model.safetensors"
DAMAGES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no index": (remove("model_index.json"), ["model_index.json"]),
    "a FLUX model": (
        write("model_index.json", '{"_class_name": "FluxPipeline"}'),
        ["describes a QwenImageTransformer2DModel, but a FluxTransformer2DModel is needed"],
    ),
    "another family": (
        write("model_index.json", '{"_class_name": "StableDiffusionXLPipeline"}'),
        ["is a StableDiffusionXLPipeline", "no adapter"],
    ),
    "a frame embedding for another transformer": (
        widen_frame_embedding,
        ["frame embedding has width 16", "works at 32", "frame_embedding folder that belongs"],
    ),
    "no config": (remove(VAE), ["no config.json", "vae"]),
    "no scheduler": (remove("scheduler/scheduler_config.json"), ["no scheduler_config.json"]),
    "no weights": (remove(TRANSFORMER_FILE), ["no diffusion_pytorch_model.safetensors", "transformer"]),
    "no encoder": (remove(ENCODER_FILE), ["no model.safetensors", "text_encoder"]),
    "no tokenizer": (remove("tokenizer/tokenizer.json"), ["tokenizer.json", "vocab.json"]),
    "broken JSON": (write(TRANSFORMER, '{"_class_name": '), ["config.json cannot be read as JSON"]),
    "JSON list": (write(VAE, "[]"), ["JSON object, not a list"]),
    "other class": (
        edit_json(TRANSFORMER, _class_name="FluxTransformer2DModel"),
        ["describes a FluxTransformer2DModel, but a QwenImageTransformer2DModel"],
    ),
    "RGB VAE": (edit_json(VAE, input_channels=3), ["3 channels", "need 4", "widen_rgb_vae"]),
    "mis-shaped": (
        edit_weights(TRANSFORMER_FILE, lambda state: state.update({"img_in.weight": torch.zeros(32, 60)})),
        [TRANSFORMER_FILE, "img_in.weight as (32 x 60)", "asks for (32 x 64)"],
    ),
    "missing key": (
        edit_weights(TRANSFORMER_FILE, lambda state: state.pop("proj_out.bias")),
        ["transformer lack proj_out.bias (64)"],
    ),
    "extra key": (
        edit_weights(
            "vae/diffusion_pytorch_model.safetensors", lambda state: state.update(extra=torch.zeros(1))
        ),
        ["holds extra", "no place"],
    ),
    "quantised before": (
        edit_json(TRANSFORMER, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        ["was quantised with bitsandbytes", "--quantise nf4", "--transformer"],
    ),
    "absurd depth": (edit_json(TRANSFORMER, num_layers=10**9), ["asks for 1000000000 blocks"]),
    "impossible": (
        edit_json(TRANSFORMER, num_attention_heads="two"),
        ["no possible QwenImageTransformer2DModel"],
    ),
    "other encoder": (
        edit_json("text_encoder/config.json", architectures=["CLIPTextModel"]),
        ["CLIPTextModel", "T5EncoderModel"],
    ),
    "wrong width": (
        edit_json("text_encoder/config.json", d_model=24),
        ["width 24", "takes 16", "wrong encoder"],
    ),
    "other VAE": (edit_json(TRANSFORMER, in_channels=32), ["img_in.weight", "asks for (32 x 32)"]),
    "mis-shaped encoder": (
        edit_weights(ENCODER_FILE, lambda state: state.update({"shared.weight": torch.zeros(5, 16)})),
        ["shared.weight as (5 x 16)", "asks for"],
    ),
    "missing encoder key": (
        edit_weights(ENCODER_FILE, lambda state: state.pop("encoder.final_layer_norm.weight")),
        ["text_encoder lack encoder.final_layer_norm.weight"],
    ),
    "truncated encoder": (
        lambda folder: (folder / ENCODER_FILE).write_bytes((folder / ENCODER_FILE).read_bytes()[:-7]),
        [ENCODER_FILE, "no complete safetensors file"],
    ),
    "broken tokenizer": (write("tokenizer/tokenizer.json", '{"model": 3}'), ["tokenizer", "cannot be read"]),
    "frame embedding of another width": (
        edit_json("frame_embedding/config.json", dim=16),
        ["frame_embedding", "asks for (10 x 16)"],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_one_sentence_with_a_remedy(embedded_folder: Path, name: str) -> None:
    damage, words = DAMAGES[name]
    damage(embedded_folder)
    with pytest.raises(InputError) as caught:
        load_components(embedded_folder)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert (
        "copy the whole model folder again" in message
        or "widen_rgb_vae" in message
        or "give the folder" in message.lower()
        or "use the frame_embedding folder" in message
    )


def test_missing_merges_and_a_missing_shard_are_named(qwen_folder: Path) -> None:
    merges = (qwen_folder / "tokenizer" / "merges.txt").rename(qwen_folder / "merges.txt")
    with pytest.raises(InputError, match=r"neither tokenizer\.json nor merges\.txt"):
        load_components(qwen_folder)
    merges.rename(qwen_folder / "tokenizer" / "merges.txt")
    shard = sorted((qwen_folder / "transformer").glob("*-of-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(InputError, match=shard.name):
        load_components(qwen_folder)
