"""The entrance: what a checkpoint is, and the plan that brings it into another layout. Knows which table is for what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from .layerdiffuse import JOINED, is_joined, plan_layerdiffuse
from .layouts import LAYOUTS, TABLES, find_layout, layouts_of
from .lora import plan_lora
from .lora_layouts import LORA_LAYOUTS, find_lora, is_lora
from .modules import plan_modules
from .ppcl import STUDENT, Pruning, merge, pruned_config, renumber, take_students
from .result import Conversion
from .source import Source
from .views import one_part

PPCL = ("pruned", "numbered", "student")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a checkpoint is. ``targets``: the layouts that it can be brought into."""

    family: str
    layout: str
    words: str
    targets: tuple[str, ...]
    tensors: int


def describe_checkpoint(source: Source, *, part: str | None = None, family: str | None = None) -> Description:
    """What ``source`` is, from its keys. Raises InputError where it is nothing known, or two things."""
    source = source if part is None else one_part(source, part)
    keys = source.tensors
    if family is not None and not is_lora(keys):
        raise InputError(f"--family says what a LoRA is for, and {source.where} is none; leave it out.")
    if is_lora(keys):
        found = find_lora(keys, source.where, family)
        words = f"a LoRA of {found.family} in the layout {found.layout.name}"
        return _described(f"{found.family}-lora", found.layout.name, words, LORA_LAYOUTS, keys)
    if is_joined(keys):
        return _described("layerdiffuse", JOINED, "LayerDiffuse in one file", (JOINED, "separate"), keys)
    if _is_student(keys):
        return _described("ppcl", "student", "students of PPCL", ("pruned",), keys)
    layout = find_layout(keys, source.where)
    targets = [*layouts_of(layout.family)]
    if layout.family == "qwen":
        targets += PPCL
    if layout.family.startswith("layerdiffuse"):
        targets += [JOINED]
    return _described(layout.family, layout.name, layout.words, targets, keys)


def _described(
    family: str, layout: str, words: str, targets: Iterable[str], keys: Collection[str]
) -> Description:
    others = tuple(name for name in targets if name != layout)
    return Description(family=family, layout=layout, words=words, targets=others, tensors=len(keys))


def convert_checkpoint(
    source: Source,
    to: str,
    *,
    part: str | None = None,
    family: str | None = None,
    beside: tuple[Source, ...] = (),
    pruning: Pruning | None = None,
    config: Mapping[str, Any] | None = None,
) -> Conversion:
    """The plan from whatever ``source`` is to the layout ``to``.

    ``part``: which of several models in one file. ``family`` of a LoRA that does not tell. ``beside``: what belongs to it
    (LayerDiffuse's other files; PPCL's students). ``config``: the config.json for a folder. Raises InputError for unknown,
    mixed and incomplete layouts, naming the first keys, and for targets that there are not.
    """
    source = source if part is None else one_part(source, part)
    found = describe_checkpoint(source, family=family)
    if to not in (found.layout, *found.targets):
        raise InputError(
            f"{source.where} is {found.words}, which can become {', '.join(found.targets)}; not {to!r}."
        )
    _refuse_unused(source, found, to, beside, pruning)
    if found.family.endswith("-lora"):
        targets, metadata = plan_lora(source, find_lora(source.tensors, source.where, family), to)
        return Conversion(source=source, targets=targets, metadata=metadata)
    if found.family.startswith("layerdiffuse"):
        return plan_layerdiffuse(source, to, beside)
    if found.family == "ppcl":
        raise InputError(
            f"{source.where} holds students alone; name the teacher first, and this file with --with."
        )
    config = config if config is not None else source.config
    if to in PPCL:
        return _ppcl(source, to, beside, pruning or Pruning(), config)
    layout, target = layouts_of(found.family)[found.layout], layouts_of(found.family)[to]
    targets = plan_modules(
        source, TABLES[found.family], layout.style, layout.prefix, target.style, target.prefix, layout.words
    )
    if found.family == "qwen":
        config = pruned_config(config, {one.key.removeprefix(target.prefix): one for one in targets})
    fits = target.name == "diffusers"
    return Conversion(
        source=source, targets=targets, metadata=source.metadata, config=config if fits else None
    )


def _refuse_unused(
    source: Source, found: Description, to: str, beside: tuple[Source, ...], pruning: Pruning | None
) -> None:
    """Raises InputError for what was given and would change nothing."""
    merged = found.family in ("qwen", "ppcl") and to == "pruned"
    if beside and not merged and not (found.layout == "separate" and to == JOINED):
        raise InputError(
            f"--with names LayerDiffuse's other files or PPCL's students; {found.words} becomes {to} without "
            f"{beside[0].where}."
        )
    if merged and len(beside) > 1:
        raise InputError(f"PPCL's students are in one file, but {len(beside)} were given for {source.where}.")
    if pruning not in (None, Pruning()) and to not in PPCL:
        raise InputError(
            f"--intervals and what belongs to them say how PPCL pruned a model; {found.words} becomes {to} without them."
        )


def _ppcl(
    source: Source, to: str, beside: tuple[Source, ...], pruning: Pruning, config: Mapping[str, Any] | None
) -> Conversion:
    layout = find_layout(source.tensors, source.where)
    if layout.prefix:
        raise InputError(
            f"{source.where} is {layout.words}; bring it into diffusers' layout first (--to diffusers)."
        )
    plan_modules(
        source, TABLES["qwen"], "diffusers", "", "diffusers", "", layout.words
    )  # refuses unknown and missing keys
    if to == "pruned" and beside:
        targets, both = merge(source, beside[0], pruning)
        made = pruned_config(config, {one.key: one for one in targets})
        return Conversion(source=both, targets=targets, metadata=source.metadata, config=made)
    if to == "student":
        return Conversion(source=source, targets=take_students(source, pruning), metadata=source.metadata)
    targets = renumber(source, pruning, back=to == "pruned")
    made = pruned_config(config, {one.key: one for one in targets}) if to == "pruned" else None
    return Conversion(source=source, targets=targets, metadata=source.metadata, config=made)


def _is_student(keys: Collection[str]) -> bool:
    return (
        bool(keys)
        and any(STUDENT.fullmatch(key) for key in keys)
        and not any(one.prefix + one.mark in keys for one in LAYOUTS)
    )
