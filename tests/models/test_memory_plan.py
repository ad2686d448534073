"""What a plan counts, promises and refuses; at full size too, since no weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acetate.errors import InputError
from acetate.fitting import Call
from acetate.models.family import FLUX
from acetate.models.inventory import PUBLISHED_TRANSFORMER, PUBLISHED_VAE, Shape
from acetate.models.loading import load_components
from acetate.models.memory import budget as budgets
from acetate.models.memory.activations import step_bytes
from acetate.models.memory.budget import GB, PRESETS, Budget, free_memory, parse_memory
from acetate.models.memory.dry_run import _LiveTensors, peak_bytes
from acetate.models.memory.inventory import (
    PUBLISHED_ENCODER,
    folder_inventory,
    inventory_of,
    published_inventory,
)
from acetate.models.memory.known import SMALLEST
from acetate.models.memory.means import full_dtype, ladder
from acetate.models.memory.plan import Plan, plan, smallest_preset
from acetate.models.memory.work import Work
from acetate.models.registry import MODELS

WORK = Work.decompose(640, 640, 4)


def on(memory: float, device: str = "cuda", host: float | None = None) -> Budget:
    return Budget(device=device, memory=int(memory * GB), host=None if host is None else int(host * GB))


def test_the_published_model_is_counted() -> None:
    model = published_inventory()
    assert model.transformer_size == 20_430_407_232
    assert model.encoder == 8_292_166_656
    assert model.vae_size == 126_897_716
    assert 0.33 < model.modulation / model.transformer_size < 0.335
    # hw_limits: one table entry is 4.4 MB in bf16
    assert 4.3e6 < 2 * model.modulation_rows < 4.5e6


def test_a_folder_is_counted_as_it_is_loaded(embedded_folder: Path) -> None:
    model = folder_inventory(embedded_folder, "x", "copy it again")
    parts = load_components(embedded_folder)
    real = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in (
            ("t", parts.transformer),
            ("e", parts.encoder),
            ("v", parts.vae),
            ("f", parts.frame_embedding),
        )
    }
    assert (model.transformer_size, model.encoder, model.vae_size, model.beside) == tuple(real.values())
    assert sum(p.numel() for p in parts.transformer.transformer_blocks[0].parameters()) == (
        model.blocks[0] + 2 * (6 * 32 * 32 + 6 * 32)
    )
    assert model.num_blocks == 2 and not model.captions


def write_holes(folder: Path, stem: str, shapes: dict[str, Shape], shards: int) -> None:
    """Safetensors files of full size in the sharded layout, whose data is a hole."""
    weight_map, keys = {}, sorted(shapes)
    for number in range(shards):
        name = f"{stem}-{number + 1:05d}-of-{shards:05d}.safetensors"
        header: dict[str, Any] = {}
        offset = 0
        for key in keys[number::shards]:
            size = 2 * int(torch.Size(shapes[key]).numel())
            header[key] = {
                "dtype": "BF16",
                "shape": list(shapes[key]),
                "data_offsets": [offset, offset + size],
            }
            weight_map[key], offset = name, offset + size
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as handle:
            handle.write(len(text).to_bytes(8, "little") + text)
            handle.truncate(8 + len(text) + offset)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_full_size_folder_is_planned_from_headers_alone(
    qwen_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """57 GB of holes: to read one part of them would show in the memory, and no tensor is asked for."""
    import diffusers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    parts: dict[str, tuple[Any, dict[str, Any], str]] = {
        "transformer": (
            diffusers.QwenImageTransformer2DModel,
            PUBLISHED_TRANSFORMER,
            "diffusion_pytorch_model",
        ),
        "vae": (diffusers.AutoencoderKLQwenImage, PUBLISHED_VAE, "diffusion_pytorch_model"),
    }
    for name, (kind, config, stem) in parts.items():
        for old in (qwen_folder / name).iterdir():
            old.unlink()
        (qwen_folder / name / "config.json").write_text(json.dumps({"_class_name": kind.__name__, **config}))
        with torch.device("meta"):
            shapes = {key: tuple(value.shape) for key, value in kind.from_config(config).state_dict().items()}
        write_holes(qwen_folder / name, stem, shapes, 9)
    with torch.device("meta"):
        encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**PUBLISHED_ENCODER))
    encoder.config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    for old in (qwen_folder / "text_encoder").iterdir():
        old.unlink()
    encoder.config.save_pretrained(qwen_folder / "text_encoder")
    named = {key: tuple(value.shape) for key, value in encoder.named_parameters()}
    write_holes(qwen_folder / "text_encoder", "model", named, 4)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(safetensors.torch, "load_file", refuse)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", refuse)
    opened = safetensors.safe_open

    class Headers:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._file = opened(*args, **kwargs)

        def __enter__(self) -> Any:
            self._file.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self._file.__exit__(*error)

        def keys(self) -> Any:
            return self._file.keys()

        def get_slice(self, key: str) -> Any:
            return self._file.get_slice(key)

        get_tensor = refuse

    monkeypatch.setattr("acetate.models.inventory.safe_open", Headers)
    before = resident()
    found = plan(folder_inventory(qwen_folder, "Qwen/Qwen-Image-Layered", "copy it again"), WORK, on(24))
    assert resident() - before < 1e9
    assert found == plan(published_inventory(), WORK, on(24))


def test_24_gb_are_enough_for_640_pixels_and_four_layers() -> None:
    found = plan(published_inventory(), WORK, on(24))
    assert found.exact and found.means.table and found.means.text_first and found.means.offload == "host"
    assert found.total <= 24 * GB
    assert [phase.name for phase in found.phases] == ["text", "encode", "denoise", "decode"]
    # 27.4 GB with the table (hw_limits) do not fit: some blocks wait, and most do not.
    assert 0 < found.blocks - found.means.resident < found.blocks / 2


@pytest.mark.parametrize("size", [640, 1024])
def test_every_preset_has_a_plan_on_a_gpu(size: int) -> None:
    work = Work.decompose(size, size, 4)
    found = [plan(published_inventory(), work, on(preset)) for preset in PRESETS]
    assert all(one.exact and one.total <= preset * GB for one, preset in zip(found, PRESETS, strict=True))
    assert not found[-1].described, "80 GB hold everything as it is"


def test_the_listed_presets_are_the_planners() -> None:
    for name, entry in MODELS.items():
        if name in SMALLEST:
            named = name == "Qwen/Qwen-Image-Layered"
            model = published_inventory() if named else inventory_of(entry, "transparent")
            side = 640 if model.cell == 16 and model.num_blocks > 6 else 128
            work = Work.decompose(side, side, 4)
            if model.family is FLUX:
                work = Call(task="transparent", layers=1).work(model, {})
            assert SMALLEST[name] == {
                device: smallest_preset(model, work, device) for device in ("cuda", "cpu")
            }
    assert set(SMALLEST) <= set(MODELS)


# -- order


@pytest.mark.parametrize("device", ["cuda", "cpu", "mps"])
def test_the_ladder_only_goes_down(device: str) -> None:
    steps = ladder(device)
    assert len(set(steps)) == len(steps)
    losses = [means.loss(full_dtype(device)) for means in steps]
    assert losses == sorted(losses) and losses[0] == 0
    exact = [means.slowness(60) for means in steps if means.loss(full_dtype(device)) == 0]
    assert exact == sorted(exact)


def tried(memory: float, device: str, host: float | None) -> Plan | None:
    try:
        return plan(published_inventory(), WORK, on(memory, device, host))
    except InputError:
        return None


@settings(max_examples=60, deadline=None)
@given(
    memory=st.tuples(st.floats(1, 90), st.floats(1, 90)),
    device=st.sampled_from(["cuda", "cpu"]),
    host=st.none() | st.floats(4, 90),
)
def test_more_memory_is_never_slower_or_coarser(
    memory: tuple[float, float], device: str, host: float | None
) -> None:
    host = host if device == "cuda" else None
    less, more = (tried(size, device, host) for size in sorted(memory))
    if less is None:
        return
    assert more is not None
    assert more.total <= max(memory) * GB
    assert more.rank[0] <= less.rank[0]
    if more.rank[0] == less.rank[0]:
        assert more.rank[1] <= less.rank[1]


@settings(max_examples=6, deadline=None)
@given(
    width=st.integers(1, 12),
    height=st.integers(1, 12),
    layers=st.integers(1, 6),
    more=st.sampled_from(["w", "h", "n"]),
)
def test_more_never_predicts_less(width: int, height: int, layers: int, more: str) -> None:
    model = inventory_of(MODELS["tiny"])
    small = Work.decompose(32 * width, 32 * height, layers)
    large = Work.decompose(
        32 * (width + (more == "w")), 32 * (height + (more == "h")), layers + (more == "n")
    )
    means = ladder("cpu")[0]
    from acetate.models.memory.prediction import predict

    before, after = (predict(model, work, means, shared=True) for work in (small, large))
    assert all(one.device <= two.device for one, two in zip(before, after, strict=True))


# -- refusals


def test_a_refusal_says_what_is_needed_what_there_is_and_what_would_fit() -> None:
    model, work = published_inventory(), Work.decompose(1024, 1024, 20)
    with pytest.raises(InputError) as refusal:
        plan(model, work, on(8))
    text = str(refusal.value)
    assert "20 layers at 1024 x 1024 px" in text and "there are 8.0 GB" in text and "a denoising step" in text
    fewer = int(text.split("ask for ")[1].split()[0])
    assert plan(model, Work.decompose(1024, 1024, fewer), on(8)).total <= 8 * GB
    with pytest.raises(InputError):
        plan(model, Work.decompose(1024, 1024, fewer + 1), on(8))
    side = int(text.split("work at ")[1].split()[0])
    assert plan(model, Work.decompose(side, side, 20), on(8)).total <= 8 * GB
    preset = int(text.split("--memory ")[1].split()[0])
    assert plan(model, work, on(preset)).total <= preset * GB


def test_a_machine_too_small_to_wait_in_is_refused_and_not_swapped() -> None:
    with pytest.raises(InputError, match=r"must wait in the machine's memory, where 8\.0 GB are free"):
        plan(published_inventory(), WORK, on(12, host=8))
    small = plan(published_inventory(), WORK, on(24, host=8))
    assert small.exact and 0 < max(phase.host for phase in small.phases) <= 8 * GB


def test_where_nothing_can_wait_blocks_are_kept_in_8_bits() -> None:
    found = plan(published_inventory(), WORK, on(24, host=4))
    assert found.means.storage == "float8" and not found.exact
    assert found.coarser == ["transformer blocks are kept in 8 bits (float8)"]


@pytest.mark.parametrize("given_", ["20", "-8", "0", "eight", "", "8.5", "24 MB", 7, -1, True, None, 1e9])
def test_unknown_memory_is_refused_in_the_users_words(given_: Any) -> None:
    with pytest.raises(InputError) as refusal:
        parse_memory(given_)
    assert repr(given_) in str(refusal.value) and "auto" in str(refusal.value) and "24" in str(refusal.value)


def test_known_memory_is_understood() -> None:
    assert [parse_memory(one) for one in ("auto", "24", 24, "24 GB", "24gb")] == [None, 24, 24, 24, 24]
    with pytest.raises(InputError, match="not for 'tpu'"):
        Budget(device="tpu", memory=GB)
    with pytest.raises(InputError, match="above 0"):
        Budget(device="cpu", memory=-GB)
    with pytest.raises(InputError, match="layers must be at least 1"):
        Work.decompose(640, 640, 0)


def test_free_memory_minds_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_memory("cpu")
    assert 0 < free < 2**50
    (tmp_path / "max").write_text("3000000000\n")
    (tmp_path / "current").write_text("2999000000\n")
    (tmp_path / "memory.stat").write_text("anon 2000\ninactive_file 500000\n")
    monkeypatch.setattr(budgets, "_CGROUPS", ((str(tmp_path / "max"), str(tmp_path / "current")),))
    assert free_memory("cpu") == 1_500_000
    (tmp_path / "max").write_text("max\n")
    assert free_memory("cpu") > 1_500_000


# -- activations


def test_a_dry_run_counts_what_lives_at_once() -> None:
    def call() -> torch.Tensor:
        one = torch.empty(1000, device="meta")  # 4000 bytes
        two = one + 1  # 8000
        del one
        three = two.view(10, 100) * 2  # a view is nothing; 8000
        del two
        return torch.cat([three, three])  # 4000 + 8000

    assert peak_bytes(call) == 12000


def test_a_dry_run_counts_as_a_real_one_does(transformer: Any) -> None:
    """The same counter around the real arithmetic: only attention differs, by its log-sum-exp."""
    from acetate.models.backbones.qwen import QwenBackbone
    from acetate.models.layout import Layout
    from acetate.models.text import TextFeatures

    layout = Layout.image_to_layers(8, 8, 3, None)
    sigma, words = torch.full((1,), 0.5), TextFeatures(embeds=torch.randn(1, 12, 16))

    def forward(model: Any, device: str) -> Any:
        tokens = torch.randn(1, layout.num_image_tokens, 64, device=device)
        image = torch.empty(layout.num_image_tokens, 8, dtype=torch.complex64, device=device)
        text = torch.empty(12, 8, dtype=torch.complex64, device=device)

        class Frequencies:
            max_position = 4096

            def __call__(self, *_: Any) -> Any:
                return image, text

        backbone = QwenBackbone(model, frequencies=Frequencies())  # type: ignore[arg-type]
        return lambda: backbone.velocity(tokens, sigma.to(device), words.to(device), layout)

    call, real = forward(transformer(), "cpu"), _LiveTensors()
    with torch.no_grad(), real:
        call()
    dry = peak_bytes(forward(transformer().to("meta"), "meta"))
    assert 0.97 < dry / real.peak < 1.03


def test_the_step_of_the_published_model() -> None:
    """Dominated by the feed-forward layer: tokens x 4 widths, three times, in bf16, and three streams beside."""
    model = published_inventory()
    tokens = 6 * 40 * 40
    floor = tokens * 3072 * 2 * (2 * 4 + 3)
    assert floor < step_bytes(model, WORK, "bfloat16") < 2 * floor
    assert step_bytes(model, WORK, "float32") > 1.9 * step_bytes(model, WORK, "bfloat16")
