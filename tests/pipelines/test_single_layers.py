"""One transparent layer from text, and one object out of a picture: what the network is shown, and what comes back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acetate.errors import Cancelled, InputError
from acetate.models.layout import Layout
from acetate.pipelines import ExtractObjectPipeline, TransparentImagePipeline

from .conftest import quiet
from .test_given_layers import stored


@pytest.fixture
def transparent(generate: Any) -> TransparentImagePipeline:
    return quiet(TransparentImagePipeline(**generate.components, **stored(generate)))


@pytest.fixture
def extract(generate: Any) -> ExtractObjectPipeline:
    return quiet(ExtractObjectPipeline(**generate.components, **stored(generate)))


@pytest.fixture
def mask() -> np.ndarray:
    plane = np.zeros((64, 64), np.uint8)
    plane[16:40, 8:32] = 255
    return plane


def watched(pipeline: Any) -> list[tuple[Layout, torch.Tensor]]:
    """What the network of ``pipeline`` is shown from now on."""
    seen: list[tuple[Layout, torch.Tensor]] = []
    velocity = pipeline.backbone.velocity
    pipeline.backbone.velocity = lambda tokens, sigma, text, layout: (
        seen.append((layout, tokens)) or velocity(tokens, sigma, text, layout)
    )
    return seen


def test_a_layer_alone_is_one_frame(transparent: Any) -> None:
    seen = watched(transparent)
    output = transparent("a red cat", width=70, height=50, seed=3)
    assert all(layout.frames == Layout.one_layer(4, 5).frames for layout, _ in seen)
    assert [tokens.shape[1] for _, tokens in seen] == [20, 20]
    document = output.documents[0]
    assert (document.width, document.height, len(document.layers)) == (70, 50, 1)
    layer = document.layers[0]
    assert (layer.name, layer.provenance.role) == ("a red cat", "layer")
    assert layer.provenance.prompt == document.metadata["prompt"] == "a red cat"
    assert output.composites == [] and np.array_equal(np.asarray(output.images[0][0]), layer.pixels)
    assert transparent("a red cat", seed=3, output_type="latent").images[0].shape == (1, 16, 8, 8)


def test_its_noise_is_one_draw_and_batches_do_not_matter(transparent: Any) -> None:
    latents = torch.randn(1, 1, 16, 8, 8, generator=torch.Generator().manual_seed(4))
    seeded = transparent("a red cat", seed=4, output_type="np").images[0]
    assert np.array_equal(seeded, transparent("a red cat", latents=latents, output_type="np").images[0])
    own = transparent("a red cat", seed=9, layer_seeds=[4], output_type="np").images[0]
    assert np.array_equal(seeded, own)
    together = transparent(["a red cat", "blue dog"], seed=[4, 5], output_type="np").images
    np.testing.assert_allclose(together[0], seeded, atol=1e-5)


def test_a_layer_alone_can_be_revised(transparent: Any) -> None:
    first = transparent("a red cat", seed=1).documents[0]
    settings = {"num_inference_steps": 4, "seed": 1, "output_type": "np"}
    again = transparent("a red cat", init_layers=first, strength=0.25, **settings).images[0]
    assert again.shape == (1, 64, 64, 4)
    assert not np.array_equal(again, transparent("a red cat", **settings).images[0])


def test_the_preview_of_a_layer_alone_is_that_layer(transparent: Any) -> None:
    shown: list[Any] = []

    def watch(report: Any) -> None:
        if report.preview is not None:
            shown.append((report.preview()[0], report.preview(1)[0]))
            with pytest.raises(InputError, match="no frame 0"):
                report.preview(0)

    output = transparent("a red cat", seed=1, on_progress=watch)
    first, named = (np.asarray(picture) for picture in shown[-1])
    assert np.array_equal(first, named) and np.array_equal(first, np.asarray(output.images[0][0]))


def test_an_object_and_its_background(extract: Any, picture: Any, mask: np.ndarray) -> None:
    seen = watched(extract)
    output = extract(picture(), mask, seed=1)
    layout, tokens = seen[0]
    assert layout.frames == Layout.object_with_effects(4, 4).frames
    shown = np.zeros((64, 64, 4), np.float32)
    shown[16:40, 8:32] = 1
    clean = [np.asarray(picture(), np.float32) / 255, shown]
    codec = extract.engine().codec
    for pixels, where in zip(clean, layout.slices[2:], strict=True):
        with torch.no_grad():
            latents = codec.encode(torch.from_numpy(pixels).movedim(-1, 0)[None] * 2 - 1)
        torch.testing.assert_close(tokens[:, where], extract.backbone.pack(latents), atol=1e-5, rtol=0)
    assert len(seen) == 2  # two steps, no unconditional branch
    assert [layer.name for layer in output.documents[0].layers] == ["Background", "Layer 1"]
    assert output.composites == [] and len(output.images[0]) == 2


@pytest.mark.parametrize("form", ["picture", "bool", "float", "tensor", "alpha"])
def test_every_form_of_a_mask_is_the_same(form: str, extract: Any, picture: Any, mask: np.ndarray) -> None:
    forms: dict[str, Any] = {
        "picture": Image.fromarray(mask),
        "bool": mask > 0,
        "float": mask / np.float32(255),
        "tensor": torch.from_numpy(mask),
        "alpha": np.dstack([np.full((64, 64, 3), 255, np.uint8), mask]),
    }
    plain = extract(picture(), mask, seed=1, output_type="np").images[0]
    assert np.array_equal(extract(picture(), forms[form], seed=1, output_type="np").images[0], plain)


def test_pictures_of_any_size_each_with_its_mask(extract: Any, picture: Any) -> None:
    pictures = [picture(150, 90, seed=1), picture(64, 64, seed=2)]
    masks = [np.full((90, 150), 255, np.uint8), np.full((64, 64), 255, np.uint8)]
    together = extract(pictures, masks, seed=1, output_type="np")
    assert [images.shape for images in together.images] == [(2, 48, 80, 4), (2, 64, 64, 4)]
    for image, plane, images in zip(pictures, masks, together.images, strict=True):
        np.testing.assert_allclose(
            images, extract(image, plane, seed=1, output_type="np").images[0], atol=1e-5
        )
    latents = extract(pictures[1], masks[1], seed=1, output_type="latent", num_images_per_prompt=2).images
    assert [one.shape for one in latents] == [(2, 16, 8, 8)] * 2


def test_both_stop_when_told(extract: Any, transparent: Any, picture: Any, mask: np.ndarray) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        extract(picture(), mask, cancel=cancel)
    with pytest.raises(Cancelled):
        transparent("a red cat", cancel=cancel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "Say what to make"),
        ({"boxes": [(0, 0, 8, 8)]}, "boxes cannot be given"),
        ({"layer_prompts": ["a"]}, "layer_prompts cannot be given"),
        ({"width": 0}, "width"),
        ({"layer_seeds": [1, 2]}, "2 layer seeds were given for 1 layers"),
    ],
)
def test_bad_words_for_a_layer(transparent: Any, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        transparent(**{"prompt": "sky", **arguments})


@pytest.mark.parametrize(
    ("plane", "arguments", "message"),
    [
        (np.zeros((64, 64), np.uint8), {}, "black everywhere"),
        (np.ones((32, 64), np.uint8), {}, "64 x 32 pixels, the picture 64 x 64"),
        ([np.ones((64, 64), np.uint8)] * 2, {}, "2 masks"),
        (np.ones((64, 64), np.uint8), {"boxes": [None]}, "boxes cannot be given"),
        (np.ones((64, 64), np.uint8), {"width": 65}, "multiple of 16"),
    ],
)
def test_bad_masks(extract: Any, picture: Any, plane: Any, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(picture(), plane, **arguments)


def test_a_picture_to_start_from(transparent: Any, picture: Any) -> None:
    shown = picture(64, 48)
    asked = {"width": 64, "height": 48, "seed": 3, "num_inference_steps": 5, "output_type": "np"}
    made = transparent("a red cat", image=shown, strength=0.6, **asked).images[0]
    same = transparent("a red cat", init_layers=[shown], strength=0.6, **asked).images[0]
    assert np.array_equal(made, same)
    seen = watched(transparent)
    default = transparent("a red cat", image=shown, **asked).images[0]
    assert len(seen) == 4 and not np.array_equal(default, made)  # 0.8 of five steps
    assert not np.array_equal(transparent("a red cat", **asked).images[0], made)


def test_many_pictures_keep_their_aspects_and_their_prompts(transparent: Any, picture: Any) -> None:
    asked = {"seed": 3, "strength": 0.5}
    wide, tall = picture(80, 20), picture(20, 80, seed=1)
    output = transparent(["a cat", "a dog"], image=[wide, tall], **asked)
    sizes = [(document.width, document.height) for document in output.documents]
    assert sizes == [(128, 32), (32, 128)]
    alone = transparent("a dog", image=tall, **asked)
    assert np.array_equal(np.asarray(alone.images[0][0]), np.asarray(output.images[1][0]))
    both = transparent(["a cat", "a dog"], image=tall, **asked)
    assert np.array_equal(np.asarray(both.images[1][0]), np.asarray(alone.images[0][0]))
    with pytest.raises(InputError, match="2 images were given with 3 prompts"):
        transparent(["a", "b", "c"], image=[wide, tall])
    with pytest.raises(InputError, match="either image or init_layers"):
        transparent("a cat", image=wide, init_layers=[wide], strength=0.5)
    with pytest.raises(InputError, match="give them as init_layers"):
        transparent("a cat", strength=0.5)
