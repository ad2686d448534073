"""Pictures to layers, end to end on tiny random models."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acetate.errors import Cancelled, InputError
from acetate.layers.document import LayeredImage


def arrays(output: Any, number: int = 0) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in output.images[number]])


def test_documents_have_names_provenance_and_metadata(decompose: Any, picture: Any) -> None:
    output = decompose(
        picture(200, 100),
        layers=3,
        prompt="a red cat",
        layer_prompts=[None, "the  sky"],
        seed=7,
        true_cfg_scale=2.0,
    )
    (document,) = output.documents
    assert isinstance(document, LayeredImage)
    assert (document.width, document.height) == (96, 48)
    assert [layer.name for layer in document.layers] == ["Background", "the sky", "Layer 2"]
    assert [layer.provenance.role for layer in document.layers] == ["background", "layer", "layer"]
    assert document.layers[1].provenance.prompt == "the  sky"
    assert {layer.provenance.seed for layer in document.layers} == {7}
    assert document.metadata["seed"] == 7
    assert document.metadata["prompt"] == "a red cat"
    assert document.metadata["arguments"]["layers"] == 3
    assert document.metadata["arguments"]["guidance"] == 2.0
    for layer, shown in zip(document.layers, output.images[0], strict=True):
        assert np.array_equal(layer.pixels, np.asarray(shown))
    assert output.composites[0].size == (96, 48)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "YCbCr"])
def test_any_mode(decompose: Any, picture: Any, mode: str) -> None:
    image = picture(64, 64, "RGB").convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    assert len(decompose(image, layers=1, num_inference_steps=1).images[0]) == 1


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (4000, 30), (333, 1000)])
def test_any_size(decompose: Any, picture: Any, size: tuple[int, int]) -> None:
    document = decompose(picture(*size), layers=1, num_inference_steps=1).documents[0]
    assert document.width % 16 == 0 and document.height % 16 == 0
    assert document.width * document.height <= 2 * 64 * 64


def test_arrays_and_tensors_give_what_the_picture_gives(decompose: Any, picture: Any) -> None:
    image = picture(64, 64)
    pixels = np.asarray(image)
    tensor = torch.from_numpy(pixels.copy()).movedim(-1, 0)
    forms = [
        image,
        pixels,
        pixels.astype(np.float32) / 255,
        pixels.astype(np.uint16) * 257,
        tensor,
        tensor[None],
    ]
    forms.append(tensor.float() / 255)
    outputs = [arrays(decompose(form, layers=2, seed=1)) for form in forms]
    for other in outputs[1:]:
        assert np.abs(outputs[0].astype(int) - other).max() <= 1


def test_latents_are_an_argument_of_their_own(decompose: Any, picture: Any) -> None:
    from acetate.models.codecs import QwenRGBACodec
    from acetate.pipelines.images import read_images, to_tensor

    image = picture(64, 48)
    latents = QwenRGBACodec(decompose.vae).encode(to_tensor(read_images(image)[0])[None]).detach()
    expected = arrays(decompose(image, layers=2, seed=1, width=64, height=48))
    for given in (latents, latents[:, :, None]):
        actual = arrays(decompose(image_latents=given, layers=2, seed=1))
        assert np.abs(expected.astype(int) - actual).max() <= 1
    with pytest.raises(InputError, match="image_latents"):
        decompose(image_latents=torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="Give an image"):
        decompose(image, image_latents=latents)


def test_batch_of_two_equals_two_runs(decompose: Any, picture: Any) -> None:
    images = [picture(64, 64, seed=0), picture(64, 64, seed=1)]
    prompts = ["a red cat on the sky", "dog"]
    settings = {"layers": 2, "true_cfg_scale": 3.0, "output_type": "np"}
    together = decompose(images, prompt=prompts, seed=[5, 6], **settings)
    for number in range(2):
        alone = decompose(images[number], prompt=prompts[number], seed=5 + number, **settings)
        np.testing.assert_allclose(together.images[number], alone.images[0], atol=1e-5)
        np.testing.assert_allclose(together.composites[number], alone.composites[0], atol=1e-5)


def test_batch_independence_with_layer_prompts_in_one_row_only(decompose: Any, picture: Any) -> None:
    images = [picture(64, 64, seed=0), picture(64, 64, seed=1)]
    spoken = [[None, "red star"], [None, None]]
    together = decompose(images, layers=2, seed=3, layer_prompts=spoken, output_type="np")
    for number in range(2):
        alone = decompose(images[number], layers=2, seed=3, layer_prompts=spoken[number], output_type="np")
        np.testing.assert_allclose(together.images[number], alone.images[0], atol=1e-5)


def test_one_seed_serves_every_image_and_counts_on(decompose: Any, picture: Any) -> None:
    image = picture()
    output = decompose([image, image], layers=1, seed=4, num_images_per_prompt=2)
    assert [document.metadata["seed"] for document in output.documents] == [4, 5, 4, 5]
    first, second, third, fourth = (arrays(output, number) for number in range(4))
    assert np.array_equal(first, third) and np.array_equal(second, fourth)
    assert not np.array_equal(first, second)


def test_without_a_seed_the_drawn_one_is_recorded_and_reproduces(decompose: Any, picture: Any) -> None:
    output = decompose(picture(), layers=1)
    seed = output.documents[0].metadata["seed"]
    assert np.array_equal(arrays(output), arrays(decompose(picture(), layers=1, seed=seed)))


def test_same_seed_same_bytes(decompose: Any, picture: Any) -> None:
    first, second = (decompose(picture(80, 60), layers=2, seed=9, true_cfg_scale=2.0) for _ in range(2))
    assert np.array_equal(arrays(first), arrays(second))
    assert [layer.id for layer in first.documents[0].layers] == [
        layer.id for layer in second.documents[0].layers
    ]


def test_a_layer_seed_draws_one_layer_anew(decompose: Any, picture: Any) -> None:
    latents = {}
    for name, seeds in {"plain": None, "kept": [None, None], "second": [None, 77]}.items():
        run = decompose(
            picture(),
            layers=2,
            seed=1,
            layer_seeds=seeds,
            num_inference_steps=1,
            sigmas=[1e-6],
            output_type="latent",
        )
        latents[name] = torch.cat([run.composites[0][None], run.images[0]])
    assert torch.equal(latents["plain"], latents["kept"])
    changed = (latents["plain"] - latents["second"]).abs().amax(dim=(1, 2, 3)) > 0.1
    assert changed.tolist() == [False, False, True]


def test_latents_out_and_in(decompose: Any, picture: Any) -> None:
    noise = torch.randn(1, 3, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    packed = noise.reshape(1, 3, 16, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4, 6).reshape(1, 48, 64)
    by_generator = decompose(
        picture(), layers=2, generator=torch.Generator().manual_seed(2), output_type="latent"
    )
    for given in (noise, packed):
        output = decompose(picture(), layers=2, latents=given, output_type="latent")
        assert output.images[0].shape == (2, 16, 8, 8)
        assert output.composites[0].shape == (16, 8, 8)
        assert torch.equal(output.images[0], by_generator.images[0])
    assert output.documents == []
    with pytest.raises(InputError, match="latents must have shape"):
        decompose(picture(), layers=3, latents=noise)


@pytest.mark.parametrize(("kind", "shape"), [("np", (2, 64, 64, 4)), ("pt", (2, 4, 64, 64))])
def test_array_outputs(decompose: Any, picture: Any, kind: str, shape: tuple[int, ...]) -> None:
    pictures = arrays(decompose(picture(), layers=2, seed=1, output_type="pil"))
    output = decompose(picture(), layers=2, seed=1, output_type=kind)
    values = np.asarray(output.images[0])
    assert values.shape == shape and output.composites[0].shape == shape[1:]
    values = values if kind == "np" else np.moveaxis(values, 1, -1)
    assert np.abs(values * 255 - pictures).max() <= 0.5 + 1e-3
    assert decompose(picture(), layers=1, seed=1, output_type=kind, return_dict=False)[0][0].shape[0] == 1


def test_progress_tells_phase_step_and_time_and_previews_on_demand(decompose: Any, picture: Any) -> None:
    reports, previews = [], []

    def watch(report: Any) -> None:
        reports.append(report)
        if report.preview is not None:
            previews.append([report.preview(frame) for frame in (0, 2)])

    images = [picture(64, 64), picture(128, 32)]
    output = decompose(images, layers=2, seed=1, num_inference_steps=3, on_progress=watch)
    sampled = [report for report in reports if report.phase == "sample"]
    assert [report.done for report in sampled] == [1, 2, 3, 4, 5, 6]
    assert {report.total for report in sampled} == {6}
    assert [report.results for report in sampled] == [(0,)] * 3 + [(1,)] * 3
    assert all(report.remaining >= 0 for report in sampled) and sampled[-1].remaining == 0
    assert [report.phase for report in reports][:2] == ["encode", "sample"]
    assert reports[-1].phase == "decode" and reports[-1].fraction == 1
    # At the end of a run the estimate is the result.
    assert np.array_equal(np.asarray(previews[2][0][0]), np.asarray(output.composites[0]))
    assert np.array_equal(np.asarray(previews[5][1][0]), np.asarray(output.images[1][1]))


def test_cancel_during_decoding_stops_too(decompose: Any, picture: Any) -> None:
    cancel = threading.Event()

    def watch(report: Any) -> None:
        if report.phase == "decode" and report.done == 1:
            cancel.set()

    before = {name for name, module in decompose.vae.named_modules() if "forward" in vars(module)}
    with pytest.raises(Cancelled):
        decompose(picture(), layers=3, on_progress=watch, cancel=cancel)
    assert {name for name, module in decompose.vae.named_modules() if "forward" in vars(module)} == before


def test_starting_from_layers(decompose: Any, picture: Any) -> None:
    image = picture()
    settings = {"layers": 2, "seed": 1, "num_inference_steps": 4, "output_type": "latent"}
    start = decompose(image, layers=2, seed=3)
    everything = decompose(
        image, init_layers=start.documents[0], strength=1.0, mask=Image.new("L", (8, 8), 255), **settings
    )
    free = decompose(image, **settings)
    torch.testing.assert_close(everything.images[0], free.images[0], atol=1e-5, rtol=0)
    little = decompose(image, init_layers=start.images[0], strength=0.25, **settings)
    kept = decompose(image, init_layers=start.documents[0], mask=Image.new("L", (8, 8), 0), **settings)

    def distance(a: Any, b: Any) -> float:
        return float((a.images[0] - b.images[0]).abs().mean())

    again = decompose(
        image, init_layers=start.images[0], mask=Image.new("L", (8, 8), 0), **{**settings, "seed": 99}
    )
    assert distance(kept, again) < 1e-6  # nothing may change, so the seed does not matter
    assert 0 < distance(little, kept) < distance(free, kept)
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    mixed = decompose(image, init_layers=start.documents[0], mask=half, **settings)
    assert torch.equal(mixed.images[0][..., :4], kept.images[0][..., :4])
    assert not torch.equal(mixed.images[0][..., 4:], kept.images[0][..., 4:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "between 1 and 20"),
        ({"layers": 99}, "between 1 and 20"),
        ({"layers": 2.5}, "whole number"),
        ({"true_cfg_scale": 0.2}, "Guidance"),
        ({"num_inference_steps": 0}, "number of steps"),
        ({"width": 100}, "multiple of 16"),
        ({"resolution": 8}, "resolution"),
        ({"resolution": 100000}, "resolution"),
        ({"output_type": "jpeg"}, "output_type"),
        ({"seed": -1}, "seed"),
        ({"seed": [1, 2, 3]}, "3 seeds"),
        ({"seed": 1, "generator": torch.Generator()}, "not both"),
        ({"generator": [torch.Generator()] * 3}, "3 generators"),
        ({"strength": 0.5}, "init_layers"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt"),
        ({"prompt": ["a", "b"], "negative_prompt": ["a"]}, "1 negative prompts"),
        ({"prompt": "a", "prompt_embeds": torch.zeros(1, 2, 16)}, "not both"),
        ({"layer_prompts": ["a"] * 5, "layers": 4}, "5 layer prompts"),
        ({"layer_prompts": "sky"}, "list"),
        ({"prompt_embeds": torch.zeros(1, 2, 99)}, "width 99"),
        ({"max_sequence_length": 100}, "fixed length"),
        ({"boxes": [None, (0, 0, 99, 10)], "layers": 2}, "leaves the 64 x 64 canvas"),
        ({"callback_on_step_end_tensor_inputs": ["prompt"]}, "callback_on_step_end"),
    ],
)
def test_bad_input_is_named_in_one_sentence(
    decompose: Any, picture: Any, arguments: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        decompose(picture(), **arguments)
    assert "\n" not in str(error.value)


def test_unknown_arguments_are_refused(decompose: Any, picture: Any) -> None:
    with pytest.raises(TypeError, match="cfg_scale"):
        decompose(picture(), cfg_scale=3.0)
