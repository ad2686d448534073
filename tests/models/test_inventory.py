"""The published checkpoint at full size, key by key, without its weights (acceptance 6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from acetate.errors import InputError
from acetate.models.inventory import (
    PUBLISHED_TRANSFORMER,
    PUBLISHED_VAE,
    Shape,
    check_tensors,
    count_parameters,
    expected_shapes,
    stored_tensors,
    weight_files,
)

REMEDY = "fetch it again"


def test_the_full_size_transformer() -> None:
    shapes = expected_shapes(QwenImageTransformer2DModel, PUBLISHED_TRANSFORMER)
    assert len(shapes) == 1934
    assert count_parameters(shapes) == 20_430_407_232
    assert shapes["time_text_embed.addition_t_embedding.weight"] == (2, 3072)
    assert shapes["transformer_blocks.59.img_mod.1.weight"] == (18432, 3072)
    assert shapes["transformer_blocks.0.attn.norm_added_q.weight"] == (128,)
    assert shapes["proj_out.weight"] == (64, 3072)


def test_the_full_size_vae() -> None:
    shapes = expected_shapes(AutoencoderKLQwenImage, PUBLISHED_VAE)
    assert count_parameters(shapes) == 126_897_716
    rgb = expected_shapes(AutoencoderKLQwenImage, {**PUBLISHED_VAE, "input_channels": 3})
    different = {key: (rgb[key], shapes[key]) for key in shapes if rgb[key] != shapes[key]}
    assert different == {
        "encoder.conv_in.weight": ((96, 3, 3, 3, 3), (96, 4, 3, 3, 3)),
        "decoder.conv_out.weight": ((3, 96, 3, 3, 3), (4, 96, 3, 3, 3)),
        "decoder.conv_out.bias": ((3,), (4,)),
    }


def write_headers(folder: Path, shapes: dict[str, Shape], shards: int) -> None:
    """Files in the published sharded layout whose weights are holes: full headers, no disk space."""
    folder.mkdir(exist_ok=True)
    keys, weight_map = sorted(shapes), {}
    for number in range(shards):
        name = f"diffusion_pytorch_model-{number + 1:05d}-of-{shards:05d}.safetensors"
        header, offset = {}, 0
        for key in keys[number::shards]:
            size = 2 * count_parameters({key: shapes[key]})
            header[key] = {
                "dtype": "BF16",
                "shape": list(shapes[key]),
                "data_offsets": [offset, offset + size],
            }
            weight_map[key] = name
            offset += size
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def test_a_full_size_sharded_checkpoint_is_covered_exactly(tmp_path: Path) -> None:
    shapes = expected_shapes(QwenImageTransformer2DModel, PUBLISHED_TRANSFORMER)
    write_headers(tmp_path, shapes, 9)
    files = weight_files(tmp_path, "diffusion_pytorch_model", REMEDY)
    assert len(files) == 9 and sum(file.stat().st_size for file in files) > 40_860_814_464
    found = stored_tensors(files, REMEDY)
    check_tensors(shapes, found, tmp_path, REMEDY)
    assert {key: tensor.shape for key, tensor in found.items()} == shapes


SHAPES: dict[str, Shape] = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (4,)}


def drop_key(folder: Path) -> None:
    write_headers(folder, {key: shape for key, shape in SHAPES.items() if key != "a.bias"}, 2)


def reshape_key(folder: Path) -> None:
    write_headers(folder, {**SHAPES, "a.weight": (3, 2)}, 2)


def add_key(folder: Path) -> None:
    write_headers(folder, {**SHAPES, "c.weight": (1,)}, 2)


def remove_shard(folder: Path) -> None:
    (folder / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()


def truncate_shard(folder: Path) -> None:
    file = folder / "diffusion_pytorch_model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def empty_shard(folder: Path) -> None:
    (folder / "diffusion_pytorch_model-00001-of-00002.safetensors").write_bytes(b"")


def break_index(folder: Path) -> None:
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": [1]}')


def lead_outside(folder: Path) -> None:
    index = {"weight_map": {"a.weight": "../secret.safetensors"}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def repeat_key(folder: Path) -> None:
    first, second = sorted(folder.glob("*.safetensors"))
    second.write_bytes(first.read_bytes())


def lfs_pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (folder / "diffusion_pytorch_model-00001-of-00002.safetensors").write_text(text)


def pickles_only(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop_key, ["lack a.bias", "(2)"]),
        (reshape_key, ["a.weight as (3 x 2)", "asks for (2 x 3)", ".safetensors"]),
        (add_key, ["holds c.weight", "no place"]),
        (remove_shard, ["needs diffusion_pytorch_model-00002-of-00002.safetensors", "missing"]),
        (truncate_shard, ["00001-of-00002.safetensors", "no complete safetensors file"]),
        (empty_shard, ["00001-of-00002.safetensors", "no complete safetensors file"]),
        (break_index, ["index.json", "not a list of weight files"]),
        (lead_outside, ["'../secret.safetensors'", "not a safetensors file of this folder"]),
        (repeat_key, ["both hold"]),
        (pickles_only, ["no diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin, a pickle"]),
        (lfs_pointer, ["00001-of-00002.safetensors is a Git LFS pointer", "git lfs pull"]),
    ],
)
def test_every_damage_is_named(tmp_path: Path, damage: Callable[[Path], Any], words: list[str]) -> None:
    write_headers(tmp_path, SHAPES, 2)
    damage(tmp_path)
    with pytest.raises(InputError) as caught:
        files = weight_files(tmp_path, "diffusion_pytorch_model", REMEDY)
        check_tensors(SHAPES, stored_tensors(files, REMEDY), tmp_path, REMEDY)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.endswith(f" {REMEDY}.") and "\n" not in message
