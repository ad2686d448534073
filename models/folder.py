"""The published folder layout, checked before anything is loaded.

    model_index.json  scheduler/  tokenizer/  text_encoder/  vae/  transformer/  [processor/]  [frame_embedding/]

A folder is untrusted until :func:`check_folder` has read it: JSON files, file names, and the headers of the weights
against the shapes that the configs ask for. Each finding is one sentence with the file, what was wrong and what to do.
Knows the layout; runs no model and reads no weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from .inventory import check_tensors, expected_shapes, stored_tensors, weight_files

TRANSFORMER_CLASS = "QwenImageTransformer2DModel"
VAE_CLASS = "AutoencoderKLQwenImage"
EMBEDDED_ENCODER = "T5EncoderModel"
QWEN_ENCODER = "Qwen2_5_VLForConditionalGeneration"
DIFFUSERS_STEM, TRANSFORMERS_STEM = "diffusion_pytorch_model", "model"
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
)  # the published name, and transformers 5's
MAX_JSON = 64 * 2**20
MAX_BLOCKS = 1000
SAMPLE = 2**20  # bytes of a big weight file that count for the fingerprint, from its start and from its end


@dataclass(frozen=True, kw_only=True)
class CheckedFolder:
    """A model folder whose parts fit together. The configs are the folder's own, as read."""

    path: Path
    transformer: dict[str, Any]
    vae: dict[str, Any]
    text_encoder: dict[str, Any]
    encoder_class: str
    has_processor: bool
    frame_embedding: dict[str, Any] | None = field(default=None)


def check_folder(path: Path, remedy: str) -> CheckedFolder:
    """Everything that can be known to be wrong without loading. ``remedy`` ends each sentence.

    Raises InputError for a missing, truncated or foreign file, other classes than QwenImageTransformer2DModel,
    4-channel AutoencoderKLQwenImage and a known text encoder, tensors that are missing, too many or of another shape,
    and parts that do not fit one another.
    """
    _check_family(path, read_json(path / "model_index.json", remedy))
    read_json(path / "scheduler" / "scheduler_config.json", remedy)
    transformer = _config(path / "transformer", TRANSFORMER_CLASS, remedy)
    vae = _config(path / "vae", VAE_CLASS, remedy)
    encoder = read_json(path / "text_encoder" / "config.json", remedy)
    encoder_class = _encoder_class(encoder, path / "text_encoder" / "config.json", remedy)
    _check_tokenizer(path / "tokenizer", remedy)
    if vae.get("input_channels", 3) != 4:
        raise InputError(
            f"The VAE in {path / 'vae'} works on {vae.get('input_channels', 3)} channels, but layers are RGBA and need 4; "
            "use the VAE of a layered model, or widen this one with acetate.models.codecs.widen_rgb_vae."
        )
    _check_weights(path / "vae", VAE_CLASS, vae, remedy)
    _check_weights(path / "transformer", TRANSFORMER_CLASS, transformer, remedy)
    # Its keys are renamed while loading, so loading.py compares them; here only whether the files are whole.
    stored_tensors(weight_files(path / "text_encoder", TRANSFORMERS_STEM, remedy), remedy)
    _check_fit(path, transformer, vae, encoder, remedy)
    frame_embedding = None
    if (path / "frame_embedding").is_dir():
        frame_embedding = _config(path / "frame_embedding", "FrameEmbedding", remedy)
        _check_weights(path / "frame_embedding", "FrameEmbedding", frame_embedding, remedy)
    return CheckedFolder(
        path=path,
        transformer=transformer,
        vae=vae,
        text_encoder=encoder,
        encoder_class=encoder_class,
        has_processor=any((path / "processor" / name).is_file() for name in PROCESSOR_FILES),
        frame_embedding=frame_embedding,
    )


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


def encoder_width(config: Mapping[str, Any]) -> int | None:
    """Width of a text encoder's embeddings, None when its config does not tell."""
    text = config.get("text_config")
    inner = text.get("hidden_size") if isinstance(text, dict) else None
    width = config.get("d_model", config.get("hidden_size", inner))
    return width if isinstance(width, int) else None


def fingerprint(path: Path) -> str:
    """16 hex digits that name a folder's contents: all of every small file, size and both ends of the large ones."""
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.suffix in {".json", ".safetensors", ".txt"}):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix()} {size}\n".encode())
        with file.open("rb") as handle:
            if size <= 2 * SAMPLE:
                digest.update(handle.read())
                continue
            digest.update(handle.read(SAMPLE))
            handle.seek(size - SAMPLE)
            digest.update(handle.read(SAMPLE))
    return digest.hexdigest()[:16]


def _check_family(path: Path, index: Mapping[str, Any]) -> None:
    """Raises InputError for a complete model of a family that these commands do not run, before its parts are blamed."""
    family = str(index.get("_class_name"))
    if family.startswith("Flux"):
        raise InputError(
            f"{path} is FLUX ({family}), but the layered pipelines run Qwen-Image's; in Python, RegionLayersPipeline "
            "runs FLUX with boxes. Give the folder of a layered Qwen model."
        )
    if family.startswith(("StableDiffusion", "SD3", "ZImage", "PixArt")):
        raise InputError(
            f"{path} is a {family}, whose transformer acetate has no adapter for; give the folder of a layered Qwen model."
        )


def _config(folder: Path, expected: str, remedy: str) -> dict[str, Any]:
    config = read_json(folder / "config.json", remedy)
    found = config.get("_class_name")
    if found != expected:
        raise InputError(
            f"{folder / 'config.json'} describes a {found}, but a {expected} is needed; {remedy}."
        )
    return config


def _encoder_class(config: Mapping[str, Any], file: Path, remedy: str) -> str:
    named = config.get("architectures")
    found = named[0] if isinstance(named, list) and named else config.get("model_type")
    if found not in (EMBEDDED_ENCODER, QWEN_ENCODER):
        raise InputError(
            f"{file} describes a text encoder {found}, but only {EMBEDDED_ENCODER} and {QWEN_ENCODER} can be used; {remedy}."
        )
    return str(found)


def _check_tokenizer(folder: Path, remedy: str) -> None:
    if (folder / "tokenizer.json").is_file():
        read_json(folder / "tokenizer.json", remedy)
        return
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise InputError(f"The model folder has neither tokenizer.json nor {name} in {folder}; {remedy}.")
    read_json(folder / "vocab.json", remedy)


def _check_weights(folder: Path, class_name: str, config: Mapping[str, Any], remedy: str) -> None:
    files = weight_files(folder, DIFFUSERS_STEM, remedy)
    blocks = config.get("num_layers", 1)
    if not isinstance(blocks, int) or not 1 <= blocks <= MAX_BLOCKS:
        raise InputError(f"{folder / 'config.json'} asks for {blocks} blocks; {remedy}.")
    try:
        expected = expected_shapes(_model_class(class_name), config)
    except (TypeError, ValueError, ArithmeticError, AssertionError, RuntimeError, IndexError) as error:
        raise InputError(
            f"{folder / 'config.json'} describes no possible {class_name} ({error}); {remedy}."
        ) from error
    check_tensors(expected, stored_tensors(files, remedy), folder, remedy)


def _model_class(name: str) -> Any:
    if name == "FrameEmbedding":
        from .frame_embedding import FrameEmbedding

        return FrameEmbedding
    import diffusers

    return getattr(diffusers, name)


def _check_fit(
    path: Path,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    encoder: Mapping[str, Any],
    remedy: str,
) -> None:
    patch = transformer.get("patch_size", 2)
    channels, wanted = transformer.get("in_channels", 64), vae.get("z_dim", 16) * patch**2
    if channels != wanted:
        raise InputError(
            f"The transformer in {path} takes {channels} channels per token, but the VAE's latents give {wanted}: they "
            f"belong to different models; {remedy}."
        )
    width, needed = encoder_width(encoder), transformer.get("joint_attention_dim", 3584)
    if width != needed:
        raise InputError(
            f"The text encoder in {path / 'text_encoder'} gives embeddings of width {width}, but the transformer takes "
            f"{needed}: it is the wrong encoder; {remedy}."
        )
