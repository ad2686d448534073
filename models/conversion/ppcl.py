"""PPCL's pruned Qwen-Image (arXiv 2511.16156): students into the teacher, and block numbers between the two countings.

A student replaces the teacher's blocks u..v of an interval by one, which stands at u. ``pruned`` counts the blocks that are
left from 0 without gaps (stock QwenImageTransformer2DModel with fewer layers where only depth was pruned), ``numbered``
keeps the teacher's numbers, ``student`` holds the replaced blocks alone, by interval. In width, text streams inside chosen
ranges become projections and MLPs of chosen blocks linear, with half of the modulation.

Differs from the published merge (pipeline_save.py), which gives the end of every text range the first range's projection:
here each range has the one that was fitted for it. Knows keys; prunes nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from .modules import shown
from .plan import Target, rows_of, whole
from .source import Source
from .transformers import QWEN_NORMS, qwen_block, qwen_blocks
from .views import Joined

Ranges = tuple[tuple[int, int], ...]
BLOCK = re.compile(r"transformer_blocks\.(\d+)\.(.+)")
STUDENT = re.compile(r"(?:transformer_distill_blocks\.)?(?:module\.)?(\d+)\.((?:attn|img_|txt_).+)")
WIDTH_LISTS = ("attn_proj_list.", "ffn_proj_list.", "ehs_proj_list.", "block_proj_list.")
KEPT_SHARE = 2  # a block with linear MLPs keeps the first half of its modulation


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """``intervals`` of blocks that one student replaces; ``removed``: places, after that, of blocks that went without one.

    ``text_ranges``: where the text stream was fitted as frozen, and ``frozen``: which of those ranges are used;
    ``linear``: blocks (the teacher's numbers) whose MLPs are linear. Raises InputError where ranges overlap or run back.
    """

    intervals: Ranges = ()
    removed: tuple[int, ...] = ()
    text_ranges: Ranges = ()
    frozen: tuple[int, ...] = ()
    linear: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, ranges in (("--intervals", self.intervals), ("--text-ranges", self.text_ranges)):
            last = -1
            for pair in ranges:
                if not (last < pair[0] <= pair[1]):
                    raise InputError(
                        f"{name} must be pairs [first, last] in order that do not overlap, not {list(map(list, ranges))}"
                    )
                last = pair[1]
        if any(not 0 <= place < len(self.text_ranges) for place in self.frozen):
            raise InputError(
                f"--frozen counts the {len(self.text_ranges)} --text-ranges from 0, not {list(self.frozen)}"
            )

    def kept(self, teacher: int) -> list[int]:
        """The teacher's numbers of the blocks that are left, in order; ``teacher``: how many it has."""
        if self.intervals and self.intervals[-1][1] >= teacher:
            raise InputError(
                f"--intervals go up to block {self.intervals[-1][1]}, but the model has {teacher} (from 0)"
            )
        gone = {i for first, last in self.intervals for i in range(first + 1, last + 1)}
        left = [i for i in range(teacher) if i not in gone]
        return [i for place, i in enumerate(left) if place not in self.removed]

    @property
    def gone(self) -> int:
        """How many blocks fewer the pruned model has."""
        return sum(last - first for first, last in self.intervals) + len(self.removed)


def renumber(source: Source, pruning: Pruning, *, back: bool) -> list[Target]:
    """``pruned`` to ``numbered``, or ``back``; tensors that are no block's are kept. Raises InputError where the blocks
    are not those that the intervals leave."""
    blocks = qwen_blocks(source.tensors)
    kept = pruning.kept(len(blocks) + pruning.gone)
    wanted = kept if back else list(range(len(kept)))
    if blocks != wanted:
        odd = sorted(set(blocks) ^ set(wanted))
        raise InputError(
            f"{source.where} has blocks that these --intervals do not leave, or lacks some of them: "
            f"{shown([str(number) for number in odd])}; give the intervals that it was pruned with."
        )
    places = dict(zip(kept, range(len(kept)), strict=True)) if back else dict(enumerate(kept))
    return [whole(source, key, _renamed(key, places)) for key in source.tensors]


def _renamed(key: str, places: Mapping[int, int]) -> str:
    match = BLOCK.match(key)
    return key if match is None else f"transformer_blocks.{places[int(match.group(1))]}.{match.group(2)}"


def take_students(source: Source, pruning: Pruning) -> list[Target]:
    """The students of a depth-pruned model as PPCL's training writes them: ``{interval}.attn...``"""
    _need_intervals(pruning)
    blocks = qwen_blocks(source.tensors)
    kept = pruning.kept(len(blocks) + pruning.gone)
    if blocks != list(range(len(kept))):
        raise InputError(
            f"{source.where} has not the {len(kept)} blocks that these --intervals leave, from 0 on."
        )
    found = []
    for number, (first, _) in enumerate(pruning.intervals):
        if first in kept:
            start = f"transformer_blocks.{kept.index(first)}."
            found += [
                whole(source, key, f"{number}.{key.removeprefix(start)}")
                for key in source.tensors
                if key.startswith(start)
            ]
    return found


def merge(teacher: Source, student: Source, pruning: Pruning) -> tuple[list[Target], Source]:
    """The pruned model: the teacher with every interval's student in its place, and with what was fitted in width.

    ``student``: a depth run's file, or a width run's with its lists of projections. Raises InputError where the file has
    more or fewer students or projections than the intervals and ranges ask for.
    """
    _need_intervals(pruning)
    both = Joined({"": teacher, "student.": student})
    students = {
        (int(m.group(1)), m.group(2)): key for key in student.tensors if (m := STUDENT.fullmatch(key))
    }
    lists = [key for key in student.tensors if key.startswith(WIDTH_LISTS)]
    unknown = [key for key in student.tensors if key not in set(students.values()) and key not in lists]
    if unknown:
        raise InputError(
            f"{student.where} holds {shown(unknown)}, which is no student and no projection of PPCL's."
        )
    numbers = sorted({number for number, _ in students})
    if numbers != list(range(len(pruning.intervals))):
        raise InputError(
            f"{student.where} holds {len(numbers)} students, but --intervals has {len(pruning.intervals)}."
        )
    blocks = qwen_blocks(teacher.tensors)
    left = Pruning(intervals=pruning.intervals).kept(len(blocks))
    starts = {first: number for number, (first, _) in enumerate(pruning.intervals)}
    projections = _projections(pruning, left, both)
    targets = [whole(both, key, key) for key in teacher.tensors if BLOCK.match(key) is None]
    place = 0
    for order, block in enumerate(left):
        if order in pruning.removed:
            continue
        for name in _wanted(block, pruning):
            new = f"transformer_blocks.{place}.{name}"
            if name in projections.get(block, {}):
                targets.append(whole(both, projections[block][name], new))
                continue
            if block in starts:
                key = f"student.{students.get((starts[block], name), f'{starts[block]}.{name}')}"
            else:
                key = f"transformer_blocks.{block}.{name}"
            if key not in both.tensors:
                raise InputError(
                    f"{(student if block in starts else teacher).where} lacks {key.removeprefix('student.')}."
                )
            if block in pruning.linear and name.split(".")[0] in ("img_mod", "txt_mod"):
                rows = both.tensors[key].shape[0]
                targets.append(rows_of(both, key, new, 0, rows // KEPT_SHARE))
            else:
                targets.append(whole(both, key, new))
        place += 1
    return targets, both


def _wanted(block: int, pruning: Pruning) -> list[str]:
    frozen = any(
        first < block <= last for k, (first, last) in enumerate(pruning.text_ranges) if k in pruning.frozen
    )
    resync = frozen and any(block == last for _, last in pruning.text_ranges)
    start = f"transformer_blocks.{block}."
    linears = qwen_block(block, frozen_text=frozen, linear=block in pruning.linear, resync=resync)
    names = [f"{name.removeprefix(start)}.{tail}" for name in linears for tail in ("weight", "bias")]
    return names + [f"attn.{norm}.weight" for norm in QWEN_NORMS]


def _projections(pruning: Pruning, left: list[int], both: Source) -> dict[int, dict[str, str]]:
    """By block and name, the key of the projection that takes a module's place."""
    found: dict[int, dict[str, str]] = {}
    inside = [block for block in left if any(first < block <= last for first, last in pruning.text_ranges)]

    def take(block: int, name: str, key: str) -> None:
        for tail in ("weight", "bias"):
            if f"student.{key}.{tail}" not in both.tensors:
                raise InputError(f"the width run's file lacks {key}.{tail}, which block {block} needs; give the ranges that "
                                 "it was trained with.")  # fmt: skip
            found.setdefault(block, {})[f"{name}.{tail}"] = f"student.{key}.{tail}"

    for number, (first, last) in enumerate(pruning.text_ranges):
        if number in pruning.frozen:
            for block in (one for one in inside if first < one <= last):
                take(block, "txt_proj", f"attn_proj_list.{inside.index(block)}")
            if last in left:
                take(last, "ehs_proj", f"ehs_proj_list.{number}")
    for block in pruning.linear:
        if block not in left:
            raise InputError(f"--linear names block {block}, which the --intervals take away")
        order = left.index(block)
        take(block, "txt_ffn_proj", f"ffn_proj_list.{2 * order}")
        take(block, "img_ffn_proj", f"ffn_proj_list.{2 * order + 1}")
    return found


def pruned_config(config: Mapping[str, Any] | None, keys: Any) -> dict[str, Any] | None:
    """A Qwen config for these keys: number of layers, and which blocks PPCL changed in width, where any are."""
    if config is None:
        return None
    blocks = qwen_blocks(keys)
    changed: dict[str, Any] = {**config, "num_layers": len(blocks)}
    for field, name in (
        ("single_stream_index", "txt_proj"),
        ("ffn_proj_index", "img_ffn_proj"),
        ("ehs_proj_index", "ehs_proj"),
    ):
        places = [number for number in blocks if f"transformer_blocks.{number}.{name}.weight" in keys]
        if places or field in config:
            changed[field] = places
    return changed


def _need_intervals(pruning: Pruning) -> None:
    if not pruning.intervals:
        raise InputError("--intervals is missing: say which blocks each student replaces, as [[3,4],[5,7]]")
