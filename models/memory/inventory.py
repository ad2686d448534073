"""What the parts of a model weigh, from configs and headers alone: no weights are read, at any size.

Knows shapes and counts; not budgets, devices or how a part is run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..family import QWEN
from ..folder import EMBEDDED_ENCODER, check_folder, read_json
from ..folder_qwen import PROCESSOR_FILES, QWEN_ENCODER
from ..inventory import (
    PUBLISHED_TRANSFORMER,
    PUBLISHED_VAE,
    Shape,
    expected_shapes,
    stored_tensors,
    weight_files,
)
from ..registry import MODELS, ModelEntry
from ..text import LAYER_TOKENS, PROMPT_TOKENS

BLOCK = re.compile(r"transformer_blocks\.(\d+)\.(.+)")
MODULATION = re.compile(r"(time_text_embed|norm_out\.linear|transformer_blocks\.\d+\.(img|txt)_mod\.1)\.")
NOT_CAST = re.compile(
    r"norm"
)  # inside a block; diffusers' layerwise casting leaves these in the computing dtype
QWEN_PROMPT = 512 + 34  # tokens: the longest prompt and its template
# Qwen2.5-VL-7B-Instruct as published, the text encoder of Qwen-Image: 8,292,166,656 parameters.
PUBLISHED_ENCODER: dict[str, Any] = {
    "text_config": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
    },
    "tie_word_embeddings": False,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Inventory:
    """A model's parts in numbers of parameters, and the configs that its activations follow from.

    ``blocks``: per transformer block (all alike), without modulation; ``block_cast``: the share of a block's parameters
    that can be stored in 8 bits; ``fixed``: the transformer without blocks and modulation; ``encoder_leaf``: the largest
    single layer of the text encoder.
    """

    name: str
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    encoder_config: Mapping[str, Any]
    encoder_class: str
    num_blocks: int
    block: int
    block_cast: int
    fixed: int
    modulation: int
    modulation_rows: int
    encoder: int
    encoder_leaf: int
    vae_size: int
    embedding: int
    captions: bool
    folder: Path | None = field(default=None)

    @property
    def transformer_size(self) -> int:
        """Parameters of the whole transformer."""
        return self.fixed + self.num_blocks * self.block + self.modulation

    @property
    def hidden(self) -> int:
        """The transformer's width."""
        return int(self.transformer["num_attention_heads"]) * int(self.transformer["attention_head_dim"])

    @property
    def cell(self) -> int:
        """Pixels along each side of a token."""
        return int(self.transformer.get("patch_size", 2)) * 2 ** len(
            self.vae.get("temperal_downsample", (0, 1, 2))
        )

    def text_tokens(self, layers: int) -> int:
        """The longest prompt that the encoder takes, layers' own prompts included."""
        if self.encoder_class == EMBEDDED_ENCODER:
            return PROMPT_TOKENS + LAYER_TOKENS * layers
        return QWEN_PROMPT


def inventory_of(entry: ModelEntry) -> Inventory:
    """The inventory of a model: of its folder where it is on this machine, else of what is known to be published.

    Raises InputError for a folder that does not pass the checks, and for a model that is neither here nor known.
    """
    path = entry.path
    if path is None:
        from ..registry import cached_snapshot

        path = cached_snapshot(entry)
    if path is not None:
        return folder_inventory(path, entry.name, entry.remedy)
    if entry.name == "Qwen/Qwen-Image-Layered":
        return published_inventory()
    raise InputError(f"{entry.name} is not on this machine, so its memory cannot be planned: {entry.remedy}")


def folder_inventory(path: Path, name: str, remedy: str) -> Inventory:
    """The inventory of a model's folder, checked first, from its configs and the headers of its files. Raises InputError
    for a transformer of another class than Qwen-Image's."""
    transformer = read_json(path / "transformer" / "config.json", remedy)
    if transformer.get("_class_name") != QWEN.transformer:
        raise InputError(
            f"memory is planned for {QWEN.transformer} so far, and {name} has a {transformer.get('_class_name')}: "
            "leave memory out"
        )
    check_folder(path, remedy)
    encoder = read_json(path / "text_encoder" / "config.json", remedy)
    stored = stored_tensors(weight_files(path / "text_encoder", "model", remedy), remedy)
    embedding = 0
    if (path / "frame_embedding").is_dir():
        embedding = _sizes("FrameEmbedding", read_json(path / "frame_embedding" / "config.json", remedy))
    return count_parts(
        name,
        transformer,
        read_json(path / "vae" / "config.json", remedy),
        {key: tensor.shape for key, tensor in stored.items()},
        encoder,
        str((encoder.get("architectures") or [encoder.get("model_type")])[0]),
        embedding,
        any((path / "processor" / file).is_file() for file in PROCESSOR_FILES),
        path,
    )


@lru_cache(maxsize=1)
def published_inventory() -> Inventory:
    """Qwen/Qwen-Image-Layered at full size, without one of its files."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**PUBLISHED_ENCODER))
    shapes = {key: tuple(value.shape) for key, value in encoder.named_parameters()}
    return count_parts(
        "Qwen/Qwen-Image-Layered",
        PUBLISHED_TRANSFORMER,
        PUBLISHED_VAE,
        shapes,
        encoder.config.to_dict(),
        QWEN_ENCODER,
        0,
        True,
        None,
    )


def known_inventory(name: str) -> Inventory | None:
    """The inventory of a model that `acetate models` lists, None where nothing is known of its parts."""
    try:
        return inventory_of(MODELS[name])
    except InputError:
        return None


def is_modulation(key: str) -> bool:
    """Whether a transformer's tensor is put away by the modulation table."""
    return MODULATION.match(key) is not None


def is_cast(key: str) -> bool:
    """Whether a transformer's tensor is kept in 8 bits under layerwise casting: the linear layers of the blocks."""
    found = BLOCK.match(key)
    return found is not None and NOT_CAST.search(found[2]) is None


def count_parts(
    name: str,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    encoder: Mapping[str, Shape],
    encoder_config: Mapping[str, Any],
    encoder_class: str,
    embedding: int,
    captions: bool,
    folder: Path | None,
) -> Inventory:
    """The inventory of parts by their configs; ``encoder``: shapes of the text encoder's tensors, ``embedding``: parameters
    of a frame embedding."""
    import diffusers

    shapes = expected_shapes(getattr(diffusers, QWEN.transformer), transformer)
    first = {key: shape for key, shape in shapes.items() if (found := BLOCK.match(key)) and found[1] == "0"}
    block = {key: math.prod(shape) for key, shape in first.items() if not is_modulation(key)}
    modulation = {key: shape for key, shape in shapes.items() if is_modulation(key)}
    fixed = sum(
        math.prod(shape) for key, shape in shapes.items() if not BLOCK.match(key) and not is_modulation(key)
    )
    rows = sum(
        shape[0] for key, shape in modulation.items() if key.endswith(".bias") and "time_text" not in key
    )
    return Inventory(
        name=name,
        transformer=dict(transformer),
        vae=dict(vae),
        encoder_config=dict(encoder_config),
        encoder_class=encoder_class,
        num_blocks=int(transformer.get("num_layers", 60)),
        block=sum(block.values()),
        block_cast=sum(size for key, size in block.items() if is_cast(key)),
        fixed=fixed,
        modulation=sum(math.prod(shape) for shape in modulation.values()),
        modulation_rows=rows,
        encoder=sum(math.prod(shape) for shape in encoder.values()),
        encoder_leaf=max(math.prod(shape) for shape in encoder.values()),
        vae_size=_sizes("AutoencoderKLQwenImage", vae),
        embedding=embedding,
        captions=captions,
        folder=folder,
    )


def _sizes(class_name: str, config: Mapping[str, Any]) -> int:
    import diffusers

    from ..frame_embedding import FrameEmbedding

    model_class = FrameEmbedding if class_name == "FrameEmbedding" else getattr(diffusers, class_name)
    return sum(math.prod(shape) for shape in expected_shapes(model_class, config).values())
