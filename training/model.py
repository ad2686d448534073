"""The embedded layered model as one module that learns: transformer, text encoder and frame embedding.

The parts are exactly the classes of the published model; this module adds how they begin, which optimiser takes which
parameter, how they run fast on the device at hand, and how they are written as diffusers folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config
import torch.fx.experimental._config
from diffusers import QwenImageTransformer2DModel
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedTokenizerFast, T5EncoderModel

from ..models.backbones.qwen import QwenBackbone
from ..models.backbones.qwen_rope import Frequencies, LayoutFrequencies
from ..models.frame_embedding import FrameEmbedding
from ..models.layout import Layout
from ..models.text.embedded import EmbeddedTextEncoder, build_encoder, build_tokenizer
from .attention import FlashAttention, MatmulAttention
from .flow import flow_loss, pack_frames, pack_weights
from .muon import split_parameters
from .precision import mixed
from .tasks import TaskBatch

PARTS = ("transformer", "text_encoder", "frame_embedding")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """Sizes. ``axes``: channels of a head that turn with layer, row and column; they add up to ``head_dim``."""

    latent_channels: int
    heads: int = 4
    head_dim: int = 56
    blocks: int = 8
    axes: tuple[int, int, int] = (8, 24, 24)
    text_dim: int = 128
    text_blocks: int = 2
    text_heads: int = 4

    def __post_init__(self) -> None:
        if sum(self.axes) != self.head_dim:
            raise ValueError(f"the axes {self.axes} must add up to the head's {self.head_dim} channels")

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @classmethod
    def of(cls, folder: Path) -> ModelSettings:
        """The sizes of a model that :func:`export` wrote, or of any folder of that layout."""
        config = QwenImageTransformer2DModel.load_config(folder / "transformer")
        text = AutoConfig.from_pretrained(folder / "text_encoder")
        return cls(
            latent_channels=config["in_channels"] // 4,
            heads=config["num_attention_heads"],
            head_dim=config["attention_head_dim"],
            blocks=config["num_layers"],
            axes=tuple(config["axes_dims_rope"]),
            text_dim=text.d_model,
            text_blocks=text.num_layers,
            text_heads=text.num_heads,
        )


class _RealFrequencies(LayoutFrequencies):
    """Cosines and sines instead of complex numbers, which torch's compiler cannot handle."""

    def _compute(self, layout: Layout) -> Frequencies:
        image, text = super()._compute(layout)
        return torch.view_as_real(image).contiguous(), torch.view_as_real(text).contiguous()


class LayersModel(nn.Module):
    """Everything that learns, under one state dict. ``forward`` is the loss of a batch."""

    def __init__(self, words: list[str], settings: ModelSettings) -> None:
        super().__init__()
        self.settings, self.fast, self.clean_head = settings, False, False
        self.transformer = QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=4 * settings.latent_channels,
            out_channels=settings.latent_channels,
            num_layers=settings.blocks,
            attention_head_dim=settings.head_dim,
            num_attention_heads=settings.heads,
            joint_attention_dim=settings.text_dim,
            axes_dims_rope=settings.axes,
            use_additional_t_cond=True,
            use_layer3d_rope=True,
        )
        self.tokenizer = build_tokenizer(words)
        self.text_encoder = build_encoder(
            len(self.tokenizer), settings.text_dim, settings.text_blocks, settings.text_heads
        )
        self.frame_embedding = FrameEmbedding(dim=settings.width)
        for block in self.transformer.transformer_blocks:  # adaLN-zero: every block begins as the identity
            for linear in (block.img_mod[1], block.txt_mod[1]):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.transformer.proj_out.weight)
        nn.init.zeros_(self.transformer.proj_out.bias)
        nn.init.zeros_(self.transformer.time_text_embed.addition_t_embedding.weight)
        self.transformer.set_attn_processor(MatmulAttention())
        self.backbone = QwenBackbone(self.transformer, self.frame_embedding)
        self.text = EmbeddedTextEncoder(self.tokenizer, self.text_encoder)

    def load(self, folder: Path) -> None:
        """Take over the weights of a folder of the same sizes and words, as a start for more training."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
        if tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"{folder} knows other words than these scenes use; train from the beginning instead"
            )
        kinds = (QwenImageTransformer2DModel, T5EncoderModel, FrameEmbedding)
        for name, kind in zip(PARTS, kinds, strict=True):
            getattr(self, name).load_state_dict(kind.from_pretrained(folder / name).float().state_dict())

    def hurry(self, *, compiled: bool, flash: bool, backend: str = "inductor") -> None:
        """Set up for long runs: flash attention, which pays on a GPU, and each block's arithmetic compiled once for all
        shapes by torch's ``backend`` (on a CPU that takes a C++ compiler)."""
        self.fast = True
        if flash:
            self.transformer.set_attn_processor(FlashAttention())
        frequencies = _RealFrequencies(self.transformer.pos_embed, layer_axis=True, size=256)
        self.backbone = QwenBackbone(self.transformer, self.frame_embedding, frequencies=frequencies)
        if compiled:
            blocks = self.transformer.transformer_blocks
            # Sizes that happen to be equal once must not be taken for the same size for good.
            torch.fx.experimental._config.use_duck_shape = False
            # GradientCosine goes through a graph twice.
            torch._functorch.config.donated_buffer = False
            forward = torch.compile(type(blocks[0]).forward, dynamic=True, backend=backend)
            for block in blocks:
                block.forward = partial(forward, block)
            blocks[0].register_forward_pre_hook(_no_views, with_kwargs=True)

    def features(self, batch: TaskBatch) -> Any:
        """The batch's prompts, encoded."""
        return self.text.encode_ids(batch.scene_ids, batch.layer_ids, batch.described, one_form=self.fast)

    def forward(self, batch: TaskBatch, sigma: Tensor, noise: Tensor | None = None) -> Tensor:
        tokens = pack_frames(self.backbone, batch.latents, batch.layout)
        weights = pack_weights(batch.weights, batch.layout)
        noise = torch.randn_like(tokens[:, batch.layout.noisy_slice]) if noise is None else noise
        with mixed(tokens.device.type):
            features = self.features(batch)
        return flow_loss(
            self.backbone, tokens, weights, features, batch.layout, sigma, noise, clean_head=self.clean_head
        )

    def groups(self) -> tuple[list[Tensor], list[Tensor]]:
        """Muon takes the blocks' attention and MLP matrices; modulation, heads and embeddings go to AdamW."""
        named = ("img_in", "txt_in", "proj_out", "norm_out", "time_text_embed")
        heads = (*(f"transformer.{name}" for name in named), "text_encoder", "frame_embedding")
        modulation = tuple(
            f"transformer.transformer_blocks.{i}.{s}_mod"
            for i in range(self.settings.blocks)
            for s in ("img", "txt")
        )
        return split_parameters(self, heads + modulation)


def _no_views(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The first block's inputs as tensors of their own: views would be a second kind of call to the compiler."""
    fresh = {name: kwargs[name].clone() for name in ("hidden_states", "encoder_hidden_states")}
    return args, {**kwargs, **fresh}


def export(model: LayersModel, weights: Mapping[str, Tensor], out: Path) -> None:
    """``weights`` (the average) as diffusers and transformers folders in ``out``: bf16, every file below 16 MiB."""
    model.load_state_dict(dict(weights))
    model.tokenizer.save_pretrained(out / "tokenizer")
    for name in PARTS:
        part = getattr(model, name)
        kept = {key: value.clone() for key, value in part.state_dict().items()}
        part.to(torch.bfloat16).save_pretrained(out / name, max_shard_size="14MB")
        part.to(torch.float32).load_state_dict(kept)
