"""QwenBackbone against the stock transformer: identities first."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, QwenImageLayeredPipeline
from diffusers.models.transformers import transformer_qwenimage

from acetate.errors import InputError
from acetate.models.backbones import Backbone, QwenBackbone
from acetate.models.frame_embedding import FrameEmbedding
from acetate.models.layout import Frame, Layout, Role, TextSpan
from acetate.models.text import TextFeatures

Make = Callable[..., Any]
HEIGHT, WIDTH = 3, 5


def features(batch: int, tokens: int = 7, masked: bool = False, seed: int = 3) -> TextFeatures:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    if masked:
        mask[0, 4:] = False
    return TextFeatures.from_embeds(torch.randn(batch, tokens, 16, generator=generator), mask)


def tokens_for(layout: Layout, batch: int, seed: int = 4) -> torch.Tensor:
    return torch.randn(batch, layout.num_image_tokens, 64, generator=torch.Generator().manual_seed(seed))


def stock(
    model: Any, tokens: torch.Tensor, sigma: torch.Tensor, text: TextFeatures, frames: int
) -> torch.Tensor:
    batch = tokens.shape[0]
    extra = torch.zeros(batch, dtype=torch.long) if model.config.use_additional_t_cond else None
    return model(
        hidden_states=tokens,
        encoder_hidden_states=text.embeds,
        encoder_hidden_states_mask=text.mask,
        timestep=sigma,
        img_shapes=[[(1, HEIGHT, WIDTH)] * frames] * batch,
        additional_t_cond=extra,
        return_dict=False,
    )[0]


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layers", [1, 3, 8])
def test_equals_the_stock_transformer_bit_for_bit(transformer: Make, layers: int, masked: bool) -> None:
    model = transformer()
    layout = Layout.image_to_layers(HEIGHT, WIDTH, layers)
    tokens, text = tokens_for(layout, 2), features(2, masked=masked)
    sigma = torch.tensor([0.3, 0.97])
    expected = stock(model, tokens, sigma, text, layers + 2)[:, : layout.num_noisy_tokens]
    got = QwenBackbone(model, FrameEmbedding(32)).velocity(tokens, sigma, text, layout)
    assert got.shape == (2, (layers + 1) * 15, 64)
    assert torch.equal(got, expected)


@torch.no_grad()
def test_zero_frame_embedding_changes_nothing_and_a_trained_one_does(transformer: Make) -> None:
    model, layout, text = transformer(), Layout.image_to_layers(HEIGHT, WIDTH, 2), features(1)
    tokens, sigma = tokens_for(layout, 1), torch.tensor([0.5])
    tokens[:, :4] = -0.0
    embedding = FrameEmbedding(32)
    plain = QwenBackbone(model).velocity(tokens, sigma, text, layout)
    backbone = QwenBackbone(model, embedding)
    assert torch.equal(backbone.velocity(tokens, sigma, text, layout), plain)
    embedding.role[2] = 0.5
    assert not torch.equal(backbone.velocity(tokens, sigma, text, layout), plain)


@pytest.mark.parametrize(("height", "width", "layers"), [(3, 5, 1), (8, 4, 3), (1, 1, 8), (7, 7, 20)])
def test_frequencies_are_the_stock_ones(transformer: Make, height: int, width: int, layers: int) -> None:
    model = transformer()
    layout = Layout.image_to_layers(height, width, layers).with_text([TextSpan(length=9)])
    image, text = QwenBackbone(model).frequencies(layout)
    shapes = [[(1, height, width)] * (layers + 2)]
    stock_image, stock_text = model.pos_embed(shapes, max_txt_seq_len=9, device=torch.device("cpu"))
    assert torch.equal(image, stock_image)
    assert torch.equal(text, stock_text)


def test_a_real_layer_at_the_end_is_not_a_condition(transformer: Make) -> None:
    # The stock module moves whatever comes last to layer -1: the trap of a text-to-layers call.
    model = transformer()
    layout = Layout.text_to_layers(4, 4, 2)
    image, _ = QwenBackbone(model).frequencies(layout)
    stock_image, _ = model.pos_embed([[(1, 4, 4)] * 4], max_txt_seq_len=1, device=torch.device("cpu"))
    assert torch.equal(image, stock_image[: 3 * 16])


@torch.no_grad()
def test_a_transformer_without_layered_flags(transformer: Make) -> None:
    model = transformer(use_layer3d_rope=False, use_additional_t_cond=False)
    backbone = QwenBackbone(model)
    assert not backbone.capabilities.layer_axis and not backbone.capabilities.additional_condition
    frames = (
        Frame(role=Role.LAYER, index=0),
        Frame(role=Role.LAYER, index=1),
        Frame(role=Role.REFERENCE, index=2, noisy=False),
    )
    layout = Layout(height=HEIGHT, width=WIDTH, frames=frames)
    tokens, text, sigma = tokens_for(layout, 2), features(2), torch.tensor([0.2, 0.9])
    expected = stock(model, tokens, sigma, text, 3)[:, : layout.num_noisy_tokens]
    assert torch.equal(backbone.velocity(tokens, sigma, text, layout), expected)


@torch.no_grad()
def test_clean_frames_at_time_zero_work_for_batches(transformer: Make) -> None:
    backbone = QwenBackbone(transformer(zero_cond_t=True))
    layout, text = Layout.image_to_layers(HEIGHT, WIDTH, 2), features(2)
    tokens, sigma = tokens_for(layout, 2), torch.tensor([0.4, 0.4])
    both = backbone.velocity(tokens, sigma, text, layout)
    one = backbone.velocity(tokens[1:], sigma[1:], text.select([1]), layout)
    assert torch.allclose(both[1:], one, atol=1e-5)


@torch.no_grad()
def test_a_batch_equals_its_samples(transformer: Make) -> None:
    backbone = QwenBackbone(transformer())
    layout, text = Layout.image_to_layers(HEIGHT, WIDTH, 2), features(2, masked=True)
    tokens, sigma = tokens_for(layout, 2), torch.tensor([0.4, 0.8])
    both = backbone.velocity(tokens, sigma, text, layout)
    for row in range(2):
        one = backbone.velocity(tokens[row : row + 1], sigma[row : row + 1], text.select([row]), layout)
        assert torch.allclose(both[row : row + 1], one, atol=1e-5)


@torch.no_grad()
def test_cropped_frames_equal_the_full_layout_with_the_cut_tokens_hidden(
    transformer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [None, (1, 0, 4, 2), (2, 1, 5, 3)]
    embedding = FrameEmbedding(32)
    torch.nn.init.normal_(embedding.role)
    torch.nn.init.normal_(embedding.state)
    backbone = QwenBackbone(transformer(), embedding)
    spans = (TextSpan(length=4), TextSpan(length=3, index=2))
    text = TextFeatures.from_embeds(features(2).embeds, None, spans)
    cropped = Layout.image_to_layers(HEIGHT, WIDTH, 3, boxes)
    full = Layout.image_to_layers(HEIGHT, WIDTH, 3)
    everything, sigma = tokens_for(full, 2), torch.tensor([0.3, 0.8])
    per_frame = [everything[:, where] for where in full.slices]
    kept = torch.cat([cropped.crop(part, i) for i, part in enumerate(per_frame)], dim=1)
    short = backbone.velocity(kept, sigma, text, cropped)
    visible = torch.ones(text.num_tokens + full.num_image_tokens, dtype=torch.bool)
    for number, where in enumerate(full.slices):
        inside = torch.zeros(HEIGHT * WIDTH, dtype=torch.bool)
        inside[cropped.grid_index(number)] = True
        visible[text.num_tokens + where.start : text.num_tokens + where.stop] = inside
    attention = transformer_qwenimage.dispatch_attention_fn

    def hidden(query: Any, key: Any, value: Any, attn_mask: Any = None, **kwargs: Any) -> torch.Tensor:
        assert attn_mask is None
        return attention(query, key, value, attn_mask=visible[None, None, None].expand(2, 1, 1, -1), **kwargs)

    monkeypatch.setattr(transformer_qwenimage, "dispatch_attention_fn", hidden)
    long = backbone.velocity(everything, sigma, text, full)
    for number, _frame in enumerate(full.noisy_frames):
        expected = cropped.crop(long[:, full.slices[number]], number)
        assert (short[:, cropped.slices[number]] - expected).abs().max() <= 1e-5
    monkeypatch.undo()
    seen = backbone.velocity(everything, sigma, text, full)
    assert (seen - long).abs().max() > 1e-4  # the mask does hide something


def snapshot(model: Any) -> list[Any]:
    hooks = [(name, dict(m._forward_hooks), dict(m._forward_pre_hooks)) for name, m in model.named_modules()]
    own = [(name, m.__dict__.get("forward")) for name, m in model.named_modules()]
    return [hooks, own, dict(model.attn_processors), list(model.state_dict())]


@pytest.mark.parametrize("wrapped", [False, True])
def test_installed_restores_exactly_what_it_found(transformer: Make, wrapped: bool) -> None:
    model = transformer()
    if wrapped:
        mine = model.pos_embed.forward
        model.pos_embed.forward = lambda *args, **kwargs: mine(*args, **kwargs)
    before = snapshot(model)
    backbone = QwenBackbone(model, FrameEmbedding(32))
    layout, other = Layout.image_to_layers(2, 2, 1), Layout.text_to_layers(3, 3, 2)
    with backbone.installed(layout):
        assert snapshot(model) != before
        with backbone.installed(other):
            assert model.pos_embed(None, max_txt_seq_len=0, device="cpu")[0].shape[0] == 27
        assert model.pos_embed(None, max_txt_seq_len=0, device="cpu")[0].shape[0] == 12
        assert model.img_in(torch.zeros(1, 12, 64)).shape == (1, 12, 32)
    assert snapshot(model) == before
    with pytest.raises(RuntimeError, match="inside"), backbone.installed(layout), backbone.installed(other):
        raise RuntimeError("inside")
    assert snapshot(model) == before


@torch.no_grad()
def test_failing_inside_the_network_leaves_it_as_found(transformer: Make) -> None:
    model = transformer()
    before = snapshot(model)
    handle = model.transformer_blocks[1].register_forward_pre_hook(lambda *_: 1 / 0)
    layout = Layout.image_to_layers(2, 2, 1)
    with pytest.raises(ZeroDivisionError):
        QwenBackbone(model, FrameEmbedding(32)).velocity(
            tokens_for(layout, 1), torch.ones(1), features(1), layout
        )
    handle.remove()
    assert snapshot(model) == before


@torch.no_grad()
def test_installed_or_not_velocity_is_the_same(transformer: Make) -> None:
    backbone = QwenBackbone(transformer(), FrameEmbedding(32))
    layout, text = Layout.image_to_layers(HEIGHT, WIDTH, 1), features(1)
    tokens, sigma = tokens_for(layout, 1), torch.tensor([0.6])
    alone = backbone.velocity(tokens, sigma, text, layout)
    with backbone.installed(layout):
        assert torch.equal(backbone.velocity(tokens, sigma, text, layout), alone)
        longer = features(1, tokens=11)
        assert backbone.velocity(tokens, sigma, longer, layout).shape == alone.shape


def test_the_frequency_cache_is_bounded_and_keeps_nothing_alive(transformer: Make) -> None:
    model = transformer()
    backbone = QwenBackbone(model)
    for layers in range(1, 30):
        backbone.frequencies(Layout.text_to_layers(2, 2, layers))
    assert len(backbone._frequencies) == 8
    layout = Layout.text_to_layers(2, 2, 29)
    assert backbone.frequencies(layout)[0] is backbone.frequencies(layout)[0]
    with torch.no_grad():
        image = Layout.image_to_layers(2, 2, 1)
        backbone.velocity(tokens_for(image, 1), torch.ones(1), features(1), image)
    gone = weakref.ref(model)
    del model, backbone
    gc.collect()
    assert gone() is None


def test_pack_is_the_published_order_and_unpack_its_inverse(transformer: Make) -> None:
    backbone = QwenBackbone(transformer())
    latents = torch.randn(2, 16, 6, 10)
    packed = backbone.pack(latents)
    expected = QwenImageLayeredPipeline._pack_latents(latents[:, None], 2, 16, 6, 10, 1)
    assert torch.equal(packed, expected)
    assert torch.equal(backbone.unpack(packed, 3, 5), latents)
    with pytest.raises(ValueError, match="patches"):
        backbone.pack(torch.zeros(1, 16, 5, 4))
    with pytest.raises(ValueError, match="grid"):
        backbone.unpack(packed, 4, 5)


def test_gradients_reach_every_part(transformer: Make) -> None:
    model = transformer().train()
    embedding = FrameEmbedding(32)
    backbone = QwenBackbone(model, embedding)
    assert isinstance(backbone, Backbone)
    layout = Layout.image_to_layers(HEIGHT, WIDTH, 2, [None, (0, 0, 2, 2)])
    embeds = torch.randn(2, 5, 16, requires_grad=True)
    for context in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            output = backbone.velocity(
                tokens_for(layout, 2), torch.rand(2), TextFeatures(embeds=embeds), layout
            )
            output.square().mean().backward()
        assert output.dtype == torch.float32
    assert embeds.grad is not None and embeds.grad.abs().sum() > 0
    assert model.img_in.weight.grad.abs().sum() > 0
    assert embedding.role.grad is not None
    assert embedding.role.grad.abs().sum(1).bool().tolist()[:4] == [True] * 4
    assert embedding.state.grad.abs().sum(1).bool().all()


@torch.no_grad()
def test_half_precision_weights_take_float_tokens(transformer: Make) -> None:
    backbone = QwenBackbone(transformer().to(torch.bfloat16), FrameEmbedding(32))
    layout = Layout.image_to_layers(HEIGHT, WIDTH, 1)
    output = backbone.velocity(tokens_for(layout, 1), torch.ones(1), features(1), layout)
    assert output.dtype == torch.float32 and bool(output.isfinite().all())


@torch.no_grad()
def test_the_caches_of_diffusers_run_in_the_callers_contexts(transformer: Make) -> None:
    model = transformer()
    backbone = QwenBackbone(model)
    layout, sigma = Layout.image_to_layers(HEIGHT, WIDTH, 1), torch.tensor([0.5])
    tokens = tokens_for(layout, 1)
    short, long = features(1, 3), features(1, 9, seed=8)
    plain = [backbone.velocity(tokens, sigma, text, layout) for text in (short, long)]
    model.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    for _ in range(2):
        for name, text, expected in zip(("cond", "uncond"), (short, long), plain, strict=True):
            with backbone.cache_context(name):
                assert torch.allclose(backbone.velocity(tokens, sigma, text, layout), expected, atol=1e-5)
    model.disable_cache()
    assert torch.equal(backbone.velocity(tokens, sigma, short, layout), plain[0])


def test_capabilities_and_blocks(transformer: Make) -> None:
    backbone = QwenBackbone(transformer())
    able = backbone.capabilities
    assert (able.latent_channels, able.text_dim, able.hidden_size, able.num_blocks) == (16, 16, 32, 2)
    assert able.layer_axis and able.additional_condition and not able.clean_at_zero
    assert able.max_position == 4096
    assert backbone.blocks is backbone.transformer.transformer_blocks


def test_wrong_parts_and_inputs_are_named(transformer: Make) -> None:
    model = transformer()
    with pytest.raises(InputError, match="width 16, but the transformer works at 32"):
        QwenBackbone(model, FrameEmbedding(16))
    backbone, layout = QwenBackbone(model), Layout.image_to_layers(2, 2, 1)
    tokens, sigma = tokens_for(layout, 1), torch.ones(1)
    with pytest.raises(InputError, match="width 9"):
        backbone.velocity(tokens, sigma, TextFeatures(embeds=torch.zeros(1, 2, 9)), layout)
    with pytest.raises(InputError, match="2 prompts"):
        backbone.velocity(tokens, sigma, features(2), layout)
    with pytest.raises(ValueError, match="tokens are"):
        backbone.velocity(tokens[:, 1:], sigma, features(1), layout)
    with pytest.raises(ValueError, match="sigma"):
        backbone.velocity(tokens, torch.ones(2), features(1), layout)
    with pytest.raises(InputError, match="rotary positions"):
        backbone.frequencies(Layout.text_to_layers(2, 2, 1).with_text([TextSpan(length=5000)]))
