"""GGUF files: the model that a file's rounded numbers are, computed with as diffusers does; hostile ones are refused."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from acetate.errors import InputError
from acetate.models.conversion.convert import convert_checkpoint
from acetate.models.conversion.source import open_checkpoint
from acetate.models.family import FLUX, QWEN
from acetate.models.folder import read_json
from acetate.models.loading import load_components
from acetate.models.memory.inventory import inventory_of
from acetate.models.memory.means import Means
from acetate.models.memory.plan import ladder_for
from acetate.models.memory.prediction import block_bytes, weights
from acetate.models.memory.work import Work
from acetate.models.quantised import HeldLinear
from acetate.models.quantised.gguf_file import GGUFFile, computable
from acetate.models.quantised.gguf_weights import GGUFWeights
from acetate.models.quantised.gguf_writing import write_gguf
from acetate.models.registry import resolve
from acetate.pipelines import ImageToLayersPipeline

gguf: Any = pytest.importorskip("gguf")
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
STEM = "diffusion_pytorch_model.safetensors"
KINDS = ("Q8_0", "Q5_0", "Q4_1", "BF16", "F16")


def rounded(state: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    """The same numbers through the gguf package's own rounding and back."""
    wanted = gguf.GGMLQuantizationType[kind]
    found = {}
    for key, value in state.items():
        numbers = value.float().numpy()
        if numbers.ndim == 2 and numbers.shape[1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0:
            numbers = gguf.dequantize(gguf.quantize(numbers, wanted), wanted).astype(np.float32)
        found[key] = torch.from_numpy(numbers.copy())
    return found


def layers(model: Path, **loading: Any) -> np.ndarray:
    pipeline = ImageToLayersPipeline.load(model, **loading)
    pipeline.set_progress_bar_config(disable=True)
    call = {"layers": 2, "prompt": "a red circle", "seed": 1, "num_inference_steps": 2, "resolution": 64}
    return np.stack(pipeline(PICTURE, output_type="np", **call).images[0])


@pytest.fixture
def with_weights(tiny_checkpoint: Path, tmp_path: Path) -> Any:
    """A copy of the tiny model with other weights in its transformer."""

    def made(state: dict[str, torch.Tensor]) -> Path:
        folder = shutil.copytree(tiny_checkpoint, tmp_path / "rounded", dirs_exist_ok=True)
        save_file(state, folder / "transformer" / STEM, metadata={"format": "pt"})
        return folder

    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_model_of_its_rounded_numbers(
    kind: str, tiny_checkpoint: Path, with_weights: Any, tmp_path: Path
) -> None:
    state = load_file(tiny_checkpoint / "transformer" / STEM)
    file = write_gguf(tmp_path / "tiny.gguf", state, kind)
    found = layers(tiny_checkpoint, transformer=file)
    reference = layers(with_weights(rounded(state, kind)))
    # diffusers multiplies in float16 where the file's scales are, so the last bits of a number may differ.
    assert np.abs(found - reference).max() < 2e-3
    assert kind in ("BF16", "F16") or not np.array_equal(found, layers(tiny_checkpoint))
    if kind in ("BF16", "F16"):
        assert np.array_equal(found, reference)


def test_it_waits_comes_and_goes_and_gives_the_same(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", load_file(tiny_checkpoint / "transformer" / STEM), "Q8_0")
    plain = layers(tiny_checkpoint, transformer=file)
    for means in (
        Means(dtype="float32", table=True),
        Means(dtype="float32", table=True, text_first=True),
        Means(dtype="float32", table=True, text_first=True, offload="host"),
    ):
        assert np.array_equal(layers(tiny_checkpoint, transformer=file, means=means), plain), means
    assert np.array_equal(layers(tiny_checkpoint, transformer=file, modulation_table=True), plain)


def test_the_folder_needs_no_transformer_weights(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", load_file(tiny_checkpoint / "transformer" / STEM), "Q8_0")
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "bare")
    (folder / "transformer" / STEM).unlink()
    assert np.array_equal(layers(folder, transformer=file), layers(tiny_checkpoint, transformer=file))
    with pytest.raises(InputError, match=r"has no diffusion_pytorch_model\.safetensors"):
        layers(folder)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_flux_in_its_publishers_names_computes_as_diffusers_does(
    kind: str, flux_checkpoint: Path, tmp_path: Path
) -> None:
    """Beside ours: diffusers' own GGUF loading and layers, from a file in its names; it takes others at full size only."""
    import diffusers

    convert_checkpoint(open_checkpoint(flux_checkpoint / "transformer"), "bfl").write(
        tmp_path / "bfl.safetensors"
    )
    file = write_gguf(tmp_path / "flux.gguf", load_file(tmp_path / "bfl.safetensors"), kind, "flux")
    state = load_file(flux_checkpoint / "transformer" / STEM)
    same = write_gguf(tmp_path / "diffusers.gguf", state, kind, "flux")
    config = read_json(flux_checkpoint / "transformer" / "config.json", "")
    theirs = diffusers.FluxTransformer2DModel.from_single_file(
        str(same),
        config=str(flux_checkpoint),
        subfolder="transformer",
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=torch.float32),
        torch_dtype=torch.float32,
    )
    ours = load_components(flux_checkpoint, transformer=file).transformer
    assert any(isinstance(one, HeldLinear) for one in ours.modules())
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    call = {
        "hidden_states": random(1, 12, config["in_channels"]),
        "encoder_hidden_states": random(1, 5, config["joint_attention_dim"]),
        "pooled_projections": random(1, config["pooled_projection_dim"]),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.zeros(12, 3),
        "txt_ids": torch.zeros(5, 3),
        "guidance": torch.tensor([3.5]),
        "return_dict": False,
    }
    with torch.no_grad():
        assert (ours(**call)[0] - theirs(**call)[0]).abs().max() <= 1e-5


def test_its_bytes_are_counted_where_they_are(tmp_path: Path) -> None:
    folder = resolve("tiny").path
    assert folder is not None
    shards = sorted((folder / "transformer").glob("*.safetensors"))
    state = {key: value for shard in shards for key, value in load_file(shard).items()}
    file = write_gguf(tmp_path / "tiny.gguf", state, "Q4_0")
    model = inventory_of(resolve("tiny"), file=file)
    pipeline = ImageToLayersPipeline.load("tiny", transformer=file, means=Means(dtype="float32", table=True))
    network = pipeline.transformer
    held = sum(one.nbytes for one in network.transformer_blocks.buffers())
    held += sum(one.nbytes for one in network.transformer_blocks.parameters() if not one.is_meta)
    assert held == sum(block_bytes(model, Means(dtype="float32")))
    whole, table = (
        weights(model, Work.decompose(64, 64, 2), Means(dtype="float32", table=table)).fixed
        for table in (False, True)
    )
    assert 0 < whole - table < model.modulation  # of what were four bytes a number
    steps = ladder_for(model, "cuda")
    assert steps and all(one.storage is None and one.table and one.offload != "files" for one in steps)


def test_a_file_of_another_model_is_refused(
    tiny_checkpoint: Path, flux_checkpoint: Path, tmp_path: Path
) -> None:
    state = load_file(tiny_checkpoint / "transformer" / STEM)
    config = read_json(tiny_checkpoint / "transformer" / "config.json", "")
    other = read_json(flux_checkpoint / "transformer" / "config.json", "")
    whole = write_gguf(tmp_path / "whole.gguf", state, "Q8_0")
    with pytest.raises(InputError, match="the model needs the transformer of a FluxTransformer2DModel"):
        GGUFWeights(whole, FLUX, other)
    with pytest.raises(InputError, match=r"whole\.gguf holds .* but config\.json asks for"):
        GGUFWeights(whole, QWEN, {**config, "joint_attention_dim": 48})
    lacking = {key: value for key, value in state.items() if not key.endswith("to_q.weight")}
    with pytest.raises(InputError, match=r"lacks transformer_blocks\.0\.attn\.to_q\.weight"):
        GGUFWeights(write_gguf(tmp_path / "lacking.gguf", lacking, "Q8_0"), QWEN, config)
    with pytest.raises(InputError, match="has no place for"):
        GGUFWeights(
            write_gguf(tmp_path / "more.gguf", {**state, "extra.weight": torch.ones(4)}, "Q8_0"), QWEN, config
        )
    with pytest.raises(InputError, match="is in no layout known here"):
        GGUFWeights(
            write_gguf(tmp_path / "words.gguf", {"token_embd.weight": torch.ones(4, 32)}, "Q8_0"),
            QWEN,
            config,
        )


def test_hostile_and_broken_files_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    state = load_file(tiny_checkpoint / "transformer" / STEM)
    data = write_gguf(tmp_path / "whole.gguf", state, "Q8_0").read_bytes()
    file = tmp_path / "broken.gguf"
    broken = {
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "magic alone": data[:4],
        "half a header": data[:100],
        "cut short": data[: len(data) // 2],
        "one byte short": data[:-1],
        "a version from the future": data[:4] + struct.pack("<I", 99) + data[8:],
        "a million tensors": data[:8] + struct.pack("<Q", 10**6) + data[16:],
        "endless tensors": data[:8] + struct.pack("<Q", 2**62) + data[16:],
        "endless words": data[:16] + struct.pack("<Q", 2**62) + data[24:],
        "a name of 2**60 letters": data[:24] + struct.pack("<Q", 2**60) + data[32:],
        "noise": data[:24] + np.random.default_rng(0).bytes(4096),
    }
    for what, content in broken.items():
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.gguf"):
            GGUFFile(file)
            pytest.fail(what)
    with pytest.raises(InputError, match="There is no file"):
        GGUFFile(tmp_path / "nowhere.gguf")


def test_bytes_changed_anywhere_in_the_header_never_end_in_another_error(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    data = bytearray(
        write_gguf(
            tmp_path / "w.gguf", load_file(tiny_checkpoint / "transformer" / STEM), "Q8_0"
        ).read_bytes()
    )
    random, file = np.random.default_rng(3), tmp_path / "changed.gguf"
    for _ in range(150):
        changed = bytearray(data)
        for place in random.integers(4, 3000, 3):
            changed[place] = int(random.integers(0, 256))
        file.write_bytes(changed)
        try:
            GGUFFile(file)
        except InputError as error:
            assert "changed.gguf" in str(error)


def test_types_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can be made here in F16.*not in 'Q4_K'"):
        write_gguf(tmp_path / "q4.gguf", {}, "Q4_K")


def test_types_that_cannot_be_computed_with_are_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "q1.gguf", "qwen_image")
    kind = gguf.GGMLQuantizationType.TQ1_0
    _, stored = gguf.GGML_QUANT_SIZES[kind]
    writer.add_tensor("txt_norm.weight", np.zeros((2, stored), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"holds txt_norm\.weight as TQ1_0.*Q4_K"):
        GGUFFile(tmp_path / "q1.gguf")
    assert {"Q8_0", "Q4_K", "Q6_K"} <= set(computable())
