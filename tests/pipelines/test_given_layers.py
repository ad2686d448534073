"""Layers from layers: with nothing given it is text to layers, and what is given comes back untouched."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acetate.errors import Cancelled, InputError
from acetate.layers.document import Group, Layer, LayeredImage
from acetate.models.frame_embedding import FrameEmbedding
from acetate.pipelines import LayersToLayersPipeline

from .conftest import quiet

WORDS = {"prompt": "a red cat on the sky", "layer_prompts": [None, "red star", None], "seed": 5}


@pytest.fixture
def complete(generate: Any) -> LayersToLayersPipeline:
    return quiet(LayersToLayersPipeline(**generate.components, **stored(generate)))


def stored(pipeline: Any) -> dict[str, Any]:
    names = ("default_resolution", "default_steps", "default_guidance", "size_multiple")
    return {name: pipeline.config[name] for name in names}


def noise_layer(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
    """Any values at all, colours under alpha 0 included."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    pixels[: height // 4, :, 3] = 0
    return pixels


@pytest.mark.parametrize("output_type", ["np", "pt", "latent", "pil"])
def test_nothing_given_is_text_to_layers_bit_for_bit(generate: Any, complete: Any, output_type: str) -> None:
    words = {**WORDS, "true_cfg_scale": 2.0, "output_type": output_type, "num_images_per_prompt": 2}
    words["boxes"] = [None, (5, 9, 40, 30)]
    plain = generate(layers=3, **words)
    made = complete([None, None, None], **words)
    for name in ("images", "composites"):
        pairs = zip(getattr(made, name), getattr(plain, name), strict=True)
        assert all(np.array_equal(values(a), values(b)) for a, b in pairs)


def values(result: Any) -> np.ndarray:
    return np.stack([np.asarray(one) for one in result]) if isinstance(result, list) else np.asarray(result)


def test_latents_given_are_the_same_noise(generate: Any, complete: Any) -> None:
    latents = torch.randn(1, 3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = generate("a red cat", layers=2, latents=latents, output_type="np").images[0]
    assert np.array_equal(
        complete([None, None], "a red cat", latents=latents, output_type="np").images[0], plain
    )


def test_given_pixels_come_back_unchanged(complete: Any) -> None:
    ground, top = noise_layer(1), noise_layer(2)
    output = complete([ground, None, Image.fromarray(top)], **WORDS)
    document = output.documents[0]
    assert [layer.name for layer in document.layers] == ["Background", "red star", "Layer 2"]
    for layers in ([layer.pixels for layer in document.layers], output.images[0]):
        assert np.array_equal(np.asarray(layers[0]), ground) and np.array_equal(np.asarray(layers[2]), top)
    assert document.metadata["arguments"]["given"] == [1, 3]
    assert document.layers[1].provenance.seed == 5 and document.layers[0].provenance.seed is None
    arrays = complete([ground, None, top], **WORDS, output_type="np").images[0]
    tensors = complete([ground, None, top], **WORDS, output_type="pt").images[0]
    for number, pixels in ((0, ground), (2, top)):
        assert np.array_equal(arrays[number], pixels / np.float32(255))
        assert np.array_equal(tensors[number].movedim(0, -1).numpy(), pixels / np.float32(255))
    assert np.array_equal(np.asarray(output.images[0][1]), np.floor(arrays[1] * 255 + 0.5).astype(np.uint8))


def test_deep_and_float_layers_keep_their_values(complete: Any) -> None:
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (64, 64, 4), np.uint16)
    loose = rng.random((64, 64, 4), np.float32)
    document = complete([deep, loose, None], seed=1).documents[0]
    assert document.depth == 16
    assert document.layers[0].pixels.dtype == np.uint16 and np.array_equal(document.layers[0].pixels, deep)
    assert np.array_equal(document.layers[1].pixels, loose)


def test_a_document_keeps_its_very_layers(complete: Any) -> None:
    fish = Layer(pixels=noise_layer(3, 20, 10), name="Fish", offset=(30, -4), opacity=0.5, locked=True)
    group = Group(layers=(Layer(pixels=noise_layer(4), name="In"),), name="Folder")
    document = LayeredImage(width=64, height=64, layers=(fish, group), dpi=300, depth=16)
    made = complete(document, missing=[1, 3], seed=2, layer_prompts=["a blue sky"]).documents[0]
    assert [node.name for node in made.layers] == ["a blue sky", "Fish", "Layer 2", "Folder"]
    assert made.layers[1] is fish and made.layers[3] is group
    assert (made.dpi, made.depth) == (300, 16)
    assert made.layers[0].provenance.role == "background" and made.layers[2].provenance.role == "layer"
    drawn = complete(document, missing=[1, 3], seed=2, output_type="np").images[0]
    assert np.array_equal(drawn[1], document.with_layers((fish,)).composite())


def test_the_layout_has_the_given_layers_clean(complete: Any) -> None:
    seen: list[Any] = []
    velocity = complete.backbone.velocity
    complete.backbone.velocity = lambda tokens, sigma, text, layout: (
        seen.append((layout, tokens)) or velocity(tokens, sigma, text, layout)
    )
    latents = complete([None, noise_layer(1), None], seed=1, output_type="latent", num_inference_steps=1)
    layout, tokens = seen[0]
    assert [(frame.index, frame.noisy) for frame in layout.frames] == [
        (0, True), (1, True), (3, True), (2, False)
    ]  # fmt: skip
    codec = complete.engine().codec
    pixels = torch.from_numpy(noise_layer(1) / np.float32(255))
    pixels = torch.where(pixels[..., 3:] > 0, pixels, 0).movedim(-1, 0)[None] * 2 - 1
    with torch.no_grad():
        expected = complete.backbone.pack(codec.encode(pixels))
    torch.testing.assert_close(tokens[:, layout.slices[3]], expected, atol=1e-5, rtol=0)
    assert torch.equal(complete.backbone.pack(latents.images[0][1][None]), tokens[:, layout.slices[3]])
    assert latents.images[0].shape == (3, 16, 8, 8) and latents.composites[0].shape == (16, 8, 8)


def test_a_layer_starts_from_the_same_noise_whichever_are_given(generate: Any, complete: Any) -> None:
    settings = {
        "num_inference_steps": 1,
        "sigmas": [1e-6],
        "output_type": "latent",
        "layer_seeds": [None, None, 9],
        "seed": 1,
    }
    every = generate("sky", layers=3, **settings).images[0]
    for given in ([noise_layer(1), None, None], [noise_layer(1), noise_layer(2), None]):
        some = complete(given, "sky", **settings).images[0]
        torch.testing.assert_close(some[2], every[2], atol=1e-4, rtol=0)


def test_other_sizes_run_at_the_working_size(complete: Any) -> None:
    """The model sees 80 x 48; the given layer stays at 150 x 90 and the made one is brought there, inside its box."""
    ground = noise_layer(1, 150, 90)
    output = complete([ground, None], seed=1, boxes=[None, (31, 20, 99, 71)])
    document = output.documents[0]
    assert (document.width, document.height) == (150, 90)
    assert np.array_equal(document.layers[0].pixels, ground)
    assert document.layers[1].box == (31, 20, 99, 71) and output.composites[0].size == (150, 90)
    outside = np.asarray(output.images[0][1]).copy()
    outside[20:71, 31:99] = 0
    assert not outside.any() and np.asarray(output.images[0][1]).any()
    explicit = complete([ground, None], seed=1, width=64, height=64)
    assert (explicit.documents[0].width, explicit.documents[0].height) == (150, 90)


def test_many_stacks_in_one_call(complete: Any) -> None:
    """Different places missing and different sizes run side by side; each gives what it gives alone."""
    sets: list[Any] = [
        [noise_layer(1), None],
        [None, noise_layer(2)],
        [noise_layer(3, 90, 64), None],
        [noise_layer(4), None],
    ]
    together = complete(sets, "a red cat", seed=3, output_type="np")
    for one, images, composite in zip(sets, together.images, together.composites, strict=True):
        alone = complete(one, "a red cat", seed=3, output_type="np")
        np.testing.assert_allclose(images, alone.images[0], atol=1e-5)
        np.testing.assert_allclose(composite, alone.composites[0], atol=1e-5)
    several = complete(sets[0], "a red cat", seed=3, num_images_per_prompt=2, output_type="np").images
    assert np.array_equal(several[0][0], several[1][0]) and not np.array_equal(several[0][1], several[1][1])


def test_progress_counts_what_is_made_and_previews_what_is_given(complete: Any) -> None:
    reports: list[Any] = []
    shown: list[Any] = []

    def watch(report: Any) -> None:
        reports.append(report)
        if report.preview is not None:
            shown.append([report.preview(frame)[0] for frame in (0, 1, 2)])
            with pytest.raises(InputError, match="no frame 3"):
                report.preview(3)

    ground = noise_layer(1)
    output = complete([ground, None], seed=1, on_progress=watch)
    assert [(r.done, r.total) for r in reports if r.phase == "decode"] == [(0, 2), (1, 2), (2, 2)]
    assert np.array_equal(np.asarray(shown[-1][1]), ground)
    assert np.array_equal(np.asarray(shown[-1][2]), np.asarray(output.images[0][1]))


@pytest.mark.parametrize("phase", ["encode", "sample", "decode"])
def test_it_stops_when_told(complete: Any, phase: str) -> None:
    cancel = threading.Event()

    def stop(report: Any) -> None:
        if report.phase == phase:
            cancel.set()

    with pytest.raises(Cancelled):
        complete([noise_layer(1), None], seed=1, on_progress=stop, cancel=cancel)


def test_revising_a_missing_layer_starts_from_it(complete: Any) -> None:
    layers = [noise_layer(1), noise_layer(2)]
    settings = {"seed": 1, "output_type": "np", "num_inference_steps": 4}
    near = complete([layers[0], None], init_layers=layers, strength=0.25, **settings).images[0][1]
    far = complete([layers[0], None], **settings).images[0][1]
    assert not np.array_equal(near, far)


DOCUMENT = LayeredImage(width=64, height=64, layers=(Layer(pixels=noise_layer(1)),))


@pytest.mark.parametrize(
    ("layers", "arguments", "message"),
    [
        ([noise_layer(1)], {}, "nothing to make"),
        ([], {}, "empty"),
        ([noise_layer(1), noise_layer(2, 32, 64), None], {}, r"32 x 64, 64 x 64"),
        ([np.stack([noise_layer(1)] * 2), None], {}, "one picture"),
        ([[noise_layer(1), None], [None, None, noise_layer(1)]], {}, "2, 3 layers"),
        ([noise_layer(1), None], {"missing": [2]}, "belongs to a document"),
        (DOCUMENT, {}, "which layers of the result are missing"),
        (DOCUMENT, {"missing": [3]}, "from 1 to 2"),
        (DOCUMENT, {"missing": [1, 1]}, "different numbers from 1 to 3"),
        ([noise_layer(1), None], {"boxes": [None, (0, 0, 65, 9)]}, "leaves the 64 x 64 canvas"),
        ([noise_layer(1), None], {"layer_prompts": ["a"] * 3}, "3 layer prompts"),
        ([None] * 21, {}, "between 1 and 20"),
        ([noise_layer(1), None], {"latents": torch.zeros(1, 2, 16, 8, 8)}, "latents must have shape"),
    ],
)
def test_bad_input_is_named_in_one_sentence(
    complete: Any, layers: Any, arguments: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        complete(layers, **arguments)
    assert "\n" not in str(error.value)


def test_the_frame_embedding_tells_given_from_made(complete: Any) -> None:
    plain = complete([noise_layer(1), None], seed=1, output_type="np").images[0][1]
    embedding = FrameEmbedding(dim=32)
    torch.nn.init.constant_(embedding.state[1], 0.5)
    complete.register_modules(frame_embedding=embedding)
    told = complete([noise_layer(1), None], seed=1, output_type="np").images[0][1]
    assert not np.array_equal(plain, told)
