"""Attention backends: what each does with a mask is tried, not believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from acetate.errors import InputError
from acetate.models import attention
from acetate.models.attention import backend_names, check_masks, chosen_backend, probe
from acetate.models.backbones.qwen import QwenBackbone
from acetate.models.layout import Layout
from acetate.models.text import TextFeatures


@pytest.fixture(autouse=True)
def fresh_probes() -> Iterator[None]:
    probe.cache_clear()
    yield
    probe.cache_clear()


def test_torchs_own_are_right() -> None:
    names = backend_names()
    assert {"native", "flash", "xformers", "sage"} <= set(names)
    for name in ("native", "_native_math"):
        found = probe(name, "cpu")
        assert (found.installed, found.runs, found.masks) == (True, True, "right")


def test_what_is_missing_or_refuses_is_named() -> None:
    refusing = probe("_native_flash", "cpu")
    assert refusing.runs and refusing.masks == "refused" and "attn_mask" in refusing.note
    missing = [probe(name, "cpu") for name in backend_names() if name.startswith("_sage")]
    assert missing and all(not one.installed and "sageattention" in one.note for one in missing)
    assert "hub" in probe("flash_hub", "cpu").note


@pytest.mark.parametrize(("lie", "verdict"), [("nothing", "ignored"), ("added", "wrong")])
def test_a_backend_that_lies_about_masks_is_found_out(
    lie: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = attention._attend

    def lying(backend: str, query: Any, key: Any, value: Any, mask: Any) -> torch.Tensor:
        if backend != "xformers" or mask is None:
            return honest("native", query, key, value, mask)
        # As xformers has it: a bool mask taken for numbers that are added to the scores.
        return honest("native", query, key, value, None if lie == "nothing" else mask.to(query.dtype))

    monkeypatch.setattr(attention, "_attend", lying)
    monkeypatch.setattr(attention, "find_spec", lambda name: object())
    assert probe("xformers", "cpu").masks == verdict


def prompts(masked: bool) -> TextFeatures:
    mask = torch.ones(1, 5, dtype=torch.bool)
    mask[:, 3:] = not masked
    torch.manual_seed(0)
    return TextFeatures.from_embeds(torch.randn(1, 5, 16), mask)


def test_a_backend_without_masks_is_refused_where_one_is_needed(transformer: Any) -> None:
    model = transformer()
    backbone, layout = QwenBackbone(model), Layout.image_to_layers(2, 2, 1, None)
    tokens, sigma = torch.randn(1, layout.num_image_tokens, 64), torch.full((1,), 0.5)
    with torch.no_grad():
        plain = [backbone.velocity(tokens, sigma, prompts(masked), layout) for masked in (False, True)]
        assert chosen_backend(model) == "native"
        for processor in model.attn_processors.values():
            processor._attention_backend = attention_name("_native_flash")
        assert chosen_backend(model) == "_native_flash"
        assert torch.allclose(backbone.velocity(tokens, sigma, prompts(False), layout), plain[0], atol=1e-4)
        with pytest.raises(InputError, match=r"'_native_flash' refuses masks.*set_attention_backend"):
            backbone.velocity(tokens, sigma, prompts(True), layout)
        for processor in model.attn_processors.values():
            processor._attention_backend = attention_name("_native_math")
        check_masks(model, torch.device("cpu"))
        assert torch.allclose(backbone.velocity(tokens, sigma, prompts(True), layout), plain[1], atol=1e-4)


def attention_name(name: str) -> Any:
    from diffusers.models.attention_dispatch import AttentionBackendName

    return AttentionBackendName(name)
