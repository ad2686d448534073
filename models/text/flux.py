"""Text encoding of FLUX.1: T5's last hidden states and CLIP's pooled vector, as FluxPipeline makes them.

T5 pads every prompt to one length and FLUX was trained to see the padding, so there is no mask. It knows how to tokenise and
trim; nothing of images or of sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..memory.placing import computing_device
from .features import LayerPrompts, TextFeatures, check_layer_prompts
from .qwen import join_prompts

MAX_TOKENS = 512  # dev; schnell was trained with 256
CLIP_TOKENS = 77


class FluxTextEncoder:
    """``encoder``, ``tokenizer``: CLIP's text model; ``encoder_2``, ``tokenizer_2``: T5's encoder.

    FLUX knows one scene prompt: layer prompts are appended to it as sentences and not bound to their layer.
    """

    def __init__(
        self, tokenizer: Any, encoder: Any, tokenizer_2: Any, encoder_2: Any, *, max_tokens: int = MAX_TOKENS
    ) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.tokenizer_2 = tokenizer_2
        self.encoder_2 = encoder_2
        self.max_tokens = max_tokens

    def encode(self, prompts: Sequence[str], layer_prompts: LayerPrompts | None = None) -> TextFeatures:
        """(B, max_tokens, D) and pooled (B, P), in the encoders' dtype; one span."""
        rows = check_layer_prompts(prompts, layer_prompts)
        texts = [join_prompts(prompt, row) for prompt, row in zip(prompts, rows, strict=True)]
        long, short = (
            tokenizer(
                texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            ).input_ids
            for tokenizer, length in ((self.tokenizer_2, self.max_tokens), (self.tokenizer, CLIP_TOKENS))
        )
        embeds = self.encoder_2(long.to(computing_device(self.encoder_2)), output_hidden_states=False)[0]
        pooled = self.encoder(
            short.to(computing_device(self.encoder)), output_hidden_states=False
        ).pooler_output
        return TextFeatures(embeds=embeds.to(self.encoder_2.dtype), pooled=pooled.to(self.encoder_2.dtype))
