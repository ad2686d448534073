"""FLUX.1 folders: what is loaded, from where alpha comes, and one sentence for each folder that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import load_file, save_file

from acetate.errors import InputError
from acetate.models import loading
from acetate.models.backbones import FluxBackbone
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet, files
from acetate.models.codecs.region_decoder import RegionDecoder
from acetate.models.family import FLUX, QWEN, check_task, family_of
from acetate.models.folder import fingerprint
from acetate.models.frame_embedding import LayerEmbedding
from acetate.models.loading import load_components
from acetate.models.modulation import find_table
from acetate.models.text import FluxTextEncoder
from acetate.models.transparency import find_alpha
from acetate.pipelines import FluxTransparentImagePipeline, ImageToLayersPipeline, RegionLayersPipeline

from .test_loading import edit_json, edit_weights, remove, write


@pytest.fixture
def folder(flux_checkpoint: Path, alpha_parts: Path, tmp_path: Path) -> Path:
    """A FLUX of one's own, with everything that alpha comes from."""
    made = shutil.copytree(flux_checkpoint, tmp_path / "flux")
    return Path(shutil.copytree(alpha_parts, made, dirs_exist_ok=True))


def test_the_published_layout(flux_checkpoint: Path) -> None:
    parts = load_components(flux_checkpoint)
    assert isinstance(parts.backbone, FluxBackbone) and isinstance(parts.text, FluxTextEncoder)
    assert parts.family is FLUX and set(parts.more) == {"tokenizer_2", "text_encoder_2"}
    saved = FluxTransformer2DModel.from_pretrained(flux_checkpoint / "transformer").state_dict()
    loaded = parts.transformer.state_dict()
    assert loaded.keys() == saved.keys() and all(torch.equal(loaded[key], saved[key]) for key in saved)
    assert not parts.transformer.training and not parts.vae.training and not parts.encoder.training
    stock = FluxPipeline.from_pretrained(flux_checkpoint)
    with torch.no_grad():
        embeds, pooled, _ = stock.encode_prompt("a red fish, over the sea", None, max_sequence_length=512)
        mine = parts.text.encode(["a red fish, over the sea"])
    torch.testing.assert_close(mine.embeds, embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(mine.pooled, pooled, rtol=0, atol=1e-5)
    assert parts.revision == fingerprint(flux_checkpoint)


def test_dtype_the_table_and_shards(folder: Path) -> None:
    whole = FluxTransformer2DModel.from_pretrained(folder / "transformer")
    shutil.rmtree(folder / "transformer")
    whole.save_pretrained(folder / "transformer", max_shard_size="40KB")
    assert len(list((folder / "transformer").glob("*-of-*.safetensors"))) > 2
    parts = load_components(folder, dtype=torch.bfloat16, modulation_table=True)
    networks = (parts.transformer, parts.vae, parts.encoder, *parts.more.values())
    assert {one.dtype for one in networks if isinstance(one, torch.nn.Module)} == {torch.bfloat16}
    assert find_table(parts.transformer) is not None
    assert not any("norm1.linear" in key for key in parts.transformer.state_dict())


def test_parts_in_the_folder_are_loaded(folder: Path) -> None:
    parts = load_components(folder)
    classes = {name: type(part) for name, part in parts.more.items()}
    assert (
        classes["transparent_decoder"] is TransparentUNet and classes["offset_encoder"] is LatentOffsetEncoder
    )
    assert classes["region_decoder"] is RegionDecoder and classes["layer_embedding"] is LayerEmbedding
    assert FluxTransparentImagePipeline.from_components(parts).offset_encoder is parts.more["offset_encoder"]
    regions = RegionLayersPipeline.load(folder)
    assert regions.region_decoder is not None and regions.layer_embedding is not None
    assert regions.name == str(folder) and regions.model_revision == parts.revision


def test_alpha_from_elsewhere(
    flux_checkpoint: Path, alpha_parts: Path, flux_tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = load_components(flux_checkpoint, transparency=alpha_parts, task="transparent")
    assert isinstance(beside.more["transparent_decoder"], TransparentUNet)
    vae = flux_tools.vae(tmp_path / "alphavae", 4)
    for given in (vae, vae.parent):  # the VAE itself, or a model's folder with a vae/
        if given == vae.parent:
            vae.rename(tmp_path / "vae")
        wide = load_components(flux_checkpoint, transparency=given, task="generate")
        assert wide.vae.config.in_channels == 4 and "region_decoder" not in wide.more
    monkeypatch.setattr(files, "PUBLISHED_DECODER", {"widths": (8, 8, 8, 16), "attention_levels": 1})
    monkeypatch.setattr(files, "PUBLISHED_ENCODER", {"widths": (4, 4, 8, 8)})
    state = {
        f"{name.split('_')[1]}.{key}" if name == "transparent_decoder" else f"encoder.{key}": value
        for name in ("transparent_decoder", "offset_encoder")
        for key, value in beside.more[name].state_dict().items()
    }
    torch.save(state, tmp_path / "TransparentVAE.pth")
    save_file(state, tmp_path / "TransparentVAE.safetensors")
    for name in ("TransparentVAE.pth", "TransparentVAE.safetensors"):
        parts = load_components(flux_checkpoint, transparency=tmp_path / name, task="transparent")
        for part in ("transparent_decoder", "offset_encoder"):
            mine, theirs = parts.more[part].state_dict(), beside.more[part].state_dict()
            assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    sdxl = TransparentUNet(latent_channels=4, widths=(8, 8, 8, 16), attention_levels=1).state_dict()
    save_file(sdxl, tmp_path / "vae_transparent_decoder.safetensors")
    with pytest.raises(InputError, match="made for 4 latent channels, but this model has 16"):
        load_components(flux_checkpoint, transparency=tmp_path / "vae_transparent_decoder.safetensors")
    decoder = RegionDecoder(dim=32, heads=2, layers=1, axes=(4, 6, 6)).state_dict()
    torch.save({"model": decoder}, tmp_path / "transparent_decoder_ckpt.pt")
    found = find_alpha(flux_checkpoint, tmp_path / "transparent_decoder_ckpt.pt", "")
    assert found.file_task == "generate"
    with pytest.raises(InputError, match="is for `acetate generate`, not for `acetate transparent`"):
        load_components(
            flux_checkpoint, transparency=tmp_path / "transparent_decoder_ckpt.pt", task="transparent"
        )


CONFIG, VAE = "transformer/config.json", "vae/config.json"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def swap_encoders(folder: Path) -> None:
    (folder / "text_encoder").rename(folder / "x")
    (folder / "text_encoder_2").rename(folder / "text_encoder")
    (folder / "x").rename(folder / "text_encoder_2")


def put_schnells_weights(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    FluxTransformer2DModel.from_config({**config, "guidance_embeds": False}).save_pretrained(
        folder / "transformer"
    )
    edit_json(CONFIG, guidance_embeds=True)(folder)


def widen_inputs(factor: int) -> Callable[[Path], None]:
    return edit_json(CONFIG, in_channels=64 * factor, out_channels=64)


def narrow_embedding(folder: Path) -> None:
    LayerEmbedding(16).save_pretrained(folder / "layer_embedding")


def drop_tokenizer_2(folder: Path) -> None:
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    (folder / "tokenizer_2" / "spiece.model").write_bytes(b"x")


DAMAGES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no second encoder": (
        lambda folder: shutil.rmtree(folder / "text_encoder_2"),
        ["no config.json", "text_encoder_2"],
    ),
    "encoders swapped": (
        swap_encoders,
        ["text encoder T5EncoderModel", "FLUX has CLIP there", "changed places"],
    ),
    "a Qwen encoder": (
        edit_json("text_encoder/config.json", architectures=["Qwen2_5_VLForConditionalGeneration"]),
        ["Qwen2_5_VLForConditionalGeneration", "FLUX has CLIP there"],
    ),
    "another CLIP": (
        edit_json("text_encoder/config.json", hidden_size=20),
        ["width 20", "takes 12 from CLIP", "wrong encoder"],
    ),
    "another T5": (
        edit_json("text_encoder_2/config.json", d_model=48),
        ["width 48", "takes 24 from T5", "wrong encoder"],
    ),
    "no merges": (remove("tokenizer/merges.txt"), ["neither tokenizer.json nor merges.txt"]),
    "only sentencepiece": (drop_tokenizer_2, ["no tokenizer.json", "tokenizer_2"]),
    "no T5 weights": (remove("text_encoder_2/model.safetensors"), ["no model.safetensors", "text_encoder_2"]),
    "a T5 key is missing": (
        edit_weights(
            "text_encoder_2/model.safetensors", lambda state: state.pop("encoder.final_layer_norm.weight")
        ),
        ["text_encoder_2 lack encoder.final_layer_norm.weight"],
    ),
    "no scheduler": (remove("scheduler/scheduler_config.json"), ["no scheduler_config.json"]),
    "Depth": (
        widen_inputs(2),
        ["128 channels per token, 64 of them noise", "Depth or Canny", "dev or schnell"],
    ),
    "Fill": (widen_inputs(6), ["384 channels", "FLUX.1 Fill"]),
    "an odd input": (widen_inputs(3), ["takes 192 channels", "give 64", "different models"]),
    "dev's config, schnell's weights": (
        put_schnells_weights,
        ["that of FLUX.1 dev (guidance_embeds true)", "no guidance embedder, as schnell's"],
    ),
    "schnell's config, dev's weights": (
        edit_json(CONFIG, guidance_embeds=False),
        ["that of FLUX.1 schnell (guidance_embeds false)", "a guidance embedder, as dev's"],
    ),
    "a Qwen transformer": (
        edit_json(CONFIG, _class_name="QwenImageTransformer2DModel"),
        ["describes a QwenImageTransformer2DModel, but a FluxTransformer2DModel is needed"],
    ),
    "a Qwen VAE": (edit_json(VAE, _class_name="AutoencoderKLQwenImage"), ["but a AutoencoderKL is needed"]),
    "an SDXL VAE": (edit_json(VAE, latent_channels=4), ["takes 64 channels", "give 16", "different models"]),
    "no single blocks": (edit_json(CONFIG, num_single_layers=-1), ["asks for -1 blocks"]),
    "missing key": (
        edit_weights(WEIGHTS, lambda state: state.pop("proj_out.bias")),
        ["transformer lack proj_out.bias (64)"],
    ),
    "extra key": (
        edit_weights(WEIGHTS, lambda state: state.update(x=torch.zeros(1))),
        ["holds x", "no place"],
    ),
    "mis-shaped": (
        edit_weights(WEIGHTS, lambda state: state.update({"x_embedder.weight": torch.zeros(32, 60)})),
        ["x_embedder.weight as (32 x 60)", "asks for (32 x 64)"],
    ),
    "truncated": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]),
        ["no complete safetensors file"],
    ),
    "a decoder of SDXL": (
        lambda folder: TransparentUNet(
            latent_channels=4, widths=(8, 8, 8, 16), attention_levels=1
        ).save_pretrained(folder / "transparent_decoder"),
        ["transparent_decoder", "reads 4 latent channels, but the VAE makes 16"],
    ),
    "a layer embedding of another transformer": (narrow_embedding, ["width 16", "works at 32"]),
    "another class of decoder": (
        edit_json("region_decoder/config.json", _class_name="TransparentUNet"),
        ["describes a TransparentUNet, but a RegionDecoder is needed"],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_one_sentence_with_a_remedy(folder: Path, name: str) -> None:
    damage, words = DAMAGES[name]
    damage(folder)
    with pytest.raises(InputError) as caught:
        load_components(folder)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "copy the whole model folder again" in message or "Give FLUX.1 dev or schnell" in message


def other_index(**content: Any) -> Callable[[Path], Any]:
    return write("model_index.json", json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            other_index(_class_name="StableDiffusion3Pipeline"),
            ["is a StableDiffusion3Pipeline", "no adapter"],
        ),
        (other_index(_class_name="Flux2Pipeline"), ["is a Flux2Pipeline", "FLUX.1"]),
        (
            other_index(_class_name="SanaPipeline", transformer=["diffusers", "SanaTransformer2DModel"]),
            ["is a SanaPipeline on a SanaTransformer2DModel"],
        ),
        (
            other_index(_class_name="QwenImageLayeredPipeline"),
            ["describes a FluxTransformer2DModel, but a QwenImageTransformer2DModel is needed"],
        ),
    ],
)
def test_other_families_and_mixed_indices(folder: Path, damage: Any, words: list[str]) -> None:
    damage(folder)
    with pytest.raises(InputError) as caught:
        load_components(folder)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_family_is_told_by_the_index() -> None:
    here = Path("model")
    assert family_of(here, {"_class_name": "FluxKontextPipeline"}) is FLUX
    saved = {"_class_name": "RegionLayersPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    assert family_of(here, saved) is FLUX
    assert family_of(here, {"_class_name": "ImageToLayersPipeline"}) is family_of(here, {}) is QWEN
    for task in ("decompose", "complete", "extract"):
        with pytest.raises(
            InputError, match=f"m is FLUX, which cannot do `acetate {task}`: it makes a single"
        ):
            check_task(FLUX, task, "m")
    check_task(QWEN, "decompose", "m")


def test_where_there_is_no_alpha(
    flux_checkpoint: Path, tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path
) -> None:
    def says(transparency: Path | None, task: str = "transparent", model: Path = flux_checkpoint) -> str:
        with pytest.raises(InputError) as caught:
            load_components(model, transparency=transparency, task=task)
        return str(caught.value)

    assert "works on 3 channels, so FLUX alone makes no alpha" in says(None)
    assert "TransparentVAE" in says(None) and "ART's region decoder" in says(None, "generate")
    assert "There is no file or folder" in says(tmp_path / "nowhere")
    assert "holds nothing that makes alpha" in says(tmp_path)
    rgb = flux_tools.vae(tmp_path / "rgb", 3)
    assert "AutoencoderKL of 3 channels, which makes no alpha" in says(rgb)
    sdxl = flux_tools.vae(tmp_path / "sdxl", 4, 4)
    assert "made for 4 latent channels, but this model has 16" in says(sdxl)
    assert "is a LoRA, which makes no alpha" in says(flux_tools.lora(tmp_path / "lora.safetensors"))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert "holds neither LayerDiffuse's decoder nor ART's" in says(tmp_path / "x.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 nothing")
    assert "cannot be read as a file of weights" in says(tmp_path / "broken.pth")
    assert "makes alpha by itself" in says(rgb, model=tiny_checkpoint)
    broken = flux_tools.vae(tmp_path / "broken", 4) / "diffusion_pytorch_model.safetensors"
    state = load_file(broken)
    state.pop("decoder.conv_out.bias")
    save_file(state, broken)
    assert "lack decoder.conv_out.bias" in says(broken.parent)


def test_one_source_of_alpha_at_a_time(
    folder: Path, schnell_checkpoint: Path, alpha_parts: Path, flux_tools: Any, tmp_path: Path
) -> None:
    parts = load_components(folder, transparency=flux_tools.vae(tmp_path / "alphavae", 4))
    assert parts.vae.config.in_channels == 4
    assert set(parts.more) == {"text_encoder_2", "tokenizer_2", "layer_embedding"}
    with pytest.raises(InputError, match="this model's VAE works on 4 channels and makes it by itself"):
        load_components(schnell_checkpoint, transparency=alpha_parts)
    flux_tools.vae(folder / "vae", 4)
    with pytest.raises(InputError, match="leave one of the two out"):
        load_components(folder)


def test_pipelines_refuse_the_other_family(
    flux_checkpoint: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="is FLUX; this pipeline runs Qwen-Image only"):
        ImageToLayersPipeline.from_components(load_components(flux_checkpoint))
    with monkeypatch.context() as patch:  # before anything of the model is loaded
        patch.setattr(loading, "no_progress_bars", None)
        with pytest.raises(InputError, match="is FLUX; this pipeline runs Qwen-Image only"):
            ImageToLayersPipeline.load(flux_checkpoint)
        with pytest.raises(InputError, match="is Qwen-Image; this pipeline runs FLUX only"):
            RegionLayersPipeline.load(tiny_checkpoint)
    with pytest.raises(InputError, match="FLUX alone makes no alpha"):
        FluxTransparentImagePipeline.load(flux_checkpoint)
    with pytest.raises(InputError, match="no alpha; give LayerDiffuse's"):
        FluxTransparentImagePipeline.from_components(load_components(flux_checkpoint))
