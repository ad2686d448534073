"""The modulation table: the same bits, a third less memory, and everything back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel

from acetate.errors import InputError
from acetate.models.backbones import QwenBackbone
from acetate.models.inventory import PUBLISHED_TRANSFORMER, count_parameters, expected_shapes
from acetate.models.layout import Layout
from acetate.models.modulation import (
    FolderWeights,
    HostWeights,
    ModulationTable,
    find_table,
    modulation_sites,
)
from acetate.models.text import TextFeatures

Make = Callable[..., Any]
LAYOUT = Layout.image_to_layers(3, 5, 2)
TIMES = torch.tensor([1.0, 0.7, 0.31])


def run(model: Any, sigma: float | list[float], batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randn(batch, LAYOUT.num_image_tokens, 64, generator=generator).to(model.dtype)
    text = TextFeatures(embeds=torch.randn(batch, 7, 16, generator=generator).to(model.dtype))
    sigmas = torch.tensor(sigma if isinstance(sigma, list) else [sigma] * batch, dtype=model.dtype)
    with torch.no_grad():
        return QwenBackbone(model).velocity(tokens, sigmas, text, LAYOUT)


def saved(model: Any, folder: Path) -> FolderWeights:
    model.save_pretrained(folder)
    return FolderWeights(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("zero_cond_t", [False, True])
@pytest.mark.parametrize("where", ["host", "folder"])
def test_equal_bit_for_bit(
    transformer: Make, tmp_path: Path, where: str, zero_cond_t: bool, dtype: torch.dtype
) -> None:
    model = transformer(zero_cond_t=zero_cond_t).to(dtype)
    times = TIMES.to(dtype)
    expected = [run(model, float(t)) for t in times]
    table = ModulationTable(model, HostWeights() if where == "host" else saved(model, tmp_path))
    QwenBackbone(model).expect_times(times)
    for t, right in zip(times, expected, strict=True):
        assert torch.equal(run(model, float(t)), right)
        assert table.entries == 3  # all at the first call
    assert torch.equal(run(model, 1.0), expected[0])


def test_unannounced_times_and_mixed_batches_are_exact_too(transformer: Make) -> None:
    model = transformer()
    alone, mixed = run(model, 0.55), run(model, [0.2, 0.9, 0.2], 3)
    table = ModulationTable(model, HostWeights())
    assert torch.equal(run(model, 0.55), alone) and table.entries == 1
    torch.testing.assert_close(run(model, [0.2, 0.9, 0.2], 3), mixed, rtol=0, atol=1e-6)
    assert table.entries == 3
    table.expect(TIMES)
    assert table.entries == 0 and table.nbytes == 0
    run(model, 0.7)
    table.expect(TIMES.clone())
    assert table.entries == 3  # the same schedule again: nothing is computed twice
    with pytest.raises(ValueError, match="not finite"):
        run(model, float("nan"))


def test_everything_is_back_afterwards(transformer: Make, tmp_path: Path) -> None:
    model = transformer()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modules = {name: type(module) for name, module in model.named_modules()}
    expected = run(model, 0.4)
    for weights in (HostWeights(), saved(model, tmp_path)):
        table = ModulationTable(model, weights)
        assert find_table(model) is table
        assert "time_text_embed.timestep_embedder.linear_1.weight" not in model.state_dict()
        with pytest.raises(InputError, match="already"):
            ModulationTable(model, HostWeights())
        with pytest.raises(InputError, match="disable_modulation_table"):
            model.save_pretrained(tmp_path / "broken")
        run(model, 0.4)
        table.remove()
        assert find_table(model) is None and "save_pretrained" not in model.__dict__
        assert {name: type(module) for name, module in model.named_modules()} == modules
        assert list(model.state_dict()) == list(before)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert torch.equal(run(model, 0.4), expected)


def test_casting_the_network_casts_the_table(transformer: Make) -> None:
    model = transformer()
    expected = run(transformer().to(torch.bfloat16), 0.5)
    ModulationTable(model, HostWeights())
    run(model, 0.5)
    assert torch.equal(run(model.to(torch.bfloat16), 0.5), expected)


def test_other_weights_in_the_folder_are_refused(transformer: Make, tmp_path: Path) -> None:
    model = transformer()
    weights = saved(model, tmp_path / "a")
    with torch.no_grad():
        model.transformer_blocks[1].img_mod[1].bias[3] += 1
    with pytest.raises(InputError, match=r"transformer_blocks\.1\.img_mod\.1\.bias"):
        ModulationTable(model, weights)
    smaller = saved(transformer(num_layers=1), tmp_path / "b")
    with pytest.raises(InputError, match=r"lack transformer_blocks\.1\.img_mod\.1\.weight"):
        ModulationTable(transformer(), smaller)


def test_what_cannot_have_a_table_is_refused(transformer: Make, vae: Make) -> None:
    with pytest.raises(InputError, match="no modulation table for a AutoencoderKLQwenImage"):
        modulation_sites(vae())
    model = transformer()
    model.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")
    with pytest.raises(InputError, match="before offloading"):
        ModulationTable(model, HostWeights())


def test_lora_on_the_modulation_is_in_the_table(transformer: Make) -> None:
    from peft import LoraConfig

    model = transformer()
    plain = run(model, 0.6)
    torch.manual_seed(0)
    model.add_adapter(LoraConfig(r=2, target_modules=["img_mod.1"], init_lora_weights=False))
    adapted = run(model, 0.6)
    assert not torch.equal(adapted, plain)
    ModulationTable(model, HostWeights())
    assert torch.equal(run(model, 0.6), adapted)


def share_without(shapes: dict[str, tuple[int, ...]], config: dict[str, Any], steps: int) -> float:
    """Share of the bytes that are gone, the table's own bytes for ``steps`` conditions counted against it."""
    with torch.device("meta"):
        model = QwenImageTransformer2DModel.from_config(config)
    sites = modulation_sites(model)
    total = count_parameters(shapes)
    gone = sum(
        count_parameters({key: shape})
        for key, shape in shapes.items()
        if any(key.startswith(f"{path}.") for path in sites.put_away)
    )
    rows = sum(shapes[f"{site.linear}.bias"][0] for site in sites.sites)
    return (gone - rows * steps) / total


def test_a_third_of_the_full_size_transformer_is_gone() -> None:
    shapes = expected_shapes(QwenImageTransformer2DModel, PUBLISHED_TRANSFORMER)
    assert share_without(shapes, PUBLISHED_TRANSFORMER, 50) == pytest.approx(0.3287, abs=5e-5)
