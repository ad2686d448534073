"""A folder of the Qwen-Image family, checked: the layout of Qwen/Qwen-Image-Layered and that of the embedded model.

    scheduler/  tokenizer/  text_encoder/  vae/  transformer/  [processor/]  [frame_embedding/]

Knows which parts there are and how they fit; how one part is checked is ``parts``'.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checked import CheckedFolder
from .family import QWEN
from .parts import (
    check_encoder_files,
    check_tokenizer,
    check_weights,
    encoder_class,
    encoder_width,
    part_config,
    read_json,
)

VAE_CLASS = "AutoencoderKLQwenImage"
EMBEDDED_ENCODER = "T5EncoderModel"
QWEN_ENCODER = "Qwen2_5_VLForConditionalGeneration"
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
)  # the published name, and transformers 5's


def check_qwen(path: Path, remedy: str, weights: bool = True) -> CheckedFolder:
    """Raises InputError for other classes than QwenImageTransformer2DModel, 4-channel AutoencoderKLQwenImage and a known
    text encoder, for wrong weights, and for parts that do not fit one another. ``weights``: the transformer's are looked
    at."""
    transformer = part_config(path / "transformer", QWEN.transformer, remedy)
    vae = part_config(path / "vae", VAE_CLASS, remedy)
    encoder = read_json(path / "text_encoder" / "config.json", remedy)
    found = encoder_class(encoder)
    if found not in (EMBEDDED_ENCODER, QWEN_ENCODER):
        raise InputError(
            f"{path / 'text_encoder' / 'config.json'} describes a text encoder {found}, but only {EMBEDDED_ENCODER} and "
            f"{QWEN_ENCODER} can be used; {remedy}."
        )
    check_tokenizer(path / "tokenizer", remedy)
    if vae.get("input_channels", 3) != 4:
        raise InputError(
            f"The VAE in {path / 'vae'} works on {vae.get('input_channels', 3)} channels, but layers are RGBA and need 4; "
            "use the VAE of a layered model, or widen this one with acetate.models.codecs.widen_rgb_vae."
        )
    check_weights(path / "vae", VAE_CLASS, vae, remedy)
    if weights:
        check_weights(path / "transformer", QWEN.transformer, transformer, remedy)
    check_encoder_files(path / "text_encoder", remedy)
    _check_fit(path, transformer, vae, encoder, remedy)
    parts = {"transformer": transformer, "vae": vae, "text_encoder": encoder}
    if (path / "frame_embedding").is_dir():
        parts["frame_embedding"] = part_config(path / "frame_embedding", "FrameEmbedding", remedy)
        check_weights(path / "frame_embedding", "FrameEmbedding", parts["frame_embedding"], remedy)
    return CheckedFolder(
        path=path,
        family=QWEN,
        parts=parts,
        encoder_class=found,
        has_processor=any((path / "processor" / name).is_file() for name in PROCESSOR_FILES),
    )


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
