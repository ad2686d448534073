from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageLayeredPipeline
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from acetate.errors import InputError
from acetate.models.layout import TextSpan
from acetate.models.text import (
    PROMPT_TOKENS,
    EmbeddedTextEncoder,
    QwenTextEncoder,
    TextEncoder,
    TextFeatures,
    build_encoder,
    build_tokenizer,
)
from acetate.models.text.qwen import TEMPLATE, TEMPLATE_TOKENS, join_prompts

WORDS = ["a", "Red", "circle", "on", "grass", ",", "a"]


@pytest.fixture(scope="module")
def embedded() -> EmbeddedTextEncoder:
    tokenizer = build_tokenizer(WORDS)
    torch.manual_seed(0)
    return EmbeddedTextEncoder(tokenizer, build_encoder(len(tokenizer), 16, 2, 2).eval())


def test_tokenizer_lowers_splits_and_ends(embedded: EmbeddedTextEncoder) -> None:
    assert embedded.tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[EOS]", "a", "red"]) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert len(embedded.tokenizer) == 9
    ids = embedded.tokenize(["A RED circle,on  grass!", ""])
    assert ids[0, :8].tolist() == [3, 4, 5, 8, 6, 7, 1, 2]
    assert (ids != 0).sum(1).tolist() == [8, 1]
    assert ids[1, 0] == 2 and ids.shape == (2, PROMPT_TOKENS)


def test_long_prompts_keep_their_end(embedded: EmbeddedTextEncoder) -> None:
    ids = embedded.tokenize(["a " * 100])
    assert bool((ids != 0).all()) and ids[0, -1] == 2 and ids[0, -2] == 3


def test_saved_tokenizer_and_encoder_are_the_same(embedded: EmbeddedTextEncoder, tmp_path: Path) -> None:
    embedded.tokenizer.save_pretrained(tmp_path / "tokenizer")
    embedded.encoder.save_pretrained(tmp_path / "encoder")
    again = EmbeddedTextEncoder(
        PreTrainedTokenizerFast.from_pretrained(tmp_path / "tokenizer"),
        T5EncoderModel.from_pretrained(tmp_path / "encoder").eval(),
    )
    with torch.no_grad():
        one, two = (part.encode(["a Red, circle?"]) for part in (embedded, again))
    assert torch.equal(one.embeds, two.embeds)


@torch.no_grad()
def test_each_prompt_is_a_span_of_its_own(embedded: EmbeddedTextEncoder) -> None:
    text = embedded.encode(["a circle", "grass"], [["red", None, "grass"], [None, None, None]])
    assert isinstance(embedded, TextEncoder)
    assert text.spans == tuple(TextSpan(length=n, index=i) for n, i in ((48, None), (16, 1), (16, 3)))
    assert text.embeds.shape == (2, 80, 16) and text.mask is not None
    alone = embedded.encode(["red"])
    assert alone.mask is None and alone.num_tokens == 2  # nothing but the word and its end
    assert torch.allclose(text.embeds[0, 48:50], alone.embeds[0], atol=1e-6)
    assert text.mask[0, 48:64].tolist() == [True] * 2 + [False] * 14
    assert int(text.mask[1, 48:64].sum()) == 1
    assert not text.embeds[~text.mask].any()


@torch.no_grad()
def test_one_form_says_the_same_with_padding(embedded: EmbeddedTextEncoder) -> None:
    ids = embedded.tokenize(["a red circle", ""])
    short, padded = embedded.encode_ids(ids), embedded.encode_ids(ids, one_form=True)
    assert short.num_tokens == 4 and padded.num_tokens == 8
    assert short.mask is not None and padded.mask is not None
    assert torch.equal(padded.mask[:, :4], short.mask) and not padded.mask[:, 4:].any()
    assert torch.allclose(padded.embeds[:, :4], short.embeds, atol=1e-6)


@torch.no_grad()
def test_an_empty_prompt_is_never_fully_masked(embedded: EmbeddedTextEncoder) -> None:
    text = embedded.encode([""])
    assert text.mask is None and text.num_tokens == 1
    assert text.embeds[0, 0].any()


def test_training_reaches_the_encoder(embedded: EmbeddedTextEncoder) -> None:
    embedded.encode(["a red circle"]).embeds.square().sum().backward()
    grad = embedded.encoder.get_input_embeddings().weight.grad
    assert grad is not None and grad[3].any() and not grad[0].any()
    embedded.encoder.zero_grad()


def test_wrong_lists_are_refused(embedded: EmbeddedTextEncoder) -> None:
    with pytest.raises(InputError, match="2 prompts"):
        embedded.encode(["a", "b"], [["c"]])
    with pytest.raises(InputError, match="At least one"):
        embedded.encode([])
    with pytest.raises(TypeError, match="list of prompts"):
        embedded.encode("a red circle")
    with pytest.raises(InputError, match="3 heads"):
        build_encoder(5, 16, 1, 3)


def test_features_check_repeat_and_move() -> None:
    embeds = torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    text = TextFeatures.from_embeds(embeds, mask)
    assert text.spans == (TextSpan(length=3),)
    twice = text.repeat(2)
    assert torch.equal(twice.embeds, embeds[[0, 0, 1, 1]])
    assert twice.mask is not None and twice.mask.int().sum(1).tolist() == [2, 2, 3, 3]
    assert text.to(dtype=torch.float64).embeds.dtype == torch.float64
    assert text.select(slice(1, 2)).batch_size == 1
    assert TextFeatures.from_embeds(embeds, torch.ones(2, 3)).mask is None
    with pytest.raises(InputError, match="hides every token"):
        TextFeatures.from_embeds(embeds, torch.zeros(2, 3))
    with pytest.raises(InputError, match="do not cover"):
        TextFeatures(embeds=embeds, spans=(TextSpan(length=2),))
    with pytest.raises(InputError, match="prompt mask"):
        TextFeatures(embeds=embeds, mask=torch.ones(2, 4))
    with pytest.raises(InputError, match="batch, tokens, dim"):
        TextFeatures(embeds=embeds[0])


@torch.no_grad()
def test_qwen_features_equal_the_published_pipelines(
    qwen_parts: tuple[Any, Any], vae: Any, transformer: Any
) -> None:
    tokenizer, encoder = qwen_parts
    pipe = QwenImageLayeredPipeline(None, vae(), encoder, tokenizer, None, transformer())
    assert pipe.prompt_template_encode == TEMPLATE
    assert pipe.prompt_template_encode_start_idx == TEMPLATE_TOKENS
    prompts = ["a red circle {on} grass", "short", ""]
    embeds, mask = pipe.encode_prompt(prompts)
    text = QwenTextEncoder(tokenizer, encoder).encode(prompts)
    assert torch.equal(text.embeds, embeds)
    assert text.mask is not None and torch.equal(text.mask, mask.bool())
    single, none = pipe.encode_prompt(["short"])
    alone = QwenTextEncoder(tokenizer, encoder).encode(["short"])
    assert none is None and alone.mask is None and torch.equal(alone.embeds, single)


def test_layer_prompts_become_sentences_for_public_checkpoints() -> None:
    assert join_prompts("a scene", ["grass", None, " a cat "]) == "a scene\nLayer 1: grass\nLayer 3: a cat"
    assert join_prompts("", ["grass"]) == "Layer 1: grass"
    assert join_prompts(" ", []) == " "
