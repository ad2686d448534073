"""The 18 defects of diffusers 0.42.1's QwenImageLayeredPipeline, as regressions of ours. The number is the
defect's.

Where each is covered besides here:
 1 batch slicing, 2 results per prompt, 3 mask order (also tests/models/test_text.py, TextFeatures.repeat),
 4 latent output 5 no image, arrays and tensors (also test_image_to_layers.py, test_text_to_layers.py), 6
 RGB and real alpha, 7 latents by channel count, 8 captions (also tests/models/test_captioning.py), 9 mixed
 sizes, 10 sizes (also test_images.py: premultiplied resampling), 11 layers=0, 12 the redrawn composite, 13
 zero_cond_t and 14 guidance_embeds and 15 endless caches (also tests/models/test_backbone_qwen.py), 16
 clamping and memory of decoding (also tests/models/test_codecs.py), 17 input checks, 18 missing arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.transformers.transformer_qwenimage import QwenEmbedLayer3DRope
from PIL import Image

from acetate.errors import InputError
from acetate.pipelines import ImageToLayersPipeline

ONE_STEP = {"num_inference_steps": 1}


def arrays(output: Any, number: int = 0) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in output.images[number]])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_defect_01_every_result_has_all_its_layers(decompose: Any, picture: Any, layers: int) -> None:
    output = decompose([picture(seed=0), picture(seed=1)], layers=layers, seed=1, **ONE_STEP)
    assert [len(images) for images in output.images] == [layers, layers]
    assert [len(document.layers) for document in output.documents] == [layers, layers]
    assert not np.array_equal(arrays(output, 0), arrays(output, 1))


def test_defect_02_many_results_for_many_prompts(decompose: Any, picture: Any) -> None:
    output = decompose(
        picture(), layers=2, prompt=["cat", "dog"], num_images_per_prompt=2, seed=1, **ONE_STEP
    )
    assert [len(images) for images in output.images] == [2] * 4


def test_defect_03_masks_follow_their_prompts(decompose: Any, picture: Any, embeds: Any) -> None:
    both, mask = embeds(2, 6), torch.tensor([[1] * 6, [1, 1, 0, 0, 0, 0]])
    settings = {"layers": 1, "output_type": "np", "seed": 1}
    output = decompose(
        picture(), prompt_embeds=both, prompt_embeds_mask=mask, num_images_per_prompt=2, **settings
    )
    for row in range(2):
        alone = decompose(
            picture(), prompt_embeds=both[row : row + 1], prompt_embeds_mask=mask[row : row + 1], **settings
        )
        np.testing.assert_allclose(output.images[2 * row], alone.images[0], atol=1e-5)
    assert not np.allclose(output.images[0], output.images[2], atol=1e-4)


def test_defect_04_latent_output(decompose: Any, picture: Any) -> None:
    output = decompose(picture(), layers=2, output_type="latent", seed=1, **ONE_STEP)
    assert output.images[0].shape == (2, 16, 8, 8)


def test_defect_05_no_image_is_a_sentence_or_a_task_of_its_own(decompose: Any, generate: Any) -> None:
    with pytest.raises(InputError, match="Give an image"):
        decompose(None, prompt="sky")
    assert len(generate("sky", layers=2, seed=1, **ONE_STEP).images[0]) == 2


def test_defect_06_rgb_is_opaque_and_alpha_is_kept(decompose: Any, picture: Any) -> None:
    rgb = picture(mode="RGB")
    opaque = rgb.copy()
    opaque.putalpha(255)
    sheer = rgb.copy()
    sheer.putalpha(100)
    first, second, third = (arrays(decompose(image, layers=1, seed=1)) for image in (rgb, opaque, sheer))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_defect_07_four_latent_channels_are_not_mistaken_for_pixels(
    decompose: Any, picture: Any, new_transformer: Callable[..., Any], parts: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        input_channels=4,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ).eval()
    pipeline = ImageToLayersPipeline(
        **{**parts, "vae": vae, "transformer": new_transformer(in_channels=16, out_channels=4)}
    )
    pipeline.set_progress_bar_config(disable=True)
    tensor = torch.from_numpy(np.asarray(picture()).copy()).movedim(-1, 0)[None]
    assert pipeline(tensor, layers=1, seed=1, **ONE_STEP).images[0][0].size == (64, 64)
    with pytest.raises(InputError, match="parts of one model"):
        ImageToLayersPipeline(**{**parts, "vae": vae})(picture(), layers=1)


class Captioner:
    """Answers with the picture's size and remembers being asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def fill(self, images: list[Image.Image], prompts: Any) -> list[str]:
        self.asked.append((len(images), list(prompts)))
        return [
            text if text.strip() else f"caption {image.width}"
            for image, text in zip(images, prompts, strict=True)
        ]


def test_defect_08_captions(
    decompose: Any, picture: Any, embeds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = Captioner()
    monkeypatch.setattr(type(decompose), "captioner", property(lambda self: captioner))
    images = [picture(64, 64), picture(32, 128), picture(64, 64)]
    output = decompose(images, layers=1, prompt=["", "a red cat", " "], seed=1, **ONE_STEP)
    prompts = [document.metadata["prompt"] for document in output.documents]
    assert prompts == ["caption 64", "a red cat", "caption 64"]  # each blank one, and only those
    decompose(picture(), layers=1, seed=1, prompt_embeds=embeds(), **ONE_STEP)
    assert len(captioner.asked) == 1  # embeddings are not captioned
    assert len(decompose(picture(), layers=1, prompt_embeds=embeds(2), seed=1, **ONE_STEP).images) == 2


def test_defect_08_without_a_captioner_a_blank_prompt_stays_blank(decompose: Any, picture: Any) -> None:
    assert decompose.captioner is None
    first = decompose(picture(), layers=1, seed=1)
    assert "prompt" not in first.documents[0].metadata
    assert np.array_equal(arrays(first), arrays(decompose(picture(), layers=1, seed=1, prompt="")))


def test_defect_09_each_image_keeps_its_own_aspect_and_place(decompose: Any, picture: Any) -> None:
    images = [picture(200, 100), picture(100, 200), picture(64, 64), picture(200, 100, seed=5)]
    output = decompose(images, layers=2, seed=[1, 2, 3, 4])
    assert [document.width for document in output.documents] == [96, 48, 64, 96]
    assert [document.height for document in output.documents] == [48, 96, 64, 48]
    for number, image in enumerate(images):
        alone = decompose(image, layers=2, seed=number + 1)
        assert np.abs(arrays(output, number).astype(int) - arrays(alone)).max() <= 1


def test_defect_10_sizes(decompose: Any, picture: Any) -> None:
    settings = {"layers": 1, "seed": 1, **ONE_STEP}
    image = picture(200, 100)
    sizes = [
        decompose(image, **settings, **size).documents[0]
        for size in ({"resolution": 96}, {"width": 80, "height": 48}, {"height": 32}, {"width": 32})
    ]
    assert [(d.width, d.height) for d in sizes] == [(128, 64), (80, 48), (64, 32), (32, 16)]


@pytest.mark.parametrize("layers", [0, -1])
def test_defect_11_no_layers_is_one_sentence(
    decompose: Any, generate: Any, picture: Any, layers: int
) -> None:
    for call in (lambda: decompose(picture(), layers=layers), lambda: generate("sky", layers=layers)):
        with pytest.raises(InputError, match="between 1 and 20"):
            call()


def test_defect_12_the_redrawn_composite_is_returned(decompose: Any, picture: Any) -> None:
    output = decompose([picture(), picture()], layers=2, seed=[1, 2])
    assert [composite.size for composite in output.composites] == [(64, 64)] * 2
    first = np.asarray(output.composites[0])
    assert not any(np.array_equal(first, layer) for layer in arrays(output))


def test_defect_13_zero_cond_t_runs_in_batches_and_treats_only_the_condition_as_clean(
    parts: dict[str, Any], new_transformer: Callable[..., Any], picture: Any
) -> None:
    pipeline = ImageToLayersPipeline(**{**parts, "transformer": new_transformer(zero_cond_t=True)})
    pipeline.set_progress_bar_config(disable=True)
    seen = []
    pipeline.transformer.transformer_blocks[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["modulate_index"]), with_kwargs=True
    )
    images = [picture(seed=0), picture(seed=1)]
    output = pipeline(images, layers=2, seed=1, output_type="np", **ONE_STEP)
    assert seen[0].tolist() == [[0] * 48 + [1] * 16] * 2
    for number, image in enumerate(images):
        alone = pipeline(image, layers=2, seed=1, output_type="np", **ONE_STEP)
        np.testing.assert_allclose(output.images[number], alone.images[0], atol=1e-5)


def test_defect_14_a_guidance_flag_does_not_break_the_call(
    parts: dict[str, Any], new_transformer: Callable[..., Any], picture: Any
) -> None:
    pipeline = ImageToLayersPipeline(**{**parts, "transformer": new_transformer(guidance_embeds=True)})
    pipeline.set_progress_bar_config(disable=True)
    assert len(pipeline(picture(), layers=1, seed=1, true_cfg_scale=2.0, **ONE_STEP).images[0]) == 1


def test_defect_15_no_size_enters_the_stock_caches(
    decompose: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(self: Any, *args: Any) -> None:
        raise AssertionError("the stock positions, cached for ever, were asked for")

    for name in ("_compute_video_freqs", "_compute_condition_freqs"):
        monkeypatch.setattr(QwenEmbedLayer3DRope, name, endless)
    for width in (16, 32, 48):
        decompose(picture(), layers=1, seed=1, width=width, height=16, **ONE_STEP)


def test_defect_16_layers_are_decoded_one_at_a_time_and_clamped(
    decompose: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    stock = decompose.vae.decode

    def decode(z: torch.Tensor, return_dict: bool = True) -> Any:
        batches.append(z.shape[0])
        return (stock(z, return_dict=False)[0] * 100,)  # far outside of [-1, 1], as tiled decoding may be

    monkeypatch.setattr(decompose.vae, "decode", decode)
    output = decompose([picture(), picture()], layers=3, seed=1, output_type="pt", **ONE_STEP)
    assert batches == [1] * 8
    assert float(output.images[0].min()) >= 0.0 and float(output.images[0].max()) <= 1.0


def test_defect_17_inputs_are_checked(decompose: Any, picture: Any) -> None:
    with pytest.raises(InputError, match="2 images were given with 3 prompts"):
        decompose([picture(), picture()], prompt=["a", "b", "c"])
    with pytest.raises(InputError, match="list of images is empty"):
        decompose([])
    with pytest.raises(InputError, match="between 1 and 20"):
        decompose(picture(), layers=21)


def test_defect_17_guidance_without_a_negative_prompt_is_on(decompose: Any, picture: Any) -> None:
    settings = {"layers": 1, "prompt": "a red cat", "seed": 1}
    plain = arrays(decompose(picture(), **settings, true_cfg_scale=1.0))
    guided = arrays(decompose(picture(), **settings, true_cfg_scale=4.0))
    blank = arrays(decompose(picture(), **settings, true_cfg_scale=4.0, negative_prompt=""))
    assert not np.array_equal(plain, guided)
    assert np.array_equal(guided, blank)


def test_defect_17_a_negative_prompt_without_guidance_is_said_to_do_nothing(
    decompose: Any, picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    decompose(picture(), layers=1, seed=1, negative_prompt="dull", true_cfg_scale=1.0, **ONE_STEP)
    assert "no effect" in caplog.text


def test_defect_17_embeddings_without_an_encoder_need_both(
    parts: dict[str, Any], picture: Any, embeds: Any
) -> None:
    pipeline = ImageToLayersPipeline(**{**parts, "text_encoder": None, "tokenizer": None})
    pipeline.set_progress_bar_config(disable=True)
    with pytest.raises(InputError, match="no text encoder"):
        pipeline(picture(), layers=1)
    with pytest.raises(InputError, match="negative_prompt_embeds"):
        pipeline(picture(), layers=1, prompt_embeds=embeds(), true_cfg_scale=3.0)
    assert len(pipeline(picture(), layers=1, seed=1, prompt_embeds=embeds()).images[0]) == 1


def test_defect_18_the_callback_sees_the_encoded_image(decompose: Any, picture: Any) -> None:
    seen = []

    def callback(pipe: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(
            (pipe, step, float(timestep), {name: tuple(value.shape) for name, value in tensors.items()})
        )
        return {"latents": torch.zeros_like(tensors["latents"])}

    output = decompose(
        picture(),
        layers=2,
        seed=1,
        true_cfg_scale=2.0,
        output_type="latent",
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=[
            "latents",
            "image_latents",
            "prompt_embeds",
            "negative_prompt_embeds",
        ],
    )
    assert [entry[1] for entry in seen] == [0, 1]
    assert seen[0][0] is decompose and seen[0][2] == 1000.0
    assert seen[0][3]["latents"] == (1, 48, 64) and seen[0][3]["image_latents"] == (1, 16, 64)
    assert output.images[0].abs().max() == 0

    with pytest.raises(InputError, match="may replace the latents"):
        decompose(picture(), layers=1, callback_on_step_end=lambda *_: {"prompt_embeds": torch.zeros(1)})


def test_defect_18_every_layer_has_a_prompt_a_seed_a_mask_and_a_strength() -> None:
    """Each is tested on its own in test_image_to_layers.py and test_text_to_layers.py; both pipelines take
    them."""
    from dataclasses import fields

    from acetate.pipelines.arguments import CallArguments

    names = {field.name for field in fields(CallArguments)}
    assert {"layer_prompts", "layer_seeds", "mask", "strength", "init_layers", "boxes"} <= names
