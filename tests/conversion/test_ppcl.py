"""PPCL's pruned models: students into their teacher, numbers both ways, projections, and stock diffusers runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel

from acetate.errors import InputError
from acetate.models.conversion import convert_checkpoint, describe_checkpoint, open_checkpoint
from acetate.models.conversion.ppcl import Pruning
from acetate.models.conversion.source import TensorSource

BLOCKS, DIM = 9, 32
DEPTH = Pruning(intervals=((1, 2), (4, 6)))
KEPT = [0, 1, 3, 4, 7, 8]
WIDTH = Pruning(intervals=DEPTH.intervals, text_ranges=((2, 3), (6, 8)), frozen=(1,), linear=(0, 8))
State = dict[str, torch.Tensor]


def parts(tools: Any) -> tuple[State, State]:
    """A teacher, and a depth run's file for its two intervals."""
    teacher = tools.qwen(num_layers=BLOCKS).state_dict()
    torch.manual_seed(9)
    student = QwenImageTransformer2DModel(**{**tools.qwen(num_layers=2).config}).state_dict()
    blocks = {
        key.removeprefix("transformer_blocks."): one
        for key, one in student.items()
        if key.startswith("transformer_blocks.")
    }
    return teacher, blocks


def width_run(student: State) -> State:
    """What a width run saves, its lists flattened: a projection for every block that is left and every range."""
    generator = torch.Generator().manual_seed(10)
    state = {f"transformer_distill_blocks.{key}": one for key, one in student.items()}
    for name, count in (
        ("attn_proj_list", 3),
        ("ffn_proj_list", 2 * len(KEPT)),
        ("ehs_proj_list", 2),
        ("block_proj_list", 4),
    ):
        for number in range(count):
            state[f"{name}.{number}.weight"] = torch.randn(DIM, DIM, generator=generator)
            state[f"{name}.{number}.bias"] = torch.randn(DIM, generator=generator)
    return state


def test_students_take_their_places(tmp_path: Path, tools: Any) -> None:
    teacher, student = parts(tools)
    for prefix in ("", "module.", "transformer_distill_blocks."):
        named = {prefix + key: one for key, one in student.items()}
        pruned = tools.converted(teacher, "pruned", tmp_path, beside=(TensorSource(named),), pruning=DEPTH)
        model = QwenImageTransformer2DModel.from_config({**tools.qwen().config, "num_layers": 6})
        model.load_state_dict(pruned, strict=True)  # stock diffusers
    for place, number in enumerate(KEPT):
        interval = {1: 0, 4: 1}.get(number)
        start = f"{interval}." if interval is not None else f"transformer_blocks.{number}."
        source = student if interval is not None else teacher
        for key in (one for one in source if one.startswith(start)):
            assert torch.equal(pruned[f"transformer_blocks.{place}.{key.removeprefix(start)}"], source[key])
    taken = tools.converted(pruned, "student", tmp_path / "taken", pruning=DEPTH)
    tools.assert_equal(taken, student)


@torch.no_grad()
def test_the_merged_model_computes_what_teacher_and_students_compute(tmp_path: Path, tools: Any) -> None:
    teacher, student = parts(tools)
    state = tools.converted(teacher, "pruned", tmp_path, beside=(TensorSource(student),), pruning=DEPTH)
    merged = QwenImageTransformer2DModel.from_config({**tools.qwen().config, "num_layers": 6}).eval()
    merged.load_state_dict(state, strict=True)
    by_hand = tools.qwen(num_layers=BLOCKS)
    students = tools.qwen(num_layers=2)
    students.load_state_dict(
        {**students.state_dict(), **{f"transformer_blocks.{key}": one for key, one in student.items()}}
    )
    blocks = by_hand.transformer_blocks
    blocks[1], blocks[4] = students.transformer_blocks[0], students.transformer_blocks[1]
    by_hand.transformer_blocks = torch.nn.ModuleList(blocks[number] for number in KEPT)
    generator = torch.Generator().manual_seed(6)
    inputs = {
        "hidden_states": torch.randn(1, 32, 16, generator=generator),
        "encoder_hidden_states": torch.randn(1, 5, 24, generator=generator),
        "encoder_hidden_states_mask": torch.ones(1, 5, dtype=torch.long),
        "timestep": torch.tensor([0.5]),
        "img_shapes": [[(1, 4, 4), (1, 4, 4)]],
        "additional_t_cond": torch.tensor([0]),
    }
    assert torch.equal(merged(**inputs).sample, by_hand(**inputs).sample)


def test_numbers_both_ways(tmp_path: Path, tools: Any) -> None:
    teacher, student = parts(tools)
    pruned = tools.converted(teacher, "pruned", tmp_path, beside=(TensorSource(student),), pruning=DEPTH)
    numbered = tools.converted(pruned, "numbered", tmp_path / "n", pruning=DEPTH)
    assert {int(key.split(".")[1]) for key in numbered if key.startswith("transformer_blocks.")} == set(KEPT)
    tools.assert_equal(tools.converted(numbered, "pruned", tmp_path / "p", pruning=DEPTH), pruned)
    comfy = tools.converted(numbered, "comfy", tmp_path / "c")
    tools.assert_equal(tools.converted(comfy, "diffusers", tmp_path / "d"), numbered)
    removed = Pruning(intervals=DEPTH.intervals, removed=(0, 5))
    fewer = tools.converted(
        teacher, "pruned", tmp_path / "f", beside=(TensorSource(student),), pruning=removed
    )
    again = tools.converted(fewer, "numbered", tmp_path / "a", pruning=removed)
    assert {int(key.split(".")[1]) for key in again if key.startswith("transformer_blocks.")} == {1, 3, 4, 7}


def test_width_pruning_puts_projections_in_place(tmp_path: Path, tools: Any) -> None:
    teacher, student = parts(tools)
    run = width_run(student)
    pruned = tools.converted(teacher, "pruned", tmp_path, beside=(TensorSource(run),), pruning=WIDTH)

    def block(place: int) -> State:
        start = f"transformer_blocks.{place}."
        return {key.removeprefix(start): one for key, one in pruned.items() if key.startswith(start)}

    frozen, last, first, plain = block(4), block(5), block(0), block(2)
    assert not any(key.startswith(("txt_mod", "txt_mlp", "ehs_proj")) for key in frozen)
    # Blocks 3, 7 and 8 lie inside of the two ranges and are left: theirs are the projections 0, 1 and 2.
    assert torch.equal(frozen["txt_proj.weight"], run["attn_proj_list.1.weight"])
    assert torch.equal(last["txt_proj.bias"], run["attn_proj_list.2.bias"])
    assert torch.equal(last["ehs_proj.weight"], run["ehs_proj_list.1.weight"])
    assert torch.equal(last["img_ffn_proj.weight"], run["ffn_proj_list.11.weight"])
    assert torch.equal(first["txt_ffn_proj.weight"], run["ffn_proj_list.0.weight"])
    assert torch.equal(first["img_ffn_proj.bias"], run["ffn_proj_list.1.bias"])
    mod = teacher["transformer_blocks.0.txt_mod.1.weight"]
    assert torch.equal(first["txt_mod.1.weight"], mod[: 3 * DIM]) and not any("mlp" in key for key in first)
    assert torch.equal(plain["txt_mlp.net.2.weight"], teacher["transformer_blocks.3.txt_mlp.net.2.weight"])
    # The pruned layout is known by itself, and travels like any other.
    comfy = tools.converted(pruned, "comfy", tmp_path / "comfy")
    tools.assert_equal(tools.converted(comfy, "diffusers", tmp_path / "back"), pruned)
    numbered = tools.converted(pruned, "numbered", tmp_path / "numbered", pruning=WIDTH)
    tools.assert_equal(tools.converted(numbered, "pruned", tmp_path / "again", pruning=WIDTH), pruned)


def test_the_folder_tells_which_blocks_were_changed(tmp_path: Path, tools: Any) -> None:
    import json

    _, student = parts(tools)
    torch.save({"attn_proj_list": {}, **nested(width_run(student))}, tmp_path / "diffusion_pytorch_model.bin")
    tools.qwen(num_layers=BLOCKS).save_pretrained(tmp_path / "teacher", max_shard_size="60KB")
    beside = open_checkpoint(tmp_path / "diffusion_pytorch_model.bin")
    assert describe_checkpoint(beside).family == "ppcl"
    source = open_checkpoint(tmp_path / "teacher")
    plan = convert_checkpoint(source, "pruned", beside=(beside,), pruning=WIDTH)
    plan.write(tmp_path / "pruned", shard_bytes=50_000)
    config = json.loads((tmp_path / "pruned" / "config.json").read_text())
    assert config["num_layers"] == 6 and config["_class_name"] == "QwenImageTransformer2DModel"
    assert config["single_stream_index"] == [4, 5]
    assert config["ffn_proj_index"] == [0, 5] and config["ehs_proj_index"] == [5]
    again = open_checkpoint(tmp_path / "pruned")
    assert len(list((tmp_path / "pruned").glob("*.safetensors"))) > 2
    assert describe_checkpoint(again).tensors == len(plan.targets)


def nested(state: State) -> dict[str, State]:
    """As the training script saves it: one dictionary for each list."""
    found: dict[str, State] = {}
    for key, value in state.items():
        name, _, rest = key.partition(".")
        found.setdefault(name, {})[rest] = value
    return found


def test_depth_pruned_folders_load_in_stock_diffusers(tmp_path: Path, tools: Any) -> None:
    _, student = parts(tools)
    tools.qwen(num_layers=BLOCKS).save_pretrained(tmp_path / "teacher")
    torch.save(student, tmp_path / "students.bin")
    plan = convert_checkpoint(
        open_checkpoint(tmp_path / "teacher"),
        "pruned",
        beside=(open_checkpoint(tmp_path / "students.bin"),),
        pruning=DEPTH,
    )
    plan.write(tmp_path / "pruned")
    model = QwenImageTransformer2DModel.from_pretrained(str(tmp_path / "pruned"), local_files_only=True)
    assert len(model.transformer_blocks) == 6
    assert torch.equal(model.transformer_blocks[1].attn.to_q.weight, student["0.attn.to_q.weight"])


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        (Pruning(), "--intervals is missing"),
        (Pruning(intervals=((1, 2),)), "2 students, but --intervals has 1"),
        (Pruning(intervals=((1, 2), (4, 60))), "up to block 60, but the model has 9"),
        (Pruning(intervals=DEPTH.intervals, linear=(2,)), "--linear names block 2"),
        (Pruning(intervals=DEPTH.intervals, linear=(3,)), "lacks ffn_proj_list.4.weight"),
    ],
)
def test_what_does_not_fit_is_said(pruning: Pruning, words: str, tools: Any) -> None:
    teacher, student = parts(tools)
    with pytest.raises(InputError, match=words):
        convert_checkpoint(TensorSource(teacher), "pruned", beside=(TensorSource(student),), pruning=pruning)


def test_ranges_are_checked() -> None:
    for ranges in (((4, 6), (1, 2)), ((1, 3), (3, 4)), ((5, 2),)):
        with pytest.raises(InputError, match="--intervals must be pairs"):
            Pruning(intervals=ranges)
    with pytest.raises(InputError, match="--frozen counts the 1"):
        Pruning(text_ranges=((1, 3),), frozen=(1,))


def test_other_blocks_and_strange_keys_are_refused(tools: Any) -> None:
    teacher, student = parts(tools)
    with pytest.raises(InputError, match="do not leave"):
        convert_checkpoint(TensorSource(teacher), "pruned", pruning=DEPTH)
    with pytest.raises(InputError, match=r"odd\.weight, which is no student"):
        strange = TensorSource({**student, "odd.weight": torch.zeros(1)})
        convert_checkpoint(TensorSource(teacher), "pruned", beside=(strange,), pruning=DEPTH)
    with pytest.raises(InputError, match="students alone"):
        convert_checkpoint(TensorSource(student), "pruned", pruning=DEPTH)
