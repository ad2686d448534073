"""Which tensors a checkpoint must hold, and which it does hold, without reading one of them.

Expected names and shapes come from building the class on torch's meta device (no memory, also at 20 billion
parameters); found ones from safetensors headers. Knows keys and shapes; not folders' meaning, values or devices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import InputError

Shape = tuple[int, ...]

# The published Qwen/Qwen-Image-Layered: 1934 tensors, 20,430,407,232 parameters; VAE 126,897,716 parameters.
PUBLISHED_TRANSFORMER: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
    "axes_dims_rope": (16, 56, 56),
    "use_additional_t_cond": True,
    "use_layer3d_rope": True,
}
PUBLISHED_VAE: dict[str, Any] = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "input_channels": 4,
}


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor as a safetensors header announces it."""

    file: Path
    shape: Shape


def expected_shapes(model_class: Any, config: Mapping[str, Any]) -> dict[str, Shape]:
    """Every key of ``model_class.from_config(config)`` with its shape; nothing is allocated."""
    import torch  # here, since whoever only looks at a folder needs none of it

    with torch.device("meta"):
        model = model_class.from_config(dict(config))
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def count_parameters(shapes: Mapping[str, Shape]) -> int:
    """How many numbers the tensors hold together."""
    return sum(math.prod(shape) for shape in shapes.values())


def weight_files(folder: Path, stem: str, remedy: str) -> list[Path]:
    """The safetensors files of a component: ``stem.safetensors``, or the shards that its index names.

    Raises InputError when there is neither, when the index is broken or names a file outside the folder, and when a
    shard is missing. Pickled weights (.bin) are never accepted.
    """
    single = folder / f"{stem}.safetensors"
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        if not single.is_file():
            pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")]
            if pickles:
                raise InputError(
                    f"The model folder has no {single.name} in {folder}, only {pickles[0].name}, a pickle that may run code "
                    f"and is never opened; convert it to safetensors, or {remedy}."
                )
            raise InputError(f"The model folder has no {single.name} in {folder}; {remedy}.")
        return [single]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is not a list of weight files ({error}); {remedy}.") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(
                f"{index} names {name!r}, which is not a safetensors file of this folder; {remedy}."
            )
        if not (folder / name).is_file():
            raise InputError(f"{index.name} needs {name}, but it is missing in {folder}; {remedy}.")
    return [folder / name for name in names]


def stored_tensors(files: Iterable[Path], remedy: str) -> dict[str, StoredTensor]:
    """Every tensor of ``files``, from the headers alone. Raises InputError for truncated, lying or foreign files and
    for a key that two files hold."""
    found: dict[str, StoredTensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as handle:
                for key in handle.keys():  # noqa: SIM118 - not a dict
                    if key in found:
                        raise InputError(f"{file.name} and {found[key].file.name} both hold {key}; {remedy}.")
                    found[key] = StoredTensor(file=file, shape=tuple(handle.get_slice(key).get_shape()))
        except (SafetensorError, OSError) as error:
            if _is_lfs_pointer(file):
                raise InputError(
                    f"{file} is a Git LFS pointer, not the weights themselves; run `git lfs pull` there, or {remedy}."
                ) from error
            raise InputError(f"{file} is no complete safetensors file ({error}); {remedy}.") from error
    return found


def _is_lfs_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            return handle.read(40).startswith(b"version https://git-lfs")
    except OSError:
        return False


def check_tensors(
    expected: Mapping[str, Shape], found: Mapping[str, StoredTensor], folder: Path, remedy: str
) -> None:
    """Strict comparison: raises InputError naming the file, the key, what was expected and what was found."""
    for key, shape in expected.items():
        stored = found.get(key)
        if stored is None:
            missing = sum(name not in found for name in expected)
            more = f" and {missing - 1} more" if missing > 1 else ""
            raise InputError(f"The weights in {folder} lack {key} {_text(shape)}{more}; {remedy}.")
        if stored.shape != shape:
            raise InputError(
                f"{stored.file} holds {key} as {_text(stored.shape)}, but config.json asks for {_text(shape)}; {remedy}."
            )
    for key, stored in found.items():
        if key not in expected:
            raise InputError(
                f"{stored.file} holds {key}, which the model of config.json has no place for; {remedy}."
            )


def _text(shape: Shape) -> str:
    return "(" + " x ".join(str(size) for size in shape) + ")"
