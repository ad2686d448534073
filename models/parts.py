"""One part of a model folder: its JSON, its weights' names and shapes and its tokenizer checked, then its module loaded.

Knows files and headers; not which parts a model has, nor how they fit one another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .inventory import check_tensors, expected_shapes, stored_tensors, weight_files

if TYPE_CHECKING:
    import torch

DIFFUSERS_STEM, TRANSFORMERS_STEM = "diffusion_pytorch_model", "model"
MAX_JSON = 64 * 2**20
MAX_BLOCKS = 1000
ALIGNMENT = 64  # bytes, of what torch allocates on the CPU
_OWN = {  # classes of components that are acetate's, by the module that has them
    "FrameEmbedding": "frame_embedding",
    "LayerEmbedding": "frame_embedding",
    "RegionDecoder": "codecs.region_decoder",
    "TransparentUNet": "codecs.layerdiffuse",
    "LatentOffsetEncoder": "codecs.layerdiffuse",
}


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """A JSON object from a file of at most 64 MiB; InputError when it is missing, broken or not an object."""
    if not file.is_file():
        raise InputError(f"The model folder has no {file.name} in {file.parent}; {remedy}.")
    try:
        if file.stat().st_size > MAX_JSON:
            raise ValueError("it is far too large")
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{file} should hold a JSON object, not a {type(value).__name__}; {remedy}.")
    return value


def part_config(folder: Path, expected: str, remedy: str) -> dict[str, Any]:
    """The config.json of a component of diffusers' kind, which must be of class ``expected``."""
    config = read_json(folder / "config.json", remedy)
    found = config.get("_class_name")
    if found != expected:
        raise InputError(
            f"{folder / 'config.json'} describes a {found}, but a {expected} is needed; {remedy}."
        )
    return config


def encoder_class(config: Mapping[str, Any]) -> str | None:
    """Which class a text encoder's config asks for."""
    named = config.get("architectures")
    found = named[0] if isinstance(named, list) and named else config.get("model_type")
    return None if found is None else str(found)


def encoder_width(config: Mapping[str, Any]) -> int | None:
    """Width of a text encoder's embeddings, None when its config does not tell."""
    text = config.get("text_config")
    inner = text.get("hidden_size") if isinstance(text, dict) else None
    width = config.get("d_model", config.get("hidden_size", inner))
    return width if isinstance(width, int) else None


def check_tokenizer(folder: Path, remedy: str, *, byte_pairs: bool = True) -> None:
    """Raises InputError where neither tokenizer.json nor, for ``byte_pairs``, vocab.json and merges.txt can be read."""
    if (folder / "tokenizer.json").is_file():
        read_json(folder / "tokenizer.json", remedy)
        return
    if not byte_pairs:
        raise InputError(f"The model folder has no tokenizer.json in {folder}; {remedy}.")
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise InputError(f"The model folder has neither tokenizer.json nor {name} in {folder}; {remedy}.")
    read_json(folder / "vocab.json", remedy)


def check_encoder_files(folder: Path, remedy: str) -> None:
    """Whether a text encoder's files are whole; its keys are renamed while loading, so loading compares those."""
    stored_tensors(weight_files(folder, TRANSFORMERS_STEM, remedy), remedy)


def check_weights(folder: Path, class_name: str, config: Mapping[str, Any], remedy: str) -> None:
    """Strict by name and shape against the class that the config describes; nothing is read but headers."""
    files = weight_files(folder, DIFFUSERS_STEM, remedy)
    quantised = config.get("quantization_config")
    if quantised is not None:
        method = quantised.get("quant_method", "a library") if isinstance(quantised, dict) else "a library"
        raise InputError(
            f"{folder} was quantised with {method} and saved so, which is not read here; give the folder from before, "
            "and --quantise nf4 (or int8, float8), or a GGUF file with --transformer."
        )
    for key in ("num_layers", "num_single_layers"):
        blocks = config.get(key, 1)
        if (
            not isinstance(blocks, int)
            or not 0 <= blocks <= MAX_BLOCKS
            or (key == "num_layers" and not blocks)
        ):
            raise InputError(f"{folder / 'config.json'} asks for {blocks} blocks; {remedy}.")
    try:
        expected = expected_shapes(component_class(class_name), config)
    except (TypeError, ValueError, ArithmeticError, AssertionError, RuntimeError, IndexError) as error:
        raise InputError(
            f"{folder / 'config.json'} describes no possible {class_name} ({error}); {remedy}."
        ) from error
    check_tensors(expected, stored_tensors(files, remedy), folder, remedy)


def load_part(class_name: str, folder: Path, device: torch.device | str, dtype: torch.dtype) -> Any:
    """The module of a folder of diffusers' kind, strict and in evaluation mode; :func:`check_weights` comes before."""
    model = component_class(class_name).from_pretrained(
        str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=True
    )
    model = model.to(device).eval()
    # What needs no cast is mapped from its file at whatever address it has there, which moves the last bit of sums: copied,
    # so that results do not depend on how a folder was written or on how its weights are held.
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()
    return model


def component_class(name: str) -> Any:
    """The class of a component by its published name."""
    from importlib import import_module

    if name in _OWN:
        return getattr(import_module(f".{_OWN[name]}", __package__), name)
    return getattr(import_module("diffusers"), name)
