"""Optimiser, flow matching, EMA and attention: closed forms and the stock classes as references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from acetate.models.backbones.qwen import QwenBackbone
from acetate.models.codecs import still_convolutions
from acetate.models.layout import Layout
from acetate.models.text import TextFeatures
from acetate.training.alignment import GradientCosine
from acetate.training.attention import FlashAttention, MatmulAttention
from acetate.training.ema import EMA
from acetate.training.flow import flow_loss, pack_frames, pack_weights
from acetate.training.muon import Muon, orthogonalise, split_parameters
from acetate.training.pool import boxed, loosened, merge_top, shares, token_boxes
from acetate.training.routing import TokenRouting
from acetate.training.vae import VAELossSettings, clear_video_taps, decode_pixels, encode_moments, vae_loss


def tiny_transformer() -> QwenImageTransformer2DModel:
    torch.manual_seed(0)
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        axes_dims_rope=(4, 6, 6),
        use_additional_t_cond=True,
        use_layer3d_rope=True,
    )


def tiny_vae() -> AutoencoderKLQwenImage:
    torch.manual_seed(0)
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=8,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, False, False],
        input_channels=4,
    )


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16), (3, 16, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
    assert float(values.min()) > 0.6 and float(values.max()) < 1.25


def test_a_batch_of_matrices_is_orthogonalised_one_by_one() -> None:
    torch.manual_seed(0)
    stack = torch.randn(3, 8, 12)
    one_by_one = torch.stack([orthogonalise(m) for m in stack])
    torch.testing.assert_close(orthogonalise(stack), one_by_one, atol=0.02, rtol=0)


def test_the_adamw_part_is_torchs_adamw() -> None:
    torch.manual_seed(0)
    mine, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    ours = Muon([], [mine], adamw_lr=1e-2)
    reference = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(20):
        gradient = torch.randn(5)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_heads_norms_and_biases_stay_out_of_muon() -> None:
    model = tiny_transformer()
    matrices, others = split_parameters(model, ("img_in", "proj_out"))
    inside = {id(p) for p in matrices}
    assert id(model.transformer_blocks[0].attn.to_q.weight) in inside
    assert (
        id(model.img_in.weight) not in inside and id(model.transformer_blocks[0].attn.to_q.bias) not in inside
    )
    assert len(matrices) + len(others) == len(list(model.parameters()))


def test_ema_follows_its_formula() -> None:
    module = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.zeros_(module.weight)
    ema, expected = EMA(module, 0.5), 0.0
    for k in range(4):
        torch.nn.init.constant_(module.weight, float(k + 1))
        ema.update(module)
        d = min(0.5, (1 + k) / (10 + k))
        expected = d * expected + (1 - d) * (k + 1)
    torch.testing.assert_close(ema.shadow["weight"], torch.full((2, 2), expected))


@pytest.mark.parametrize("kind", [MatmulAttention, FlashAttention])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_for_training_is_the_stock_processor(kind: type, masked: bool) -> None:
    model = tiny_transformer()
    backbone, layout = QwenBackbone(model), Layout.image_to_layers(3, 2, 2)
    torch.manual_seed(1)
    tokens, sigma = torch.randn(2, layout.num_image_tokens, 16), torch.tensor([0.3, 0.9])
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    text = TextFeatures.from_embeds(torch.randn(2, 4, 8), mask if masked else None)
    stock = backbone.velocity(tokens, sigma, text, layout)
    model.set_attn_processor(kind())
    torch.testing.assert_close(backbone.velocity(tokens, sigma, text, layout), stock, atol=1e-5, rtol=1e-5)


def test_the_loss_is_zero_for_the_true_velocity_and_sees_only_noisy_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone, layout = QwenBackbone(tiny_transformer()), Layout.image_to_layers(2, 2, 1)
    torch.manual_seed(0)
    latents = torch.randn(1, 3, 4, 4, 4)
    tokens = pack_frames(backbone, latents, layout)
    noise = torch.randn(1, layout.num_noisy_tokens, 16)
    weights = pack_weights(torch.ones(1, 2, 4), layout)
    seen = {}

    def velocity(mixed: torch.Tensor, sigma: torch.Tensor, *_: object) -> torch.Tensor:
        seen["mixed"] = mixed
        return noise - tokens[:, layout.noisy_slice]

    monkeypatch.setattr(backbone, "velocity", velocity)
    loss = flow_loss(
        backbone,
        tokens,
        weights,
        TextFeatures.from_embeds(torch.zeros(1, 1, 8)),
        layout,
        torch.tensor([0.7]),
        noise,
    )
    assert float(loss) == 0
    torch.testing.assert_close(
        seen["mixed"][:, layout.slices[-1]], tokens[:, layout.slices[-1]]
    )  # the condition stays clean
    torch.testing.assert_close(
        seen["mixed"][:, layout.noisy_slice], 0.3 * tokens[:, layout.noisy_slice] + 0.7 * noise
    )


def test_clearing_the_video_taps_leaves_pictures_unchanged() -> None:
    vae, pixels = tiny_vae().eval(), torch.rand(2, 4, 16, 16) * 2 - 1
    with torch.no_grad():
        moments = encode_moments(vae, pixels)
        decoded = decode_pixels(vae, moments[:, :8])
        clear_video_taps(vae)
        torch.testing.assert_close(encode_moments(vae, pixels)[:, :8], moments[:, :8], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(decode_pixels(vae, moments[:, :8]), decoded, atol=1e-6, rtol=1e-5)


def test_the_codec_learns() -> None:
    vae, settings = tiny_vae(), VAELossSettings(noise=0.0)
    torch.manual_seed(0)
    flat = (torch.rand(4, 4, 1, 1) * 2 - 1).expand(4, 4, 16, 16).contiguous()
    optimiser = Muon(
        *split_parameters(vae, ("encoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv")),
        lr=0.006,
    )
    losses = []
    with still_convolutions(vae, channels_last=True):
        for _ in range(30):
            loss, _ = vae_loss(vae, flat, settings)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert min(losses) < 0.7 * losses[0]


def test_too_many_layers_merge_at_the_top_without_changing_the_picture() -> None:
    from acetate.datasets.render import over

    torch.manual_seed(0)
    stacks = torch.rand(2, 4, 4, 6, 6)
    stacks[:, 0, 3] = 1
    merged = merge_top(stacks, 3)
    assert merged.shape == (2, 3, 4, 6, 6)
    torch.testing.assert_close(over(merged), over(stacks), atol=1e-3, rtol=0)
    assert merge_top(stacks, 4) is stacks


def test_token_boxes_hold_all_alpha() -> None:
    alpha = torch.zeros(2, 3, 64, 64)
    alpha[:, 0] = 1
    alpha[0, 1, 20:30, 40:41] = 1
    alpha[1, 1, 50, 10] = 1
    assert token_boxes(alpha) == [None, (0, 1, 3, 4), (0, 0, 1, 1)]


def test_visible_shares_add_up_to_the_whole_picture() -> None:
    torch.manual_seed(0)
    alpha = torch.rand(2, 3, 32, 32)
    alpha[:, 0] = 1
    coverage, visible = shares(alpha)
    torch.testing.assert_close(visible.sum(1), torch.ones(2, 4))
    assert bool((visible <= coverage + 1e-6).all())


def test_masks_are_loosened_but_never_lose_the_object() -> None:
    mask = torch.zeros(6, 1, 48, 48)
    mask[:, :, 10:20, 12:30] = 1
    mask[:, :, 15, 5] = 1
    loose = loosened(mask, np.random.default_rng(0))
    assert bool((loose >= mask).all()) and torch.equal(loose[:2], mask[:2])
    box = boxed(mask)
    assert box[0, 0, 10:20, 5:30].all() and box[0].sum() == 10 * 25


def test_a_head_that_pulls_the_other_way_is_let_go() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    cosine = GradientCosine(weight, keep=0.5, settle=2)
    cosine.update((weight**2).sum(), (weight**2).sum())
    assert cosine.mean == pytest.approx(1.0) and not cosine.ended
    for _ in range(3):
        cosine.update((weight**2).sum(), -(weight**2).sum())
    assert cosine.mean is not None and cosine.mean < 0 and cosine.ended


def test_one_bad_batch_at_the_start_does_not_end_the_alignment() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    cosine = GradientCosine(weight, settle=2)
    cosine.update((weight**2).sum(), -(weight**2).sum())
    for _ in range(9):
        cosine.update((weight**2).sum(), (weight**2).sum())
        assert not cosine.ended


def test_routing_keeps_what_it_skips_and_all_of_it_means_no_change() -> None:
    model = tiny_transformer()
    backbone, layout = QwenBackbone(model), Layout.image_to_layers(3, 2, 2)
    torch.manual_seed(1)
    tokens, sigma = torch.randn(2, layout.num_image_tokens, 16), torch.tensor([0.3, 0.9])
    text = TextFeatures.from_embeds(torch.randn(2, 4, 8))
    whole = backbone.velocity(tokens, sigma, text, layout)
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []
    model.transformer_blocks[0].register_forward_hook(lambda m, a, out: before.append(out[1]))
    routing = TokenRouting(model, first=1, last=2, keep=0.5)
    model.transformer_blocks[1].register_forward_hook(lambda m, a, out: after.append(out[1]))
    assert torch.equal(backbone.velocity(tokens, sigma, text, layout), whole)
    with routing.over(layout):
        backbone.velocity(tokens, sigma, text, layout)
    same = (before[1] == after[1]).all(-1).all(0)
    noisy = layout.num_noisy_tokens
    assert int(same.sum()) == noisy - round(0.5 * noisy) and not same[noisy:].any()
    with TokenRouting(tiny_transformer(), first=1, last=2, keep=1.0).over(layout):
        torch.testing.assert_close(
            QwenBackbone(tiny_transformer()).velocity(tokens, sigma, text, layout), whole
        )
    with pytest.raises(ValueError, match="0 < first"):
        TokenRouting(model, first=0, last=2, keep=0.5)
