"""Text encoding of the public Qwen-Image checkpoints: Qwen2.5-VL's last hidden states under the pipeline's template.

Knows the template and how to trim and pad; nothing of images (captions are in ``captioning``) or of sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..memory.placing import computing_device
from .features import LayerPrompts, TextFeatures, check_layer_prompts

TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
TEMPLATE_TOKENS = 34  # tokens of the template in front of the prompt, dropped from the features
MAX_TOKENS = 1024


class QwenTextEncoder:
    """``encoder`` is a Qwen2_5_VLForConditionalGeneration (or anything with its text call), ``tokenizer`` Qwen2's.

    The public checkpoints were trained on one scene prompt only: layer prompts are appended to it as sentences, so they
    guide the whole picture and are not bound to their layer (a control is needed for that).
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        *,
        template: str = TEMPLATE,
        drop: int = TEMPLATE_TOKENS,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.template = template
        self.drop = drop
        self.max_tokens = max_tokens

    def encode(self, prompts: Sequence[str], layer_prompts: LayerPrompts | None = None) -> TextFeatures:
        """(B, T, D) in the encoder's dtype: T is the longest prompt after the template is dropped, at most 1024;
        shorter prompts are zero-padded and masked. One span."""
        rows = check_layer_prompts(prompts, layer_prompts)
        texts = [
            self.template.format(join_prompts(prompt, row)) for prompt, row in zip(prompts, rows, strict=True)
        ]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt").to(computing_device(self.encoder))
        output = self.encoder(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
        )
        hidden = output.hidden_states[-1]
        kept = [
            states[mask.bool()][self.drop :][: self.max_tokens]
            for states, mask in zip(hidden, tokens.attention_mask, strict=True)
        ]
        embeds = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)
        lengths = torch.tensor([states.shape[0] for states in kept], device=embeds.device)
        mask = torch.arange(embeds.shape[1], device=embeds.device)[None] < lengths[:, None]
        return TextFeatures.from_embeds(embeds.to(self.encoder.dtype), mask)


def join_prompts(prompt: str, layers: Sequence[str | None]) -> str:
    """The scene prompt, then "Layer 2: ..." sentences for the layers that have a prompt (1 = bottom)."""
    sentences = [f"Layer {number}: {text.strip()}" for number, text in enumerate(layers, start=1) if text]
    return "\n".join(part for part in (prompt, *sentences) if part) if sentences else prompt
