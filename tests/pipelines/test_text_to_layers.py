"""Text to layers: boxes, canvases of any size, and the trap of the last picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from acetate.errors import InputError
from acetate.models.layout import Layout

BOXES = [None, (5, 9, 40, 30), None, (33, 17, 70, 50)]


def arrays(output: Any, number: int = 0) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in output.images[number]])


def test_a_prompt_becomes_a_document(generate: Any) -> None:
    output = generate("a red cat on the sky", layers=3, width=70, height=50, seed=3, true_cfg_scale=2.0)
    document = output.documents[0]
    assert (document.width, document.height) == (70, 50)
    assert [layer.name for layer in document.layers] == ["Background", "Layer 1", "Layer 2"]
    assert document.metadata["prompt"] == "a red cat on the sky"
    assert output.composites[0].size == (70, 50)
    assert np.array_equal(
        arrays(output),
        arrays(generate("a red cat on the sky", layers=3, width=70, height=50, seed=3, true_cfg_scale=2.0)),
    )


def test_outside_its_box_a_layer_is_exactly_transparent(generate: Any) -> None:
    prompts = [None, "red star", None, "blue dog"]
    output = generate("sky", layers=4, width=70, height=50, seed=1, boxes=BOXES, layer_prompts=prompts)
    document = output.documents[0]
    for box, image, layer in zip(BOXES, arrays(output), document.layers, strict=True):
        inside = np.zeros((50, 70), bool)
        x0, y0, x1, y1 = box or (0, 0, 70, 50)
        inside[y0:y1, x0:x1] = True
        assert not image[~inside].any()
        assert image[inside].any()
        assert layer.box == (x0, y0, x1, y1)
        assert layer.provenance.box == box
        assert np.array_equal(layer.pixels, image[y0:y1, x0:x1])
    assert [layer.name for layer in document.layers] == ["Background", "red star", "Layer 2", "blue dog"]


def test_boxes_crop_the_sequence(generate: Any) -> None:
    lengths = []
    generate.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["hidden_states"].shape[1]), with_kwargs=True
    )
    generate("sky", layers=3, width=64, height=64, seed=1, num_inference_steps=1)
    generate(
        "sky",
        layers=3,
        width=64,
        height=64,
        seed=1,
        num_inference_steps=1,
        boxes=[None, (0, 0, 16, 17), None],
    )
    assert lengths == [4 * 16, 3 * 16 + 2]


def test_a_box_leaves_the_noise_of_the_others_alone(generate: Any) -> None:
    starts = []
    for boxes in (None, [None, (0, 0, 32, 32), None]):
        generate(
            "sky",
            layers=3,
            seed=1,
            boxes=boxes,
            num_inference_steps=1,
            sigmas=[1e-6],
            callback_on_step_end=lambda pipe, step, t, tensors: starts.append(tensors["latents"]) or {},
        )
    full, cropped = starts
    layout = Layout.text_to_layers(4, 4, 3, [None, (0, 0, 2, 2), None])
    for number, frame in enumerate(layout.noisy_frames):
        whole = layout.crop(full[:, number * 16 : (number + 1) * 16], frame)
        torch.testing.assert_close(cropped[:, layout.slices[number]], whole, atol=1e-4, rtol=0)


def test_noise_is_one_draw_per_seed_whatever_the_batch(generate: Any) -> None:
    together = generate(["red cat", "blue dog on the sky"], layers=2, seed=[3, 4], output_type="np")
    for number, prompt in enumerate(["red cat", "blue dog on the sky"]):
        alone = generate(prompt, layers=2, seed=3 + number, output_type="np")
        np.testing.assert_allclose(together.images[number], alone.images[0], atol=1e-5)


def test_the_top_layer_is_not_taken_for_a_condition(generate: Any) -> None:
    """The stock network gives the last picture the layer position -1 whatever it is."""
    transformer, seen = generate.transformer, []
    original = transformer.transformer_blocks[0].forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["image_rotary_emb"][0])
        return original(*args, **kwargs)

    transformer.transformer_blocks[0].forward = spy
    generate("sky", layers=2, seed=1, num_inference_steps=1)
    del transformer.transformer_blocks[0].forward
    stock, _ = transformer.pos_embed(
        [[(1, 4, 4)] * 3 + [(1, 4, 4)]], max_txt_seq_len=1, device=torch.device("cpu")
    )
    assert torch.equal(seen[0], stock[:48])  # composite, L1, L2 as in a call with a condition after them
    trapped, _ = transformer.pos_embed([[(1, 4, 4)] * 3], max_txt_seq_len=1, device=torch.device("cpu"))
    assert not torch.equal(seen[0], trapped)


def test_layer_prompts_reach_the_network(generate: Any) -> None:
    plain = arrays(generate("sky", layers=2, seed=1))
    spoken = arrays(generate("sky", layers=2, seed=1, layer_prompts=[None, "red star"]))
    assert not np.array_equal(plain, spoken)
    assert np.array_equal(plain, arrays(generate("sky", layers=2, seed=1, layer_prompts=[None, " "])))


def test_both_pipelines_share_their_parts(generate: Any, decompose: Any, picture: Any) -> None:
    from acetate.pipelines import ImageToLayersPipeline

    same = ImageToLayersPipeline(**generate.components)
    assert same.transformer is generate.transformer
    assert (
        len(
            same(
                picture(), layers=1, seed=1, num_inference_steps=1, width=64, height=64, resolution=64
            ).images
        )
        == 1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "Say what to make"),
        ({"layers": 0}, "between 1 and 20"),
        ({"width": 0}, "width"),
        ({"height": 5000}, "height"),
        ({"boxes": [None, (0, 0, 65, 10)]}, "leaves the 64 x 64 canvas"),
        ({"boxes": [None, (-1, 0, 5, 10)]}, "leaves the 64 x 64 canvas"),
        ({"boxes": [None, (8, 8, 8, 20)]}, "is empty"),
        ({"boxes": [(0, 0, 8, 8)]}, "background"),
        ({"boxes": [None] * 5 + [(0, 0, 8, 8)]}, "6 boxes"),
        ({"boxes": [None, (0, 0, 8)]}, "four whole numbers"),
        ({"boxes": [None, (0, 0, 8.5, 8)]}, "four whole numbers"),
    ],
)
def test_bad_input_is_named_in_one_sentence(generate: Any, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        generate(**{"prompt": "sky", **arguments})
    assert "\n" not in str(error.value)
