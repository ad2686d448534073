"""FLUX under plans: what is counted at full size, and that the exact means give the pipelines' own bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acetate.errors import InputError
from acetate.fitting import Call
from acetate.models.loading import load_components
from acetate.models.lora import read_loras
from acetate.models.memory.activations import step_bytes
from acetate.models.memory.activations_flux import layout_of
from acetate.models.memory.budget import GB, PRESETS, Budget
from acetate.models.memory.inventory import Inventory, folder_inventory
from acetate.models.memory.inventory_flux import SCHNELL, published_flux
from acetate.models.memory.means import Means, ladder
from acetate.models.memory.placing import blocks_of, spread
from acetate.models.memory.plan import plan, plan_with
from acetate.models.memory.prediction import weights
from acetate.models.modulation import find_table
from acetate.pipelines import FluxTransparentImagePipeline, RegionLayersPipeline
from acetate.pipelines.lora import laid

DEV = "black-forest-labs/FLUX.1-dev"
BOXES = (None, (10, 0, 40, 30), (32, 16, 48, 32))
SETTINGS: dict[str, Any] = {
    "num_inference_steps": 2,
    "seed": 3,
    "height": 32,
    "width": 48,
    "output_type": "np",
}


pytestmark = pytest.mark.usefixtures("one_thread")


def on(memory: float, device: str = "cuda", host: float | None = None) -> Budget:
    return Budget(device=device, memory=int(memory * GB), host=None if host is None else int(host * GB))


def work(model: Inventory, task: str = "transparent", layers: int = 1, **more: Any) -> Any:
    return Call(task=task, layers=layers, **more).work(model, {})


def held(module: torch.nn.Module) -> int:
    return sum(p.nbytes for p in module.parameters() if not p.is_meta)


# -- what is counted


def test_the_published_models_are_counted() -> None:
    dev, schnell = published_flux(DEV, "transparent"), published_flux(SCHNELL, "generate")
    assert dev.transformer_size == 11_901_408_320  # docs/checkpoints.md, and tests/models/test_backbone_flux
    assert [one.size for one in dev.encoders] == [123_060_480, 4_762_310_656]
    assert dev.vae_size == 83_819_683 and dev.beside == 104_105_572 + 1_209_424
    assert schnell.beside == 85_265_920 and schnell.fast and not dev.fast
    assert (dev.num_blocks, dev.cell, dev.hidden) == (57, 16, 3072)
    assert dev.blocks[0] > 1.9 * dev.blocks[-1] and 0.27 < dev.modulation / dev.transformer_size < 0.28
    assert (dev.text_tokens(1), schnell.text_tokens(1)) == (512, 256)
    assert (work(dev).steps, work(dev, "generate", 3).steps, work(schnell).steps) == (50, 28, 4)


def test_a_folder_is_counted_as_it_is_loaded(
    flux_checkpoint: Path, schnell_checkpoint: Path, alpha_parts: Path, flux_tools: Any, tmp_path: Path
) -> None:
    for folder, alpha in (
        (flux_checkpoint, alpha_parts),
        (schnell_checkpoint, None),
        (flux_checkpoint, flux_tools.vae(tmp_path / "vae", 4)),
    ):
        model = folder_inventory(folder, "x", "copy it again", "transparent", alpha)
        parts = load_components(folder, transparency=alpha)
        encoders = [parts.encoder, parts.more["text_encoder_2"]]
        beside = [part for name, part in parts.more.items() if name not in ("text_encoder_2", "tokenizer_2")]
        assert model.transformer_size == size(parts.transformer)
        assert [one.size for one in model.encoders] == [size(one) for one in encoders]
        assert model.vae_size == size(parts.vae)
        # The layer embedding belongs to the transformer of a folder, the decoders to whoever names them.
        assert model.beside == sum(size(part) for part in beside)
        assert model.fast is (folder == schnell_checkpoint)
    means = Means(dtype="float32", table=True, offload="host", resident=1)
    one = load_components(flux_checkpoint, transparency=alpha_parts, means=Means(dtype="float32", table=True))
    blocks = [held(block) for _, block in blocks_of(one.transformer)]
    model = folder_inventory(flux_checkpoint, "x", "", "transparent", alpha_parts)
    found = weights(model, work(model), means)
    assert [4 * block for block in model.blocks] == blocks
    (stays,) = spread(2, 1)
    assert found.resident == blocks[stays] and found.ahead == found.waiting == blocks[1 - stays]


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_24_gb_hold_flux_with_the_same_result() -> None:
    for name in (DEV, SCHNELL):
        for task, layers in (("transparent", 1), ("generate", 4)):
            model = published_flux(name, task)
            found = plan(model, work(model, task, layers), on(24))
            assert found.exact and found.means == Means(table=True, text_first=True)
            assert found.total <= 24 * GB and found.peak > 17 * GB


@pytest.mark.parametrize("task", ["transparent", "generate"])
def test_every_preset_has_a_plan_on_a_gpu(task: str) -> None:
    model = published_flux(DEV, task)
    asked = work(model, task, 4 if task == "generate" else 1)
    found = [plan(model, asked, on(preset)) for preset in PRESETS]
    assert all(one.exact and one.total <= preset * GB for one, preset in zip(found, PRESETS, strict=True))
    assert not found[-1].described and found[0].means.text_offload
    small = plan(model, asked, on(16, host=2))
    assert small.means.storage == "float8" and not small.exact


def test_boxes_count_and_pictures_count() -> None:
    model = published_flux(DEV, "generate")
    boxed, full = (
        work(model, "generate", 3, boxes=boxes)
        for boxes in ((None, (0, 0, 128, 128), (512, 512, 1024, 1024)), None)
    )
    assert layout_of(model, boxed).num_image_tokens == 2 * 64 * 64 + 8 * 8 + 32 * 32
    assert layout_of(model, full).num_image_tokens == 4 * 64 * 64
    assert step_bytes(model, boxed, "bfloat16") < 0.7 * step_bytes(model, full, "bfloat16")
    half = boxed.resized(512, 512)
    assert half.boxes == (None, (0, 0, 64, 64), (256, 256, 512, 512)) and boxed.fewer(2).frames == 3
    one = published_flux(DEV, "transparent")
    shown, alone = (
        plan_with(one, work(one, picture=picture), Means(), "cuda").phases[1] for picture in (True, False)
    )
    assert shown.work > 2e8 and alone.work == 0


def test_a_refusal_says_what_would_fit() -> None:
    model = published_flux(DEV, "generate")
    asked = work(model, "generate", 24, size=(2048, 2048))
    with pytest.raises(
        InputError, match=r"24 layers at 2048 x 2048 px needs at least .* there are 8\.0 GB"
    ) as told:
        plan(model, asked, on(8))
    fewer = int(str(told.value).split("ask for ")[1].split()[0])
    assert plan(model, asked.fewer(fewer), on(8)).total <= 8 * GB
    with pytest.raises(InputError, match=r"reading the prompt: 10\.\d GB of weights"):
        plan(model, work(model, "generate", 2), on(8, "cpu"))


# -- what is held


def load(kind: Any, folder: Path, alpha: Path | None, means: Means | None) -> Any:
    pipeline = kind.load(folder, transparency=alpha, means=means)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def made(pipeline: Any) -> np.ndarray:
    more: dict[str, Any] = {"boxes": BOXES} if isinstance(pipeline, RegionLayersPipeline) else {}
    return np.stack(pipeline("a red fish", **more, **SETTINGS).images[0])


EXACT = [
    *(means for means in ladder("cpu") if means.loss("float32") == 0),
    *(means for means in ladder("cuda") if means.loss("bfloat16") == 0),
    Means(dtype="float32", table=True, text_first=True, offload="files", resident=1),
    Means(dtype="float32", table=True, text_first=True, offload="host", resident=1),
    Means(dtype="bfloat16", table=True, text_first=True, offload="files"),
]
PIPELINES = [FluxTransparentImagePipeline, RegionLayersPipeline]


@pytest.mark.parametrize("kind", PIPELINES, ids=lambda kind: kind.task)
def test_exact_means_give_the_same_bits_twice(kind: Any, flux_checkpoint: Path, alpha_parts: Path) -> None:
    plain = {
        dtype: made(load(kind, flux_checkpoint, alpha_parts, Means(dtype=dtype)))
        for dtype in ("float32", "bfloat16")
    }
    assert np.array_equal(plain["float32"], made(load(kind, flux_checkpoint, alpha_parts, None)))
    for means in EXACT:
        pipeline = load(kind, flux_checkpoint, alpha_parts, means)
        for _ in range(2):
            assert np.array_equal(made(pipeline), plain[means.dtype]), means


def test_a_lora_gives_the_same_bits_and_leaves_with_the_run(
    flux_checkpoint: Path, alpha_parts: Path, flux_tools: Any, tmp_path: Path
) -> None:
    loras = read_loras([flux_tools.lora(tmp_path / "lora.safetensors")])
    pipeline = load(FluxTransparentImagePipeline, flux_checkpoint, alpha_parts, None)
    plain = made(pipeline)
    with laid(pipeline, loras):
        styled = made(pipeline)
    assert not np.array_equal(plain, styled)
    for means in (
        Means(dtype="float32", table=True, text_first=True),
        Means(dtype="float32", table=True, text_first=True, offload="host"),
        Means(dtype="float32", text_first=True, offload="files", resident=1),
        Means(dtype="float32", table=True),
    ):
        pipeline = load(FluxTransparentImagePipeline, flux_checkpoint, alpha_parts, means)
        for _ in range(2):
            with laid(pipeline, loras):
                assert np.array_equal(made(pipeline), styled), means
            assert np.array_equal(made(pipeline), plain), means


@pytest.mark.parametrize("offload", [None, "host", "files"])
def test_words_come_first_and_are_gone_when_layers_are_made(
    flux_checkpoint: Path, alpha_parts: Path, offload: str | None
) -> None:
    means = Means(dtype="float32", table=True, text_first=True, offload=offload)
    pipeline = load(FluxTransparentImagePipeline, flux_checkpoint, alpha_parts, means)
    assert find_table(pipeline.transformer) is not None
    parts = (pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2)
    assert not any(held(part) for part in parts)
    seen: list[tuple[str, bool, bool, bool]] = []
    for part, name in ((pipeline.text_encoder, "clip"), (pipeline.text_encoder_2, "t5")):
        part.register_forward_pre_hook(
            lambda *_, name=name: seen.append((name, *(held(one) > 0 for one in parts)))
        )
    hook = pipeline.transformer.x_embedder.register_forward_pre_hook(
        lambda *_: seen.append(("step", *(held(one) > 0 for one in parts)))
    )
    for _ in range(2):
        made(pipeline)
    hook.remove()
    words = [("t5", False, True, True), ("clip", False, True, True)]
    assert seen == [*words, *[("step", True, False, False)] * 2] * 2


def test_8_bits_and_tiles_say_so(flux_checkpoint: Path, alpha_parts: Path) -> None:
    plain = made(load(FluxTransparentImagePipeline, flux_checkpoint, alpha_parts, None))
    means = Means(dtype="float32", table=True, text_first=True, storage="float8", tiling=True)
    pipeline = load(FluxTransparentImagePipeline, flux_checkpoint, alpha_parts, means)
    found = made(pipeline)
    for _, block in blocks_of(pipeline.transformer):
        assert torch.float8_e4m3fn in {p.dtype for p in block.parameters()}
    assert pipeline.transformer.x_embedder.weight.dtype == pipeline.transformer.proj_out.weight.dtype
    assert pipeline.transformer.proj_out.weight.dtype == torch.float32
    assert 0 < np.abs(found - plain).mean() < 0.02 and means.loss("float32") > 0
    assert pipeline.tiling is not None and pipeline.codec.tiling.tile == 512


def test_a_stack_passes_the_vae_in_tiles(flux_checkpoint: Path, alpha_parts: Path) -> None:
    from acetate.models.codecs import Tiling

    pipeline = load(RegionLayersPipeline, flux_checkpoint, alpha_parts, None)
    whole = made(pipeline)
    pipeline.tiling = Tiling(pictures=1, tile=32, overlap=16)
    assert 0 < np.abs(made(pipeline) - whole).mean() < 0.1
