"""Text encoding of the embedded model: a word-level tokenizer and a small T5 encoder, trained by this repository.

A scene prompt has at most 48 tokens, a layer's prompt at most 16, padded and masked; each is encoded on its own, so a
layer prompt means the same whatever the others say. It knows nothing of images or of how the tokens are attended to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from ...errors import InputError
from ..layout import TextSpan
from .features import LayerPrompts, TextFeatures, check_layer_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5EncoderModel

PROMPT_TOKENS = 48
"""Length of the scene prompt's span where layers have prompts too; alone it is as long as the longest prompt."""
LAYER_TOKENS = 16
"""Length of the span of a layer's prompt."""
PAD, UNK, EOS = "[PAD]", "[UNK]", "[EOS]"
SPECIAL_TOKENS = (PAD, UNK, EOS)  # ids 0, 1, 2


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over ``words`` (lower-cased, deduplicated, in order): [PAD]=0, [UNK]=1, [EOS]=2, then words.

    Text is NFKC-normalised, lower-cased and split at spaces and punctuation, each punctuation mark a token of its own;
    [EOS] ends every prompt. Words that are not in the list become [UNK].
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    for word in words:
        vocabulary.setdefault(word.lower(), len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(behavior="isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=None, special_tokens=[(EOS, vocabulary[EOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        eos_token=EOS,
        model_max_length=PROMPT_TOKENS,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
    )


def build_encoder(vocab_size: int, dim: int, layers: int, heads: int) -> T5EncoderModel:
    """A T5 encoder with random weights: ``layers`` blocks of width ``dim`` (a multiple of ``heads``), no dropout."""
    from transformers import T5Config, T5EncoderModel

    if dim % heads:
        raise InputError(f"The text encoder's width {dim} is not a multiple of its {heads} heads.")
    config = T5Config(
        vocab_size=vocab_size,
        d_model=dim,
        d_kv=dim // heads,
        d_ff=2 * dim,
        num_layers=layers,
        num_decoder_layers=0,
        num_heads=heads,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=PROMPT_TOKENS,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=2,
        use_cache=False,
    )
    return T5EncoderModel(config)


class EmbeddedTextEncoder:
    """Encodes prompts with the embedded tokenizer and T5 encoder; differentiable, so training can run through it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, encoder: T5EncoderModel) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return int(self.encoder.config.d_model)

    def tokenize(self, texts: Sequence[str], length: int = PROMPT_TOKENS) -> torch.Tensor:
        """(n, length) int64 ids, 0 where there is no word; longer texts are cut, the last word is always [EOS]."""
        return self.tokenizer(
            [text or "" for text in texts],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )["input_ids"]

    def encode(self, prompts: Sequence[str], layer_prompts: LayerPrompts | None = None) -> TextFeatures:
        """(B, T, dim): the scene's span, then one span per layer that has a prompt in any row.

        An empty prompt is one visible [EOS]; padding is zero and masked.
        """
        rows = check_layer_prompts(prompts, layer_prompts)
        used = [i for i in range(len(rows[0])) if any(row[i] is not None for row in rows)]
        scene = self.tokenize(prompts)
        layers = (
            self.tokenize([row[i] or "" for row in rows for i in used], LAYER_TOKENS) if used else scene[:0]
        )
        return self.encode_ids(
            scene, layers.view(len(rows), len(used), LAYER_TOKENS) if used else None, [i + 1 for i in used]
        )

    def encode_ids(
        self,
        scene: torch.Tensor,
        layers: torch.Tensor | None = None,
        indices: Sequence[int] = (),
        *,
        one_form: bool = False,
    ) -> TextFeatures:
        """The same from ids: ``scene`` (B, 48) and ``layers`` (B, n, 16) int64, whose spans belong to the layers
        ``indices``. The ids may live on the CPU whatever the encoder's device.

        ``one_form``: always a mask, and a multiple of eight tokens, so that a compiler sees one kind of call; and no
        question to the device that would have to be waited for.
        """
        device = self.encoder.get_input_embeddings().weight.device
        if layers is None:
            length = max(1, int((scene != 0).any(0).sum()))
            scene = scene[:, : -(-length // 8) * 8 if one_form else length]
        hidden, mask = self._hidden(scene, device)
        spans = [TextSpan(length=scene.shape[1])]
        if layers is not None:
            batch = len(scene)
            parts, seen = self._hidden(layers.flatten(0, 1), device)
            hidden = torch.cat([hidden, parts.reshape(batch, -1, parts.shape[-1])], 1)
            mask = torch.cat([mask, seen.reshape(batch, -1)], 1)
            spans += [TextSpan(length=LAYER_TOKENS, index=index) for index in indices]
        if one_form:
            return TextFeatures(embeds=hidden, mask=mask, spans=tuple(spans))
        return TextFeatures.from_embeds(hidden, mask, spans)

    def _hidden(self, ids: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        ids = ids.to(device, non_blocking=True)
        mask = ids != 0
        hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return hidden * mask[..., None].to(hidden.dtype), mask
