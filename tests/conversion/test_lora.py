"""LoRA files between their spellings: exact both ways, beside diffusers' converters, and the same change to the model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.loaders.lora_conversion_utils import (
    _convert_kohya_flux_lora_to_diffusers,
    _convert_non_diffusers_qwen_lora_to_diffusers,
)
from safetensors.torch import save_file

from acetate.errors import InputError
from acetate.models.conversion import convert_checkpoint, describe_checkpoint, open_checkpoint
from acetate.models.conversion.lora_layouts import LORA_LAYOUTS, modules_of
from acetate.models.conversion.modules import Split
from acetate.models.conversion.source import TensorSource

WIDTH, RANK = 32, 4
State = dict[str, torch.Tensor]


def rows_of(split: Split) -> int:
    return {Split.THIRDS: 3 * WIDTH, Split.LINEAR1: 7 * WIDTH}.get(split, 2 * WIDTH)


def kohya_flux(alpha: float | None = 8.0, rank: int = RANK, dtype: torch.dtype = torch.float32) -> State:
    """Every linear layer of two double and two single blocks, as kohya writes them."""
    generator = torch.Generator().manual_seed(rank)
    state: State = {}
    for module in modules_of("flux", ["double_blocks.1"]):
        name = f"lora_unet_{module.original.replace('.', '_')}"
        state[f"{name}.lora_down.weight"] = torch.randn(rank, WIDTH, generator=generator).to(dtype)
        up = torch.randn(rows_of(module.split), rank, generator=generator)
        state[f"{name}.lora_up.weight"] = up.to(dtype)
        if alpha is not None:
            state[f"{name}.alpha"] = torch.tensor(alpha, dtype=dtype)
    return state


def diffusers_flux(alpha: float | None, *, zero: bool = False) -> State:
    """The same layers as peft trains them: every part with halves of its own."""
    generator = torch.Generator().manual_seed(11)
    state: State = {}
    for module in modules_of("flux", ["double_blocks.1"]):
        for number, name in enumerate(module.diffusers):
            rows = 4 * WIDTH if number == 3 else rows_of(Split.SAME) if len(module.diffusers) == 1 else WIDTH
            state[f"transformer.{name}.lora_A.weight"] = torch.randn(RANK, WIDTH, generator=generator)
            up = torch.zeros(rows, RANK) if zero else torch.randn(rows, RANK, generator=generator)
            state[f"transformer.{name}.lora_B.weight"] = up
            if alpha is not None:
                state[f"transformer.{name}.alpha"] = torch.tensor(alpha)
    return state


def deltas(state: State, layout: str, family: str = "flux") -> dict[str, torch.Tensor]:
    """What a LoRA adds to every layer, by diffusers' names, in float64; computed from the definition alone."""
    from acetate.models.conversion.lora_layouts import find_lora

    found = find_lora(state, Path("memory"), family)
    assert found.layout.name == layout
    result = {}
    for module in modules_of(family, found.adapters):
        names = (module.original,) if found.layout.names == "original" else module.diffusers
        for name in names:
            if name not in found.adapters:
                continue
            adapter = found.adapters[name]
            down, up = state[adapter.down].double(), state[adapter.up].double()
            scale = 1.0 if adapter.alpha is None else state[adapter.alpha].item() / len(down)
            change = up @ down * scale
            if found.layout.names == "diffusers":
                result[name] = change
            elif module.split is Split.SWAPPED:
                result[module.diffusers[0]] = torch.cat(change.chunk(2)[::-1])
            elif module.split is Split.SAME:
                result[module.diffusers[0]] = change
            else:
                sizes = [WIDTH] * 3 + ([4 * WIDTH] if module.split is Split.LINEAR1 else [])
                result |= dict(zip(module.diffusers, change.split(sizes), strict=True))
    return result


STARTS = {
    "kohya": lambda: kohya_flux(),
    "kohya, no alpha": lambda: kohya_flux(alpha=None),
    "kohya, bf16": lambda: kohya_flux(dtype=torch.bfloat16),
    "kohya, rank 12, all zero": lambda: {
        key: torch.zeros_like(value) if "lora_up" in key else value
        for key, value in kohya_flux(rank=12).items()
    },
}


@pytest.mark.parametrize("through", [name for name in LORA_LAYOUTS if name not in ("kohya", "peft")])
@pytest.mark.parametrize("start", STARTS)
def test_from_kohya_and_back(start: str, through: str, tmp_path: Path, tools: Any) -> None:
    state = STARTS[start]()
    there = tools.converted(state, through, tmp_path)
    for name, change in deltas(there, through).items():
        torch.testing.assert_close(change, deltas(state, "kohya")[name], rtol=1e-12, atol=1e-12)
    tools.assert_equal(tools.converted(there, "kohya", tmp_path / "back"), state)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("alpha", [None, 8.0, 3.0])
@pytest.mark.parametrize("through", [name for name in LORA_LAYOUTS if name not in ("diffusers", "peft")])
def test_from_diffusers_and_back(
    through: str, alpha: float | None, zero: bool, tmp_path: Path, tools: Any
) -> None:
    state = diffusers_flux(alpha, zero=zero)
    there = tools.converted(state, through, tmp_path)
    for name, change in deltas(there, through).items():
        torch.testing.assert_close(change, deltas(state, "diffusers")[name], rtol=1e-12, atol=1e-12)
    tools.assert_equal(tools.converted(there, "diffusers", tmp_path / "back"), state)


def test_peft_takes_what_needs_no_alpha(tmp_path: Path, tools: Any) -> None:
    state = diffusers_flux(None)
    there = tools.converted(state, "peft", tmp_path)
    assert all(key.startswith("base_model.model.") for key in there)
    tools.assert_equal(tools.converted(there, "diffusers", tmp_path / "back"), state)
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        tools.converted(diffusers_flux(8.0), "peft", tmp_path)


def test_blocks_on_the_diagonal_come_apart_as_diffusers_takes_them_apart(tmp_path: Path, tools: Any) -> None:
    fused = tools.converted(diffusers_flux(None), "kohya", tmp_path)
    assert fused["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"].shape == (3 * RANK, WIDTH)
    ours = tools.converted(fused, "diffusers", tmp_path / "back")
    ours = {key: value for key, value in ours.items() if ".transformer_blocks." in key}
    theirs = _convert_kohya_flux_lora_to_diffusers(
        {key: value.clone() for key, value in fused.items() if "double_blocks" in key}
    )
    tools.assert_equal(ours, theirs)


def real_single_block(alpha: float) -> State:
    """diffusers' converter knows one width of single blocks, the real one."""
    generator = torch.Generator().manual_seed(3)
    name = "lora_unet_single_blocks_7_linear1"
    return {
        f"{name}.lora_down.weight": torch.randn(3, 3072, generator=generator),
        f"{name}.lora_up.weight": torch.randn(7 * 3072, 3, generator=generator),
        f"{name}.alpha": torch.tensor(alpha),
    }


@pytest.mark.parametrize("through", ["kohya", "comfy"])
def test_flux_as_diffusers_converts_it(through: str, tmp_path: Path, tools: Any) -> None:
    """With alpha equal to the rank, to the bit: all of the blocks."""
    kohya = {key: value for key, value in kohya_flux(alpha=float(RANK)).items() if "double_blocks" in key}
    kohya |= real_single_block(3.0)
    start = kohya if through == "kohya" else tools.converted(kohya, through, tmp_path / "start")
    ours = tools.converted(start, "diffusers", tmp_path)
    theirs = _convert_kohya_flux_lora_to_diffusers({key: value.clone() for key, value in start.items()})
    tools.assert_equal({key: value for key, value in ours.items() if not key.endswith(".alpha")}, theirs)


def test_outside_of_the_blocks_as_diffusers_converts_it(tmp_path: Path, tools: Any) -> None:
    """Embedders and the last layer, whose halves are swapped; its converter leaves out the prefix there."""
    kohya = {key: one for key, one in kohya_flux(alpha=float(RANK)).items() if "_blocks_" not in key}
    ours = tools.converted(kohya, "diffusers", tmp_path)
    theirs = _convert_kohya_flux_lora_to_diffusers({key: value.clone() for key, value in kohya.items()})
    assert "norm_out.linear.lora_B.weight" in theirs and len(theirs) == 20
    expected = {f"transformer.{key}": value for key, value in theirs.items()}
    tools.assert_equal({key: one for key, one in ours.items() if not key.endswith(".alpha")}, expected)
    assert not torch.equal(
        ours["transformer.norm_out.linear.lora_B.weight"],
        kohya["lora_unet_final_layer_adaLN_modulation_1.lora_up.weight"],
    )


def test_alpha_counts_as_in_diffusers_own_conversion(tmp_path: Path, tools: Any) -> None:
    kohya = {key: value for key, value in kohya_flux(alpha=6.0).items() if "double_blocks" in key}
    ours = deltas(tools.converted(kohya, "diffusers", tmp_path), "diffusers")
    theirs = _convert_kohya_flux_lora_to_diffusers({key: value.clone() for key, value in kohya.items()})
    for name, change in deltas(theirs, "diffusers").items():
        torch.testing.assert_close(change, ours[name], rtol=1e-6, atol=1e-6)


def test_diffusers_loads_what_we_write_with_its_alphas(tmp_path: Path, tools: Any) -> None:
    """Our file through `load_lora_into_transformer` against the change added to the weights by hand."""
    kohya = {
        key: value
        for key, value in kohya_flux(alpha=2.0).items()
        if any(part in key for part in ("qkv", "_linear1", "attn_proj"))
    }
    for key, value in kohya.items():
        if "attn_proj" in key and "up" in key:
            kohya[key] = value[:WIDTH].clone()
    tools.converted(kohya, "diffusers", tmp_path)
    model = tools.flux(num_single_layers=2)
    by_hand = copy.deepcopy(model)
    changes = deltas(tools.converted(kohya, "diffusers", tmp_path), "diffusers")
    parameters = dict(by_hand.named_parameters())
    with torch.no_grad():
        for name, change in changes.items():
            parameters[f"{name}.weight"] += change.float()
    state, alphas = FluxLoraLoaderMixin.lora_state_dict(
        str(tmp_path / "out.safetensors"), return_alphas=True, local_files_only=True
    )
    FluxLoraLoaderMixin.load_lora_into_transformer(state, alphas, model)
    with torch.no_grad():
        ours, expected = model(**tools.flux_inputs()).sample, by_hand(**tools.flux_inputs()).sample
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def qwen_lora(prefix: str, flat: bool, tails: tuple[str, str], alpha: float | None) -> State:
    generator = torch.Generator().manual_seed(4)
    state: State = {}
    for module in modules_of("qwen", ["transformer_blocks.2"]):
        name = module.original.replace(".", "_") if flat else module.original
        state[f"{prefix}{name}.{tails[0]}"] = torch.randn(RANK, WIDTH, generator=generator)
        state[f"{prefix}{name}.{tails[1]}"] = torch.randn(WIDTH, RANK, generator=generator)
        if alpha is not None:
            state[f"{prefix}{name}.alpha"] = torch.tensor(alpha)
    return state


@pytest.mark.parametrize("start", LORA_LAYOUTS)
def test_qwen_between_all_spellings(start: str, tmp_path: Path, tools: Any) -> None:
    layout = LORA_LAYOUTS[start]
    state = qwen_lora(layout.prefix, layout.flat, layout.tails, None if start == "peft" else 2.0)
    for through in LORA_LAYOUTS:
        if through != "peft" or start == "peft":
            there = tools.converted(state, through, tmp_path / through)
            tools.assert_equal(tools.converted(there, start, tmp_path / "back"), state)


def test_qwen_as_diffusers_converts_it(tmp_path: Path, tools: Any) -> None:
    for start in ("kohya", "comfy", "comfy-peft", "plain"):
        layout = LORA_LAYOUTS[start]
        state = qwen_lora(layout.prefix, layout.flat, layout.tails, float(RANK))
        ours = tools.converted(state, "diffusers", tmp_path / start)
        theirs = _convert_non_diffusers_qwen_lora_to_diffusers(
            {key: one.clone() for key, one in state.items()}
        )
        tools.assert_equal({key: one for key, one in ours.items() if not key.endswith(".alpha")}, theirs)


def test_alphas_of_metadata_and_of_peft_settings_are_not_lost(tmp_path: Path, tools: Any) -> None:
    """diffusers keeps alpha in the metadata, peft in adapter_config.json, kohya beside the halves."""
    state = diffusers_flux(None)
    settings = {
        "r": RANK,
        "lora_alpha": 16,
        "alpha_pattern": {"transformer_blocks.0.attn.to_out.0": 2},
        "use_rslora": False,
    }
    metadata = {
        "lora_adapter_metadata": json.dumps({f"transformer.{key}": one for key, one in settings.items()})
    }
    kohya = tools.converted(state, "kohya", tmp_path, metadata)
    assert kohya["lora_unet_double_blocks_0_img_attn_proj.alpha"].item() == 2
    assert kohya["lora_unet_double_blocks_1_img_attn_proj.alpha"].item() == 16
    assert kohya["lora_unet_double_blocks_0_img_attn_qkv.alpha"].item() == 48  # three times the rank
    back = tools.converted(kohya, "diffusers", tmp_path / "back", metadata)
    tools.assert_equal(back, state)

    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps(settings))
    named = {key.replace("transformer.", "base_model.model.", 1): one for key, one in state.items()}
    save_file(named, tmp_path / "peft" / "adapter_model.safetensors")
    plan = convert_checkpoint(open_checkpoint(tmp_path / "peft"), "diffusers")
    assert json.loads(plan.metadata["lora_adapter_metadata"])["transformer.lora_alpha"] == 16
    tools.assert_equal(tools.converted(named, "kohya", tmp_path / "peft"), kohya)


def drop(name: str) -> Any:
    return lambda state: {key: one for key, one in state.items() if name not in key}


@pytest.mark.parametrize(
    ("change", "to", "words"),
    [
        (drop("img_attn_proj.lora_up"), "diffusers", ["without", "img_attn.proj's lora_up.weight"]),
        (
            lambda s: {**s, "x.lora_A.weight": torch.zeros(1)},
            "diffusers",
            ["mixes two spellings", "x.lora_A.weight"],
        ),
        (
            lambda s: {**s, "lora_te1_a.lora_up.weight": torch.zeros(1)},
            "diffusers",
            ["lora_te1_a", "--part transformer"],
        ),
        (
            lambda s: {**s, "lora_unet_x.dora_scale": torch.zeros(1)},
            "diffusers",
            ["lora_unet_x.dora_scale", "DoRA"],
        ),
        (
            lambda s: {**s, "lora_unet_y.lora_up.weight": torch.zeros(1)},
            "diffusers",
            ["lora_unet_y", "no linear layer"],
        ),
        (lambda s: {**s, "a.hada_w1_a": torch.zeros(1)}, "diffusers", ["a.hada_w1_a", "LoHa"]),
        (lambda s: s, "bfl", ["LoRA of flux", "can become", "not 'bfl'"]),
    ],
)
def test_what_cannot_be_is_said(change: Any, to: str, words: list[str]) -> None:
    source = TensorSource(change(kohya_flux()), Path("style.safetensors"))
    with pytest.raises(InputError) as caught:
        convert_checkpoint(source, to)
    message = str(caught.value)
    assert all(word in message for word in ["style.safetensors", *words]), message


def test_parts_that_have_no_place_together_are_refused() -> None:
    missing = drop("to_k")(diffusers_flux(None))
    with pytest.raises(InputError, match=r"not .*to_k"):
        convert_checkpoint(TensorSource(missing), "kohya")
    state = diffusers_flux(None)
    for half, shape in (("A", (2, WIDTH)), ("B", (WIDTH, 2))):
        state[f"transformer.transformer_blocks.0.attn.to_q.lora_{half}.weight"] = torch.ones(shape)
    with pytest.raises(InputError, match="different ranks or alphas"):
        convert_checkpoint(TensorSource(state), "kohya")


def test_a_lora_that_does_not_tell_its_model_asks(tmp_path: Path, tools: Any) -> None:
    state = {
        f"transformer.transformer_blocks.0.attn.to_{part}.lora_{half}.weight": torch.randn(shape)
        for part in "qkv"
        for half, shape in (("A", (RANK, WIDTH)), ("B", (WIDTH, RANK)))
    }
    with pytest.raises(InputError, match="--family flux or --family qwen"):
        describe_checkpoint(TensorSource(state))
    there = tools.converted(state, "kohya", tmp_path, family="flux")
    assert sorted(there) == [
        f"lora_unet_double_blocks_0_img_attn_qkv.lora_{half}.weight" for half in ("down", "up")
    ]
    tools.assert_equal(tools.converted(there, "diffusers", tmp_path / "back"), state)
