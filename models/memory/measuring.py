"""Measuring what a plan takes: a rehearsed model through the real denoising and decoding, and the process's own peak.

For ``scripts/measure_memory.py``, which runs each measurement in a process of its own. Knows clocks and counters.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..backbones.qwen import QwenBackbone
from ..codecs import QwenRGBACodec, still_convolutions
from ..family import FLUX, QWEN
from ..inventory import PUBLISHED_TRANSFORMER, PUBLISHED_VAE
from ..layout import Layout
from ..registry import MODELS as REGISTERED
from ..text import TextFeatures
from .inventory import T5_ENCODER, Inventory, count_parts, inventory_of, published_inventory
from .inventory_flux import published_flux, random_encoder
from .means import Means, ladder
from .measuring_flux import FLUX_DEV, ONE, STACK, flux_call, run_flux, scaled_axes, scaled_flux
from .plan import Plan, plan_with
from .rehearsal import RandomWords, Rehearsal, randomise, rehearse
from .work import Work

# Width, heads and blocks of the transformers that stand for the published one where that does not fit; None: of itself.
# FLUX makes one layer, or with "stack" several.
MODELS: dict[str, tuple[int, int, int] | None] = {
    "full": None,
    "embedded": None,
    "large": (1024, 8, 6),
    "small": (128, 2, 2),
    "flux-full": None,
    "flux-full-stack": None,
    "flux-large": (1024, 8, 4),
    "flux-large-stack": (1024, 8, 4),
    "flux-small": (128, 2, 1),
}
SLACK = 1.1  # acceptance: a prediction may be off by a tenth
SCRATCH = 48 * 10**6  # bytes beside, for what the CPU's libraries allocate for themselves
FLUX_SCRATCH = 128 * 10**6  # the same where convolutions are of many shapes, as in LayerDiffuse's U-Net
VENDOR_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L20": 119.5, "RTX 4090": 165.0}  # dense bf16


def model_named(name: str, size: int, layers: int, steps: int) -> tuple[Inventory, Work]:
    """A model of :data:`MODELS`, and a decomposition of ``size`` x ``size`` pixels or what FLUX makes of that size."""
    shape = MODELS[name]
    if name.startswith("flux"):
        stack = name.endswith("stack")
        flux = scaled_flux(shape, stack) if shape else published_flux(FLUX_DEV, STACK if stack else ONE)
        return flux, flux_call(size, layers, steps, stack)
    work = Work.decompose(size, size, layers, steps=steps)
    if shape is not None:
        return _scaled(*shape), work
    return (published_inventory() if name == "full" else inventory_of(REGISTERED["tiny"])), work


def scale_of(model: Inventory, work: Work, device: str) -> float:
    """How much of the published model's plain run at 640 pixels on a GPU the plain run of ``model`` takes; 1 for itself."""
    on_flux = model.family is FLUX
    full = published_flux(FLUX_DEV, ONE if work.frames == 1 else STACK) if on_flux else published_inventory()
    if model.num_blocks == full.num_blocks:
        return 1.0
    plain = flux_call(1024, work.layers, 50, work.frames > 1) if on_flux else Work.decompose(640, 640, 4)
    mine = plan_with(model, work, ladder(device)[0], device).peak
    return mine / plan_with(full, plain, ladder("cuda")[0], "cuda").peak


def measure_run(
    model: Inventory, work: Work, plan: Plan, device: str, steps: int, guidance: float
) -> dict[str, Any]:
    """One run under ``plan``: {"measured": bytes at the peak, "step": seconds per guided step, "phases": bytes at the peak
    of each phase}. On the CPU the process is kept from taking more than the prediction and a tenth."""
    place = torch.device(device)
    with torch.no_grad():
        _run(
            *_tiny(model, work), Means(dtype=plan.means.dtype), place, 1, guidance, lambda _: None
        )  # libraries' own first costs
        meter = _Meter(place)
        meter.limit(int(plan.peak * SLACK) + (FLUX_SCRATCH if model.family is FLUX else SCRATCH))
        phases: dict[str, int] = {}

        def done(phase: str) -> None:
            phases[phase] = meter.peak()

        seconds = _run(model, work, plan.means, place, steps, guidance, done)
    return {"measured": max(phases.values()), "step": statistics.median(seconds), "phases": phases}


def compare_steps(
    model: Inventory,
    work: Work,
    device: str,
    kind: str,
    compiled: bool,
    steps: int,
    peak_tflops: float | None,
) -> dict[str, Any]:
    """A guided step of the bare transformer: ``kind`` "diffusers" (the stock forward, as QwenImageLayeredPipeline calls
    it), "ours" (through the backbone) or "ours, table". Seconds are the median of ``steps`` after one more."""
    import diffusers

    place = torch.device(device)
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    means = Means(dtype=str(dtype).removeprefix("torch."), table=kind == "ours, table")
    with torch.no_grad():
        _run(
            *_tiny(model, work), Means(dtype=means.dtype), place, 1, 1.0, lambda _: None
        )  # libraries' own first costs
        meter = _Meter(place)
        if kind == "diffusers":
            with torch.device("meta"):
                transformer = diffusers.QwenImageTransformer2DModel.from_config(dict(model.transformer))
            for owner in transformer.modules():
                for name, value in owner._parameters.items():
                    if value is not None:
                        owner._parameters[name] = torch.nn.Parameter(value.to(dtype), requires_grad=False)
            transformer.pos_embed = _real_positions(model)
            randomise(transformer, place)
        else:
            rehearsal = rehearse(model, means, place)
            rehearsal.residency.sampling()
            transformer = rehearsal.transformer
        if compiled:
            transformer.compile_repeated_blocks(fullgraph=False)
        call = _step_call(model, work, transformer, place, dtype, stock=kind == "diffusers")
        call()
        seconds = [_timed(call, place) for _ in range(max(3, steps))]
    step = statistics.median(seconds)
    tflop = step_flops(model, work) / 1e12
    peak = peak_tflops or vendor_tflops() or matmul_tflops(place, dtype)
    return {
        "step": step,
        "tflop": tflop,
        "share": tflop / step / peak,
        "peak_tflops": peak,
        "measured": meter.peak(),
    }


def step_flops(model: Inventory, work: Work) -> float:
    """Of one guided step, two forwards: 24 d^2 per token and block, in its own stream, and 4 N^2 d of attention."""
    tokens = work.frames * math.ceil(work.height / model.cell) * math.ceil(work.width / model.cell)
    every = tokens + model.text_tokens(work.layers)
    return 2 * model.num_blocks * (24 * model.hidden**2 * every + 4 * every**2 * model.hidden) * work.batch


def vendor_tflops() -> float | None:
    """What the maker says of this GPU in dense bf16; None where it is not in the list."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((value for key, value in VENDOR_TFLOPS.items() if key in name), None)


def matmul_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """What a large matrix product reaches here: the peak of machines that nobody has listed."""
    side = 8192 if device.type == "cuda" else 1536
    one = torch.randn(side, side, device=device, dtype=dtype)
    one @ one
    return 2 * side**3 / min(_timed(lambda: one @ one, device) for _ in range(5)) / 1e12


class _Meter:
    """The most bytes held since it was made: the allocator's count on a GPU, the kernel's high-water mark on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")

    def peak(self) -> int:
        """Since it was made, or since it was last asked."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
            found = int(torch.cuda.max_memory_allocated()) - self._before
            torch.cuda.reset_peak_memory_stats()
            return found
        found = _status("VmHWM") - self._before
        Path("/proc/self/clear_refs").write_text("5")
        return found

    def limit(self, size: int) -> None:
        """From now on the process may take ``size`` bytes and no more; on the CPU alone."""
        if self._device.type != "cpu":
            return
        import resource

        most = _status("VmData") + size
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not tell {name}")


def _run(
    model: Inventory,
    work: Work,
    means: Means,
    device: torch.device,
    steps: int,
    guidance: float,
    done: Callable[[str], None],
) -> list[float]:
    """A decomposition's phases as the pipeline has them; seconds of every step."""
    parts = rehearse(model, means, device)
    if model.family is FLUX:
        return run_flux(parts, model, work, device, steps, done)
    layout = Layout.image_to_layers(*_grid(model, work), work.layers, None)
    parts.residency.text()
    words = RandomWords(parts.encoders[0], model.text_tokens(work.layers))
    branches = [words.encode([""]) for _ in range(2 if guidance > 1 else 1)]
    done("text")
    parts.residency.sampling()
    codec = QwenRGBACodec(parts.vae)
    side = codec.downscale
    rows, columns = (-(-size // side) for size in (work.height, work.width))
    with still_convolutions(parts.vae):
        codec.encode(torch.rand(1, 4, rows * side, columns * side, device=device))
    done("encode")
    seconds = _sample(parts, model, layout, branches, device, steps)
    done("denoise")
    with still_convolutions(parts.vae):
        codec.decode(torch.randn(1, codec.latent_channels, rows, columns, device=device))
    done("decode")
    return seconds


def _sample(
    parts: Rehearsal,
    model: Inventory,
    layout: Layout,
    branches: list[TextFeatures],
    device: torch.device,
    steps: int,
) -> list[float]:
    backbone = QwenBackbone(parts.transformer)
    channels = int(model.transformer["in_channels"])
    tokens = torch.randn(1, layout.num_image_tokens, channels, device=device)
    sigmas = torch.linspace(1, 0, steps + 1)[:-1]
    backbone.expect_times(sigmas.to(backbone.dtype))
    seconds = []
    for sigma in sigmas:
        at = sigma.to(device, backbone.dtype).expand(1)
        began = _now(device)
        velocities = [
            backbone.velocity(tokens.to(backbone.dtype), at, text, layout).float() for text in branches
        ]
        moved = tokens[:, layout.noisy_slice] - sum(velocities) / (steps * len(velocities))
        tokens = torch.cat([moved, tokens[:, layout.num_noisy_tokens :]], dim=1)
        seconds.append(_now(device) - began)
    return seconds


def _step_call(
    model: Inventory, work: Work, transformer: Any, device: torch.device, dtype: torch.dtype, *, stock: bool
) -> Callable[[], Any]:
    rows, columns = _grid(model, work)
    layout = Layout.image_to_layers(rows, columns, work.layers, None)
    config = model.transformer
    tokens = torch.randn(1, layout.num_image_tokens, int(config["in_channels"]), device=device, dtype=dtype)
    width, length = int(config["joint_attention_dim"]), model.text_tokens(work.layers)
    texts = [torch.randn(1, length, width, device=device, dtype=dtype) for _ in range(2)]
    sigma = torch.full((1,), 0.5, device=device, dtype=dtype)
    if stock:
        shapes = [[(1, rows, columns)] * work.frames]
        extra = torch.zeros(1, dtype=torch.long, device=device)

        def forward(text: torch.Tensor) -> torch.Tensor:
            return transformer(
                hidden_states=tokens,
                encoder_hidden_states=text,
                encoder_hidden_states_mask=None,
                timestep=sigma,
                img_shapes=shapes,
                additional_t_cond=extra,
                return_dict=False,
            )[0]

        return lambda: [forward(text) for text in texts]
    backbone = QwenBackbone(transformer)
    return lambda: [backbone.velocity(tokens, sigma, TextFeatures(embeds=text), layout) for text in texts]


def _real_positions(model: Inventory) -> Any:
    from diffusers.models.transformers.transformer_qwenimage import QwenEmbedLayer3DRope

    return QwenEmbedLayer3DRope(
        theta=10000, axes_dim=list(model.transformer["axes_dims_rope"]), scale_rope=True
    )


def _grid(model: Inventory, work: Work) -> tuple[int, int]:
    return -(-work.height // model.cell), -(-work.width // model.cell)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _timed(call: Callable[[], Any], device: torch.device) -> float:
    began = _now(device)
    call()
    return _now(device) - began


def _tiny(model: Inventory, work: Work) -> tuple[Inventory, Work]:
    small = MODELS["small"]
    if model.family is FLUX:
        return model_named("flux-small", 64, 1, work.steps)
    assert small is not None
    return _scaled(*small), Work.decompose(64, 64, 1, steps=work.steps)


def _scaled(width: int, heads: int, blocks: int) -> Inventory:
    """The published classes at another size, with a T5 encoder of about the published share of weights."""
    transformer = {
        **PUBLISHED_TRANSFORMER,
        "num_layers": blocks,
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "joint_attention_dim": width,
        "axes_dims_rope": scaled_axes(width // heads),
    }
    vae = {**PUBLISHED_VAE, "base_dim": 32}
    config = {
        "vocab_size": 8192,
        "d_model": width,
        "d_kv": 64,
        "d_ff": 4 * width,
        "num_layers": blocks,
        "num_heads": max(1, width // 64),
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    }
    return count_parts(
        f"random, {blocks} blocks of {width}",
        QWEN,
        transformer,
        vae,
        [random_encoder(T5_ENCODER, config)],
    )


__all__ = ["MODELS", "compare_steps", "measure_run", "model_named", "scale_of", "step_flops"]
