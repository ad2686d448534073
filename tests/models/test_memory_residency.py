"""Plans carried out: the same bits where the means are exact, and nothing in memory that a plan puts away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acetate.errors import Cancelled, InputError
from acetate.models.memory.means import Means, ladder
from acetate.models.memory.placing import computing_device, spread
from acetate.pipelines import ImageToLayersPipeline

CALL = {
    "layers": 2,
    "prompt": "a red star",
    "seed": 1,
    "num_inference_steps": 2,
    "output_type": "np",
    "resolution": 64,
}
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def load(model: str | Path = "tiny", means: Means | None = None) -> Any:
    pipeline = ImageToLayersPipeline.load(model, means=means)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def layers(pipeline: Any, **changes: Any) -> np.ndarray:
    return np.stack(pipeline(PICTURE, **{**CALL, **changes}).images[0])


def held(module: torch.nn.Module) -> int:
    """Bytes of parameters in memory."""
    return sum(p.nbytes for p in module.parameters() if not p.is_meta)


@pytest.fixture(scope="module")
def plain() -> dict[str, np.ndarray]:
    """What the embedded model makes without a plan, and in bf16."""
    half = Means(dtype="bfloat16")
    return {
        "float32": layers(load(), true_cfg_scale=2.0),
        "bfloat16": layers(load(means=half), true_cfg_scale=2.0),
    }


EXACT = [
    *(means for means in ladder("cpu") if means.loss("float32") == 0),
    *(means for means in ladder("cuda") if means.loss("bfloat16") == 0),
    Means(dtype="float32", table=True, text_first=True, offload="files", resident=2),
    Means(dtype="float32", table=True, text_first=True, offload="host", resident=4),
    Means(dtype="bfloat16", table=True, text_first=True, offload="files"),
]


@pytest.mark.parametrize("means", EXACT, ids=str)
def test_exact_means_give_the_same_bits_twice(means: Means, plain: dict[str, np.ndarray]) -> None:
    pipeline = load(means=means)
    for _ in range(2):
        assert np.array_equal(layers(pipeline, true_cfg_scale=2.0), plain[means.dtype])


def test_8_bits_are_close_and_say_so(plain: dict[str, np.ndarray]) -> None:
    means = Means(dtype="float32", table=True, text_first=True, storage="float8")
    pipeline = load(means=means)
    found = layers(pipeline, true_cfg_scale=2.0)
    stored = {p.dtype for p in pipeline.transformer.transformer_blocks[0].attn.parameters()}
    assert torch.float8_e4m3fn in stored and pipeline.transformer.img_in.weight.dtype == torch.float32
    assert 0 < np.abs(found - plain["float32"]).mean() < 0.04
    assert means.loss("float32") > 0


def test_tiling_is_turned_on() -> None:
    assert load(means=Means(dtype="float32", tiling=True)).vae.use_tiling


@pytest.mark.parametrize("offload", [None, "host", "files"])
def test_words_come_first_and_are_gone_when_layers_are_made(
    tiny_checkpoint: Path, offload: str | None
) -> None:
    means = Means(dtype="float32", table=True, text_first=True, offload=offload)
    pipeline = load(tiny_checkpoint, means)
    assert held(pipeline.transformer) == held(pipeline.text_encoder) == 0
    seen: list[tuple[str, int, int]] = []
    encode = pipeline.text_encoder.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(("text", held(pipeline.text_encoder), held(pipeline.transformer)))
        return encode(*args, **kwargs)

    def on_step(*_: Any) -> dict[str, Any]:
        seen.append(("step", held(pipeline.text_encoder), held(pipeline.transformer)))
        return {}

    pipeline.text_encoder.forward = watched
    for _ in range(2):
        layers(pipeline, callback_on_step_end=on_step)
    assert [name for name, _, _ in seen] == ["text", "step", "step"] * 2
    for name, encoder, transformer in seen:
        assert (encoder > 0, transformer > 0) == (name == "text", name == "step")


def test_features_from_elsewhere_need_no_encoder(tiny_checkpoint: Path) -> None:
    pipeline = load(tiny_checkpoint, Means(dtype="float32", text_first=True))
    layers(pipeline, prompt=None, prompt_embeds=torch.zeros(1, 3, 16))
    assert held(pipeline.text_encoder) == 0 and held(pipeline.transformer) > 0


def test_blocks_from_files_are_there_one_at_a_time(plain: dict[str, np.ndarray]) -> None:
    pipeline = load(means=Means(dtype="float32", table=True, offload="files", resident=2))
    blocks = pipeline.transformer.transformer_blocks
    counts = []
    for block in blocks:
        block.register_forward_pre_hook(lambda *_: counts.append(sum(held(one) > 0 for one in blocks)))
    assert np.array_equal(layers(pipeline, true_cfg_scale=2.0), plain["float32"])
    # Two stay; a third is there while it computes, and not while one of the two does.
    assert max(counts) == 3 and min(counts) == 2 and len(counts) == len(blocks) * 2 * 2
    assert sum(held(one) > 0 for one in blocks) == 2


def test_a_stopped_run_leaves_nothing_behind(plain: dict[str, np.ndarray]) -> None:
    import threading

    pipeline = load(means=Means(dtype="float32", table=True, offload="files"))
    cancel = threading.Event()

    def stop(*_: Any) -> dict[str, Any]:
        cancel.set()
        return {}

    with pytest.raises(Cancelled):
        layers(pipeline, callback_on_step_end=stop, cancel=cancel)
    assert not any(held(block) for block in pipeline.transformer.transformer_blocks)
    assert np.array_equal(layers(pipeline, true_cfg_scale=2.0), plain["float32"])


@pytest.mark.parametrize(
    "means", [Means(dtype="float32", text_first=True), Means(dtype="float32", text_offload=True)], ids=str
)
def test_captions_are_the_same(
    qwen_folder: Path, means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for one in (None, means):
        pipeline = load(qwen_folder, one)
        pipeline.captioner.folder = None
        pipeline.captioner.max_new_tokens = 3
        assert pipeline.captioner.model is pipeline.text_encoder
        found.append(layers(pipeline, prompt=None, true_cfg_scale=2.0))
    assert np.array_equal(*found)


def test_an_adapter_on_parts_that_come_and_go_is_refused(tiny_checkpoint: Path) -> None:
    from peft import LoraConfig

    pipeline = load(tiny_checkpoint, Means(dtype="float32", text_first=True))
    pipeline.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q"]), adapter_name="style")
    with pytest.raises(InputError, match=r"LoRA.*leave memory out"):
        layers(pipeline)


def test_where_a_module_computes(tiny_checkpoint: Path) -> None:
    pipeline = load(tiny_checkpoint, Means(dtype="float32", text_offload=True))
    assert computing_device(pipeline.text_encoder).type == "cpu"


def test_blocks_that_stay_are_spread_evenly() -> None:
    assert spread(6, 2) == {1, 4} and spread(60, 60) == set(range(60)) and len(spread(60, 43)) == 43
    gaps = np.diff(sorted(spread(60, 12)))
    assert set(gaps) == {5}
