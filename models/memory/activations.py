"""What each phase of a run takes beside the weights: text, encoding, one denoising step, decoding.

One block of a kind stands for all (they run one after the other and leave nothing behind), so a dry run costs a tenth of a
second at any size. ``activations_qwen`` and ``activations_flux`` know the networks of a family; not what memory there is.
"""

from __future__ import annotations

import json
from functools import lru_cache

import torch

from ..family import FLUX
from . import activations_flux, activations_qwen
from .dry_run import dtype_of, peak_bytes
from .inventory import CLIP_ENCODER, T5_ENCODER, Encoder, Inventory
from .work import Work

LATENT_COPIES = 12  # float32 copies of all tokens that a guided step, its noise and its features come to
CAPTION_TOKENS = 512
PICTURE_PATCH = 28  # pixels along each side of one of the captioner's tokens


def step_bytes(model: Inventory, work: Work, dtype: str) -> int:
    """The most that one call of the transformer holds beside its weights, and the tokens that stay from step to step."""
    networks = activations_flux if model.family is FLUX else activations_qwen
    layout = networks.layout_of(model, work)
    channels = int(model.transformer.get("in_channels", 64))
    width = int(model.transformer.get("joint_attention_dim", 3584))
    text = (
        2 * model.text_tokens(work.layers) * width * dtype_of(dtype).itemsize
    )  # embeddings of both branches
    kept = work.batch * (LATENT_COPIES * layout.num_image_tokens * channels * 4 + text)
    return kept + networks.step(model, work, layout, dtype)


def table_bytes(model: Inventory, work: Work, dtype: str) -> int:
    """What a modulation table holds for a schedule, and for each prompt where it depends on them."""
    return work.branches * work.steps * model.modulation_rows * dtype_of(dtype).itemsize


def codec_bytes(model: Inventory, work: Work, dtype: str, *, decode: bool, tiled: bool) -> int:
    """The most that the codec holds beside its weights; 0 where there is no picture to encode."""
    if not decode and not work.picture:
        return 0
    networks = activations_flux if model.family is FLUX else activations_qwen
    return networks.codec(model, work, dtype, decode=decode, tiled=tiled)


def text_bytes(model: Inventory, work: Work, dtype: str) -> int:
    """The most that a text encoder holds beside its weights: for the longest prompt, or for a caption of the picture with
    what it remembers of every token. Several encoders work one after the other."""
    return max(_encoder_bytes(model, encoder, work, dtype) for encoder in model.encoders)


def _encoder_bytes(model: Inventory, encoder: Encoder, work: Work, dtype: str) -> int:
    tokens = encoder.tokens or model.text_tokens(work.layers)
    memory = 0
    if model.captions:
        seen = -(-work.width // PICTURE_PATCH) * -(-work.height // PICTURE_PATCH)
        tokens = max(tokens, seen + CAPTION_TOKENS)
        text = encoder.config.get("text_config", {})
        heads = int(text.get("num_key_value_heads", 4))
        width = int(text.get("hidden_size", 3584)) // int(text.get("num_attention_heads", 28))
        memory = (
            2 * tokens * heads * width * int(text.get("num_hidden_layers", 28)) * dtype_of(dtype).itemsize
        )
    config = json.dumps(dict(encoder.config), sort_keys=True, default=str)
    return memory + _text(encoder.class_name, config, tokens, work.batch, dtype)


@lru_cache(maxsize=64)
def _text(encoder_class: str, config: str, tokens: int, batch: int, dtype: str) -> int:
    import transformers

    values = json.loads(config)
    kind = getattr(transformers, encoder_class)
    if encoder_class == T5_ENCODER:
        settings = transformers.T5Config(**{**values, "num_layers": 1})
    elif encoder_class == CLIP_ENCODER:
        settings = transformers.CLIPTextConfig(**{**values, "num_hidden_layers": 1})
    else:
        text = {**values.get("text_config", {}), "num_hidden_layers": 1, "layer_types": None}
        vision = {**values.get("vision_config", {}), "depth": 1}
        settings = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    with torch.device("meta"):
        encoder = kind(settings).to(dtype_of(dtype)).eval()
    ids = torch.zeros(batch, tokens, dtype=torch.long, device="meta")
    states = encoder_class != CLIP_ENCODER
    return peak_bytes(lambda: encoder(input_ids=ids, output_hidden_states=states))
