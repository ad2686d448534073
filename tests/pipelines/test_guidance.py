"""Guidance arithmetic, and the exact joining of branches into one batch."""

from __future__ import annotations

import pytest
import torch

from acetate.errors import InputError
from acetate.models.layout import TextSpan
from acetate.models.text import TextFeatures
from acetate.pipelines.branches import join_branches
from acetate.pipelines.guidance import Guidance, renormalise


def test_scale_one_needs_no_second_branch() -> None:
    assert not Guidance(scale=1.0).enabled
    assert not Guidance(scale=1.0).active(0.5)
    cond, uncond = torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(Guidance(scale=1.0, renormalise=False).combine(cond, uncond), cond)


def test_combination_and_its_length() -> None:
    cond, uncond = torch.randn(2, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    plain = Guidance(scale=4.0, renormalise=False).combine(cond, uncond)
    torch.testing.assert_close(plain, uncond + 4.0 * (cond - uncond))
    scaled = Guidance(scale=4.0).combine(cond, uncond)
    torch.testing.assert_close(scaled.norm(dim=-1), cond.norm(dim=-1))
    torch.testing.assert_close(
        scaled / scaled.norm(dim=-1, keepdim=True), plain / plain.norm(dim=-1, keepdim=True)
    )


def test_a_zero_token_stays_zero() -> None:
    assert torch.equal(renormalise(torch.zeros(1, 2, 4), torch.ones(1, 2, 4)), torch.zeros(1, 2, 4))


def test_interval_is_in_sigma_and_inclusive() -> None:
    guidance = Guidance(scale=3.0, interval=(0.25, 0.75))
    assert [guidance.active(sigma) for sigma in (0.8, 0.75, 0.5, 0.25, 0.2)] == [
        False,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("settings", [{"scale": 0.5}, {"scale": 1000.0}, {"interval": (0.6, 0.2)}])
def test_impossible_guidance_is_refused(settings: dict) -> None:
    with pytest.raises(InputError, match=r"[Gg]uidance"):
        Guidance(**settings)


def test_joining_pads_the_shorter_prompt_at_its_end() -> None:
    long, short = TextFeatures(embeds=torch.ones(2, 5, 3)), TextFeatures(embeds=torch.ones(2, 2, 3))
    both = join_branches(long, short)
    assert both.embeds.shape == (4, 5, 3)
    assert both.spans == (TextSpan(length=5),)
    assert both.mask.sum(dim=1).tolist() == [5, 5, 2, 2]
    assert both.embeds[2:, 2:].abs().max() == 0


def test_joining_equal_unmasked_prompts_needs_no_mask() -> None:
    assert join_branches(*[TextFeatures(embeds=torch.ones(1, 2, 3))] * 2).mask is None


def test_layer_prompts_in_one_branch_only_cannot_be_joined() -> None:
    spans = (TextSpan(length=2), TextSpan(length=2, index=1))
    layered = TextFeatures(embeds=torch.ones(1, 4, 3), spans=spans)
    with pytest.raises(InputError, match="one after another"):
        join_branches(layered, TextFeatures(embeds=torch.ones(1, 2, 3)))
