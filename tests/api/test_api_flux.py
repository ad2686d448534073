"""`acetate.transparent` and `acetate.generate` on FLUX folders, and LoRAs on every model: the pipelines' own bytes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file, save_file

import acetate
from acetate.errors import Cancelled, InputError
from acetate.models.codecs import KLRGBACodec, RegionDecoder
from acetate.models.codecs.layerdiffuse import LatentOffsetEncoder, TransparentUNet
from acetate.models.frame_embedding import LayerEmbedding
from acetate.pipelines import FluxTransparentImagePipeline, RegionLayersPipeline
from acetate.pipelines.progress import Progress
from acetate.pipelines.sizes import flux_canvas

SIZE = (48, 32)
BOXES = [(10, 0, 40, 30), (32, 16, 48, 32)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def stock(flux_checkpoint: Path) -> dict[str, Any]:
    """The folder as diffusers loads it."""
    pipeline = FluxPipeline.from_pretrained(flux_checkpoint)
    names = ("scheduler", "vae", "transformer", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    return {name: pipeline.components[name] for name in names}


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def options(flux_checkpoint: Path, alpha_parts: Path) -> dict[str, Any]:
    return {
        "model": str(flux_checkpoint),
        "transparency": alpha_parts,
        "size": SIZE,
        "steps": 2,
        "seed": 3,
    }


def noise(width: int = 48, height: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (height, width, 4), np.uint8)


def pixels(document: acetate.LayeredImage) -> list[np.ndarray]:
    return [layer.pixels for layer in document.leaves()]


def test_one_layer_is_what_the_pipeline_makes(
    stock: dict[str, Any], options: dict[str, Any], flux_checkpoint: Path, alpha_parts: Path
) -> None:
    pipeline = quiet(FluxTransparentImagePipeline.load(flux_checkpoint, transparency=alpha_parts))
    settings = {"num_inference_steps": 2, "seed": 3, "height": 32, "width": 48}
    made = acetate.transparent("a red fish", **options)
    assert np.array_equal(pixels(made)[0], np.asarray(pipeline("a red fish", **settings).images[0][0]))
    assert [layer.name for layer in made.leaves()] == ["a red fish"] and (made.width, made.height) == SIZE
    report = made.metadata["report"]
    assert report["arguments"]["transparency"]["name"] == alpha_parts.name and report["model"] == "flux"
    started = acetate.transparent("a red fish", noise(), strength=0.5, guidance=7.0, **options)
    expected = pipeline("a red fish", image=noise(), strength=0.5, guidance_scale=7.0, **settings)
    assert np.array_equal(pixels(started)[0], np.asarray(expected.images[0][0]))
    assert not np.array_equal(pixels(started)[0], pixels(made)[0])
    lean = acetate.transparent("a red fish", modulation_table=True, **options)
    assert np.array_equal(pixels(lean)[0], pixels(made)[0])
    by_hand = FluxTransparentImagePipeline(
        **stock,
        transparent_decoder=TransparentUNet.from_pretrained(alpha_parts / "transparent_decoder"),
        offset_encoder=LatentOffsetEncoder.from_pretrained(alpha_parts / "offset_encoder"),
    )
    assert close(pixels(made)[0], quiet(by_hand)("a red fish", **settings).images[0][0])


def close(made: np.ndarray, other: Any) -> bool:
    """Within a level: parts that diffusers loads lie elsewhere in memory, which moves the last bit of sums."""
    return int(np.abs(made.astype(int) - np.asarray(other)).max()) <= 1


def test_the_canvas_is_1024_pixels_square_or_has_the_pictures_aspect() -> None:
    assert flux_canvas(None, None) == (1024, 1024) and flux_canvas(48, None) == (48, 1024)
    assert flux_canvas(None, None, (40, 10)) == (2048, 512) and flux_canvas(32, 64, (40, 10)) == (32, 64)
    assert flux_canvas(None, 64, (40, 10)) == (256, 64)
    for size in ((0, 16), (40, 32), (4112, 16)):
        with pytest.raises(InputError, match="multiple of 16"):
            flux_canvas(*size)


def test_layers_in_boxes_are_what_the_pipeline_makes(
    stock: dict[str, Any], options: dict[str, Any], flux_checkpoint: Path, alpha_parts: Path
) -> None:
    settings = {
        "boxes": [None, *BOXES],
        "num_inference_steps": 2,
        "seed": 3,
        "height": 32,
        "width": 48,
    }
    made = acetate.generate("a card", boxes=BOXES, **options)
    pipeline = quiet(RegionLayersPipeline.load(flux_checkpoint, transparency=alpha_parts))
    output = pipeline("a card", **settings).documents[0]
    assert [layer.name for layer in made.leaves()] == ["Background", "Layer 1", "Layer 2"]
    assert [layer.offset for layer in made.leaves()] == [(0, 0), (10, 0), (32, 16)]
    assert all(np.array_equal(a, b) for a, b in zip(pixels(made), pixels(output), strict=True))
    assert made.metadata["task"] == "generate" and made.metadata["arguments"]["boxes"] == [
        list(box) for box in BOXES
    ]
    by_hand = RegionLayersPipeline(
        **stock,
        layer_embedding=LayerEmbedding.from_pretrained(alpha_parts / "layer_embedding"),
        region_decoder=RegionDecoder.from_pretrained(alpha_parts / "region_decoder"),
    )
    other = quiet(by_hand)("a card", **settings).documents[0]
    assert all(close(a, b) for a, b in zip(pixels(made), pixels(other), strict=True))


def test_a_vae_of_four_channels_serves_both(
    stock: dict[str, Any], options: dict[str, Any], flux_tools: Any, tmp_path: Path
) -> None:
    folder = flux_tools.vae(tmp_path / "alphavae", 4)
    parts = {**stock, "vae": KLRGBACodec.from_folder(folder).vae}
    settings = {"num_inference_steps": 2, "seed": 3, "height": 32, "width": 48}
    options = {**options, "transparency": str(folder)}
    layer = quiet(FluxTransparentImagePipeline(**parts))("a fish", **settings).images[0][0]
    assert close(pixels(acetate.transparent("a fish", **options))[0], layer)
    stack = quiet(RegionLayersPipeline(**parts))("a card", boxes=[None, *BOXES], **settings).documents[0]
    made = acetate.generate("a card", boxes=BOXES, **options)
    assert all(close(a, b) for a, b in zip(pixels(made), pixels(stack), strict=True))


def test_schnell_takes_four_steps_and_no_guidance(schnell_checkpoint: Path) -> None:
    seen: list[tuple[str, int]] = []
    previews: list[Progress] = []
    made = acetate.transparent(
        "a fish",
        model=str(schnell_checkpoint),
        size=SIZE,
        on_progress=lambda phase, done, total, left: seen.append((phase, total)),
        on_step=previews.append,
    )
    assert list(dict.fromkeys(seen)) == [("load", 1), ("encode", 1), ("denoise", 4), ("decode", 1)]
    pipeline, tokens = quiet(FluxTransparentImagePipeline.load(schnell_checkpoint)), []
    pipeline.transformer.context_embedder.register_forward_hook(lambda m, i, o: tokens.append(o.shape[1]))
    output = pipeline("a fish", seed=0, height=32, width=48)
    assert tokens == [256] * 4 and np.array_equal(pixels(made)[0], np.asarray(output.images[0][0]))
    assert "distilled_guidance" not in output.documents[0].metadata["arguments"]
    assert len(previews) == 4 and previews[0].preview is not None
    assert pixels(made)[0].shape == (32, 48, 4)
    with pytest.raises(InputError, match="not trained to be told a guidance"):
        acetate.transparent("a fish", model=str(schnell_checkpoint), size=SIZE, guidance=3.5)


def test_previews_and_stopping(options: dict[str, Any]) -> None:
    shown: list[Any] = []
    acetate.generate(
        "a card",
        boxes=BOXES,
        on_step=lambda progress: shown.extend(progress.preview(frame) for frame in (0, 1, 2)),
        **options,
    )
    assert len(shown) == 6 and all(one[0].size == SIZE and one[0].mode == "RGBA" for one in shown)
    assert shown[0][0].getextrema()[3] == (255, 255) and shown[2][0].getextrema()[3] != (255, 255)
    last: list[Any] = []
    made = acetate.transparent("a fish", on_step=lambda progress: last.append(progress.preview()), **options)
    # The last step ends where the network sees it going, so its preview is the result.
    assert np.abs(np.asarray(last[-1][0]).astype(int) - pixels(made)[0]).max() <= 1
    with pytest.raises(InputError, match="no frame 7 to preview"):
        acetate.transparent("a fish", on_step=lambda progress: progress.preview(7), **options)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        acetate.transparent("a fish", cancel=cancel, **options)
    later = threading.Event()
    with pytest.raises(Cancelled):
        acetate.generate("a card", boxes=BOXES, cancel=later, on_step=lambda _: later.set(), **options)
    while_decoding, seen = threading.Event(), []

    def stop(phase: str, done: int, *_: Any) -> None:
        seen.append((phase, done))
        if phase == "decode":
            while_decoding.set()

    with pytest.raises(Cancelled):
        acetate.transparent("a fish", cancel=while_decoding, on_progress=stop, **options)
    assert ("decode", 0) in seen and ("decode", 1) not in seen


@pytest.mark.parametrize("kind", ["flux", "qwen"])
def test_loras_are_laid_over_and_taken_off(
    kind: str, options: dict[str, Any], tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path
) -> None:
    if kind == "qwen":
        options = {"model": str(tiny_checkpoint), "size": SIZE, "steps": 2, "seed": 3}
    one = flux_tools.lora(tmp_path / "one.safetensors", kind)
    other = flux_tools.lora(tmp_path / "other.safetensors", kind, seed=6)

    def made(*loras: Any) -> np.ndarray:
        return pixels(acetate.transparent("a fish", loras=loras, **options))[0]

    plain, styled = made(), made(one)
    assert not np.array_equal(plain, styled)
    assert np.array_equal(made(), plain), "the LoRA of the run before is still there"
    assert np.array_equal(made(f"{one}:0"), plain) and np.array_equal(made((one, 1.0)), styled)
    half, both = made(f"{one}:0.5"), made(one, other)
    assert not np.array_equal(half, styled) and not np.array_equal(both, styled)
    merged = {}
    for file in (one, other):  # two LoRAs of rank 2 are one of rank 4
        for key, value in load_file(file).items():
            axis = 0 if "lora_A" in key else 1
            merged[key] = value if key not in merged else torch.cat([merged[key], value], axis)
    save_file(merged, tmp_path / "merged.safetensors")
    together = made(tmp_path / "merged.safetensors")
    assert np.abs(together.astype(int) - both.astype(int)).max() <= 1
    facts = acetate.transparent("a fish", loras=f"{one}:0.5", **options).metadata["arguments"]["loras"]
    assert facts[0]["name"] == "one.safetensors" and facts[0]["scale"] == 0.5
    assert len(facts[0]["contents"]) == 16


def test_a_lora_in_foreign_names_is_the_same_lora(
    tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path
) -> None:
    own = flux_tools.lora(tmp_path / "own.safetensors", "qwen")
    foreign = {}
    for key, value in load_file(own).items():
        name = key.replace("transformer.", "diffusion_model.", 1)
        foreign[name.replace("lora_A", "lora_down").replace("lora_B", "lora_up")] = value
        foreign[name.split(".lora_")[0] + ".alpha"] = torch.tensor(2.0)  # its rank: as strong as it is
    save_file(foreign, tmp_path / "foreign.safetensors")
    made = [
        pixels(acetate.transparent("a fish", model=str(tiny_checkpoint), loras=file))[0]
        for file in ((), own, tmp_path / "foreign.safetensors")
    ]
    assert np.array_equal(made[1], made[2]) and not np.array_equal(made[0], made[1])


@pytest.mark.parametrize("names", ["text_model.", ""])
def test_a_lora_of_the_text_encoder_counts(
    names: str, options: dict[str, Any], flux_tools: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = flux_tools.lora(tmp_path / "alone.safetensors")
    query = f"text_encoder.{names}encoder.layers.0.self_attn.q_proj"
    generator = torch.Generator().manual_seed(8)
    state = load_file(alone)
    state[f"{query}.lora_A.weight"] = torch.randn(2, 12, generator=generator)
    state[f"{query}.lora_B.weight"] = torch.randn(12, 2, generator=generator)
    save_file(state, tmp_path / "both.safetensors")
    capfd.readouterr()
    made = [
        pixels(acetate.transparent("a fish", loras=loras, **options))[0]
        for loras in ((), alone, tmp_path / "both.safetensors", ())
    ]
    assert not np.array_equal(made[2], made[1]) and np.array_equal(made[0], made[3])
    assert "Loading weights" not in capfd.readouterr().err
    state[f"{query.replace('layers.0', 'layers.9')}.lora_A.weight"] = torch.zeros(2, 12)
    save_file(state, tmp_path / "deep.safetensors")
    with pytest.raises(InputError, match=r"layers\.9"):
        acetate.transparent("a fish", loras=tmp_path / "deep.safetensors", **options)


def test_every_function_takes_loras(tiny_checkpoint: Path, flux_tools: Any, tmp_path: Path) -> None:
    lora = flux_tools.lora(tmp_path / "lora.safetensors", "qwen")
    model, picture = str(tiny_checkpoint), noise()
    picture[..., 3] = 255
    runs: dict[str, Any] = {
        "decompose": lambda loras: acetate.decompose(picture, 2, model=model, loras=loras, size="model"),
        "generate": lambda loras: acetate.generate("a fish", 2, model=model, loras=loras),
        "complete": lambda loras: acetate.complete([picture, None], model=model, loras=loras),
        "extract": lambda loras: acetate.extract(picture, box=(4, 4, 20, 20), model=model, loras=loras),
    }
    for name, run in runs.items():
        plain, styled = run(()), run([lora])
        assert any(
            a.shape != b.shape or not np.array_equal(a, b)
            for a, b in zip(pixels(plain), pixels(styled), strict=True)
        ), name
        assert styled.metadata["arguments"]["loras"][0]["name"] == "lora.safetensors"


def test_loras_that_cannot_be_laid(
    options: dict[str, Any], flux_tools: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    def says(*loras: Any, **changes: Any) -> str:
        with pytest.raises(InputError) as caught:
            acetate.transparent("a fish", loras=loras, **{**options, **changes})
        return str(caught.value)

    assert "There is no LoRA" in says(tmp_path / "nowhere.safetensors")
    good = flux_tools.lora(tmp_path / "good.safetensors")
    assert "FILE or FILE:SCALE" in says(f"{good}:much")
    assert "must lie between -10 and 10" in says(f"{good}:99")
    (tmp_path / "pickle.bin").write_bytes(b"x")
    assert "may run code and is never opened" in says(tmp_path / "pickle.bin")
    save_file({"weight": torch.zeros(1)}, tmp_path / "none.safetensors")
    assert "is no LoRA" in says(tmp_path / "none.safetensors")
    wide = flux_tools.lora(tmp_path / "wide.safetensors", width=48)
    assert "as (2, 48), but the layer has 32" in says(wide)
    state = load_file(good)
    state["transformer.transformer_blocks.7.attn.to_q.lora_A.weight"] = torch.zeros(2, 32)
    save_file(state, tmp_path / "deep.safetensors")
    assert "transformer_blocks.7" in says(tmp_path / "deep.safetensors")
    wrong = says(good, model=str(tiny_checkpoint), transparency=None)
    assert "single_transformer_blocks" in wrong and "QwenImageTransformer2DModel has no place" in wrong
    key = "transformer.transformer_blocks.0.norm1.linear"
    modulation = {f"{key}.lora_A.weight": torch.zeros(2, 32), f"{key}.lora_B.weight": torch.zeros(192, 2)}
    save_file(modulation, tmp_path / "modulation.safetensors")
    assert "which the table stands for" in says(tmp_path / "modulation.safetensors", modulation_table=True)
    assert acetate.transparent("a fish", loras=tmp_path / "modulation.safetensors", **options).width == 48


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        ("transparent", {"transparency": None}, "FLUX alone makes no alpha"),
        ("transparent", {"transparency": "nowhere"}, "There is no file or folder nowhere"),
        ("transparent", {"size": (50, 32)}, "width must be a multiple of 16"),
        ("transparent", {"strength": 0.5}, "give the picture"),
        ("transparent", {"image": noise(), "strength": 0.0}, "strength must lie above 0"),
        ("transparent", {"guidance": -1.0}, "guidance must lie between"),
        ("generate", {"transparency": None, "boxes": BOXES}, "ART's region decoder"),
        ("generate", {}, "FLUX makes one layer for every box"),
        ("generate", {"boxes": BOXES, "layers": 5}, "2 boxes are not 5 layers"),
        ("generate", {"boxes": BOXES, "layer_prompts": ["a fish"]}, "no words of their own"),
        ("generate", {"boxes": [(0, 0, 99, 9)]}, "leaves the 48 x 32 canvas"),
        ("generate", {"boxes": [None] * 51}, "between 1 and 51"),
    ],
)
def test_what_cannot_be_done_on_flux(task: str, changes: dict, says: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=says):
        getattr(acetate, task)("a fish", **{**options, **changes})


def test_what_flux_cannot_do_is_refused_with_what_it_can(
    flux_checkpoint: Path, tiny_checkpoint: Path
) -> None:
    model = str(flux_checkpoint)
    runs = {
        "decompose": lambda: acetate.decompose(noise(), model=model),
        "extract": lambda: acetate.extract(noise(), box=(0, 0, 9, 9), model=model),
        "complete": lambda: acetate.complete([noise(), None], model=model),
    }
    for name, run in runs.items():
        with pytest.raises(InputError, match=f"FLUX, which cannot do `acetate {name}`: it makes .*--region"):
            run()
    dev = "black-forest-labs/FLUX.1-dev"  # said before anything is fetched
    with pytest.raises(InputError, match="FLUX, which cannot do `acetate decompose`"):
        acetate.decompose(noise(), model=dev)
    with pytest.raises(InputError, match="so FLUX alone makes no alpha"):
        acetate.transparent("a fish", model=dev)
    with pytest.raises(InputError, match="not on this machine and downloads are off"):
        acetate.transparent("a fish", model=dev, transparency=flux_checkpoint)
    with pytest.raises(InputError, match="makes alpha by itself"):
        acetate.transparent("a fish", model=str(tiny_checkpoint), transparency=model)


def test_a_picture_to_one_layer_on_qwen(tiny_checkpoint: Path) -> None:
    model = str(tiny_checkpoint)
    made = acetate.transparent("a fish", noise(40, 20), model=model, seed=1)
    assert (made.width, made.height) == (96, 48) and made.metadata["arguments"]["from_picture"] is True
    sized = acetate.transparent("a fish", noise(40, 20), model=model, size=(50, 33), seed=1)
    assert (sized.width, sized.height) == (50, 33)
    loaded: list[str] = []
    with pytest.raises(InputError, match=r"between 1 \(none\) and 100, not 0.5"):
        acetate.transparent(
            "a fish", model=model, guidance=0.5, on_progress=lambda phase, *_: loaded.append(phase)
        )
    assert not loaded
    told = acetate.transparent("a fish", model=model, guidance=5.0, seed=1)
    assert not np.array_equal(pixels(told)[0], pixels(acetate.transparent("a fish", model=model, seed=1))[0])


def test_in_bfloat16_too(flux_checkpoint: Path, alpha_parts: Path) -> None:
    given: dict[str, Any] = {"transparency": alpha_parts, "dtype": torch.bfloat16, "modulation_table": True}
    settings = {"num_inference_steps": 2, "seed": 3, "height": 32, "width": 48}
    layer = quiet(FluxTransparentImagePipeline.load(flux_checkpoint, **given))
    for image in (None, noise()):
        assert layer("a fish", image=image, **settings).documents[0].leaves()[0].pixels.shape == (32, 48, 4)
    regions = quiet(RegionLayersPipeline.load(flux_checkpoint, **given))
    assert len(regions("a card", boxes=[None, *BOXES], **settings).documents[0].leaves()) == 3
