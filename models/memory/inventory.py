"""What the parts of a model weigh, from configs and headers alone: no weights are read, at any size.

Knows shapes and counts; not budgets, devices or how a part is run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..family import FLUX, QWEN, Family
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
from ..modulation.sites import modulation_sites
from ..parts import component_class
from ..registry import MODELS, ModelEntry
from ..text import LAYER_TOKENS, PROMPT_TOKENS
from .kept import KeptWeights, kept_weights

BLOCK = re.compile(r"((?:single_)?transformer_blocks\.\d+)\.(.+)")
NOT_CAST = re.compile(
    r"norm"
)  # inside a block; diffusers' layerwise casting leaves these in the computing dtype
T5_ENCODER, CLIP_ENCODER = EMBEDDED_ENCODER, "CLIPTextModel"
FLUX_TOKENS, FAST_TOKENS = 512, 256  # T5's, of dev and of schnell
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
class Encoder:
    """A text encoder in numbers of parameters: all of it (``size``), and its largest single layer (``leaf``). ``tokens``:
    how many it always reads, None where that is the longest prompt."""

    class_name: str
    config: Mapping[str, Any]
    size: int
    leaf: int
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Inventory:
    """A model's parts in numbers of parameters, and the configs that its activations follow from.

    ``blocks``: per transformer block, in the order in which they run, without modulation; ``blocks_cast``: how many of
    those layerwise casting stores in 8 bits, ``blocks_linear``: how many are weights of linear layers; ``fixed``: the
    transformer without blocks and modulation; ``beside``: small parts that are always there, such as a frame embedding and
    what FLUX takes alpha from, whose classes and configs are ``alpha``. ``fast``: FLUX distilled to few steps (schnell).
    ``kept``: what the model's own file keeps in few bits. ``adapters``: of LoRAs over the transformer,
    ``adapts_modulation`` whether they change what a modulation table stands for.
    """

    name: str
    family: Family
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    encoders: tuple[Encoder, ...]
    blocks: tuple[int, ...]
    blocks_cast: tuple[int, ...]
    blocks_linear: tuple[int, ...]
    fixed: int
    modulation: int
    modulation_rows: int
    vae_size: int
    beside: int
    captions: bool
    alpha: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    fast: bool = False
    kept: KeptWeights | None = None
    adapters: int = 0
    adapts_modulation: bool = False
    folder: Path | None = field(default=None)

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    @property
    def transformer_size(self) -> int:
        """Parameters of the whole transformer."""
        return self.fixed + sum(self.blocks) + self.modulation

    @property
    def encoder(self) -> int:
        """Parameters of all text encoders."""
        return sum(one.size for one in self.encoders)

    @property
    def encoder_leaf(self) -> int:
        """Of their largest single layer."""
        return max(one.leaf for one in self.encoders)

    @property
    def hidden(self) -> int:
        """The transformer's width."""
        heads = int(self.transformer.get("num_attention_heads", 24))
        return heads * int(self.transformer.get("attention_head_dim", 128))

    @property
    def cell(self) -> int:
        """Pixels along each side of a token."""
        if self.family is FLUX:
            return 2 ** len(self.vae.get("block_out_channels", (0, 1, 2, 3)))
        return int(self.transformer.get("patch_size", 2)) * 2 ** len(
            self.vae.get("temperal_downsample", (0, 1, 2))
        )

    def text_tokens(self, layers: int) -> int:
        """The longest prompt that the encoder takes, layers' own prompts included."""
        if self.family is FLUX:
            return FAST_TOKENS if self.fast else FLUX_TOKENS
        if self.encoders[0].class_name == T5_ENCODER:
            return PROMPT_TOKENS + LAYER_TOKENS * layers
        return QWEN_PROMPT


def inventory_of(
    entry: ModelEntry, task: str = "decompose", transparency: Path | None = None, file: Path | None = None
) -> Inventory:
    """The inventory of a model: of its folder where it is on this machine, else of what is known to be published.

    ``task``: the command it is for, ``transparency``: where FLUX takes alpha from, else what is published for the task;
    ``file``: a GGUF file with the transformer's weights. Raises InputError for a folder or file that does not pass the
    checks, and for a model that is neither here nor known.
    """
    model = _inventory_of(entry, task, transparency, file is None)
    if file is None:
        return model
    return replace(model, kept=kept_weights(model.family, model.transformer, file))


def _inventory_of(entry: ModelEntry, task: str, transparency: Path | None, transformer: bool) -> Inventory:
    path = entry.path
    if path is None:
        from ..registry import cached_snapshot

        path = cached_snapshot(entry)
    if path is not None:
        return folder_inventory(path, entry.name, entry.remedy, task, transparency, transformer=transformer)
    if entry.backbone == FLUX.transformer and entry.name in MODELS:
        from .inventory_flux import published_flux

        return published_flux(entry.name, task)
    if entry.name == "Qwen/Qwen-Image-Layered":
        return published_inventory()
    raise InputError(f"{entry.name} is not on this machine, so its memory cannot be planned: {entry.remedy}")


def folder_inventory(
    path: Path,
    name: str,
    remedy: str,
    task: str = "decompose",
    transparency: Path | None = None,
    *,
    transformer: bool = True,
) -> Inventory:
    """The inventory of a model's folder, checked first, from its configs and the headers of its files. ``transformer``: as
    ``check_folder`` has it."""
    checked = check_folder(path, remedy, transformer=transformer)
    if checked.family is FLUX:
        from .inventory_flux import flux_folder

        return flux_folder(checked, name, remedy, task, transparency)
    beside = 0
    if "frame_embedding" in checked.parts:
        beside = part_size("FrameEmbedding", checked.parts["frame_embedding"])
    return count_parts(
        name,
        checked.family,
        read_json(path / "transformer" / "config.json", remedy),
        read_json(path / "vae" / "config.json", remedy),
        [folder_encoder(path / "text_encoder", remedy)],
        beside=beside,
        captions=any((path / "processor" / file).is_file() for file in PROCESSOR_FILES),
        folder=path,
    )


def folder_encoder(folder: Path, remedy: str, tokens: int | None = None) -> Encoder:
    """A text encoder by its config and the headers of its files."""
    config = read_json(folder / "config.json", remedy)
    stored = stored_tensors(weight_files(folder, "model", remedy), remedy)
    name = str((config.get("architectures") or [config.get("model_type")])[0])
    shapes = {key: tensor.shape for key, tensor in stored.items()}
    if "shared.weight" in shapes:
        shapes.pop("encoder.embed_tokens.weight", None)  # T5's words, which some files hold twice
    return encoder_of(name, config, shapes, tokens)


def encoder_of(
    name: str, config: Mapping[str, Any], shapes: Mapping[str, Shape], tokens: int | None = None
) -> Encoder:
    """A text encoder by the shapes of its tensors."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    return Encoder(class_name=name, config=dict(config), size=sum(sizes), leaf=max(sizes), tokens=tokens)


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
        QWEN,
        PUBLISHED_TRANSFORMER,
        PUBLISHED_VAE,
        [encoder_of(QWEN_ENCODER, encoder.config.to_dict(), shapes)],
        captions=True,
    )


def is_cast(key: str) -> bool:
    """Whether a transformer's tensor is kept in 8 bits under layerwise casting: the linear layers of the blocks."""
    found = BLOCK.match(key)
    return found is not None and NOT_CAST.search(found[2]) is None


def count_parts(
    name: str,
    family: Family,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    encoders: Sequence[Encoder],
    *,
    beside: int = 0,
    captions: bool = False,
    alpha: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    fast: bool = False,
    folder: Path | None = None,
) -> Inventory:
    """The inventory of parts by their configs; arguments as :class:`Inventory` has them."""
    import diffusers
    import torch

    with torch.device("meta"):
        network = getattr(diffusers, family.transformer).from_config(dict(transformer))
    sites = modulation_sites(network)
    put_away = tuple(f"{path}." for path in sites.put_away)
    blocks: dict[str, int] = {}
    cast: dict[str, int] = {}
    linear: dict[str, int] = {}
    fixed = modulation = 0
    for key, value in network.named_parameters():
        found, size = BLOCK.match(key), value.numel()
        if key.startswith(put_away):
            modulation += size
        elif found is None:
            fixed += size
        else:
            blocks[found[1]] = blocks.get(found[1], 0) + size
            cast[found[1]] = cast.get(found[1], 0) + size * is_cast(key)
            linear[found[1]] = linear.get(found[1], 0) + size * (is_cast(key) and value.ndim == 2)
    return Inventory(
        name=name,
        family=family,
        transformer=dict(transformer),
        vae=dict(vae),
        encoders=tuple(encoders),
        blocks=tuple(blocks.values()),
        blocks_cast=tuple(cast.values()),
        blocks_linear=tuple(linear.values()),
        fixed=fixed,
        modulation=modulation,
        modulation_rows=sum(int(network.get_submodule(site.linear).out_features) for site in sites.sites),
        vae_size=part_size("AutoencoderKL" if family is FLUX else "AutoencoderKLQwenImage", vae),
        beside=beside,
        captions=captions,
        alpha=dict(alpha or {}),
        fast=fast,
        folder=folder,
    )


def part_size(class_name: str, config: Mapping[str, Any]) -> int:
    """Parameters of one of acetate's or diffusers' networks by its config."""
    return sum(math.prod(shape) for shape in expected_shapes(component_class(class_name), config).values())
