"""How LoRA files spell a change of one linear layer: seven published ways, told apart by the keys alone.

    prefix + module + .lora_A.weight | .lora_B.weight | .alpha      diffusers, peft, AI Toolkit
    prefix + module + .lora_down.weight | .lora_up.weight | .alpha  kohya, ComfyUI, Lightning

Modules are named as in diffusers or as in the original code; kohya's have underscores for dots. Knows names; not values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from .modules import Module, Style, same, shown
from .transformers import QWEN_TOP, flux_linears, qwen_block

PEFT = ("lora_A.weight", "lora_B.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")
TAIL = re.compile(r"(.+)\.(lora_A\.weight|lora_B\.weight|lora_down\.weight|lora_up\.weight|alpha)$")
FLUX_DOUBLES = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraLayout:
    """``names``: whose modules; ``flat``: underscores for dots."""

    name: str
    prefix: str
    tails: tuple[str, str]
    names: Style
    flat: bool = False


LORA_LAYOUTS: dict[str, LoraLayout] = {
    one.name: one
    for one in (
        LoraLayout(name="kohya", prefix="lora_unet_", tails=KOHYA, names="original", flat=True),
        LoraLayout(name="peft", prefix="base_model.model.", tails=PEFT, names="diffusers"),
        LoraLayout(name="comfy", prefix="diffusion_model.", tails=KOHYA, names="original"),
        LoraLayout(name="comfy-peft", prefix="diffusion_model.", tails=PEFT, names="original"),
        LoraLayout(name="diffusers", prefix="transformer.", tails=PEFT, names="diffusers"),
        LoraLayout(name="plain", prefix="", tails=KOHYA, names="diffusers"),
        LoraLayout(name="plain-peft", prefix="", tails=PEFT, names="diffusers"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The keys of one changed layer; ``alpha`` None: as large as the rank, or told by the metadata."""

    down: str
    up: str
    alpha: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLora:
    """``adapters`` by the module's dotted name, in the spelling of ``layout.names``."""

    family: str
    layout: LoraLayout
    adapters: dict[str, Adapter]


def is_lora(keys: Iterable[str]) -> bool:
    return any(TAIL.match(key) and not key.endswith(".alpha") for key in keys)


def find_lora(keys: Collection[str], where: Path, family: str | None = None) -> FoundLora:
    """What a LoRA's keys say. Raises InputError for mixed spellings, keys that are none of a LoRA's, halves without
    their other half, and where nothing tells FLUX.1 from Qwen-Image."""
    matches = {key: match for key in sorted(keys) if (match := TAIL.match(key))}
    unknown = [key for key in sorted(keys) if key not in matches]
    if unknown:
        raise InputError(f"{where} looks like a LoRA, but holds {shown(unknown)}, which is neither half of a layer nor its "
                         f"alpha{_what(unknown)}.")  # fmt: skip
    layout = _spelling(matches, where)
    rest = {key: match.group(1).removeprefix(layout.prefix) for key, match in matches.items()}
    family = family or _family(set(rest.values()), where)
    dotted = {name.replace(".", "_"): name for name in module_names(family, rest.values(), layout.names)}
    adapters: dict[str, dict[str, str]] = {}
    foreign: list[str] = []
    known = set(dotted.values())
    for key, match in matches.items():
        name = dotted.get(rest[key]) if layout.flat else rest[key]
        if name is None or name not in known:
            foreign.append(key)
        else:
            adapters.setdefault(name, {})[match.group(2)] = key
    if foreign:
        raise InputError(
            f"{where} changes {shown(foreign)}, which is no linear layer of {family}{_what(foreign)}."
        )
    return FoundLora(family=family, layout=layout, adapters=_pairs(adapters, layout.tails, where))


def _spelling(matches: Mapping[str, re.Match[str]], where: Path) -> LoraLayout:
    tails = [{key for key, match in matches.items() if match.group(2) in pair} for pair in (PEFT, KOHYA)]
    if all(tails):
        one, other = (min(keys) for keys in tails)
        raise InputError(
            f"{where} mixes two spellings, {one} and {other}; convert the files it was put together from."
        )
    tail = PEFT if tails[0] else KOHYA
    for layout in LORA_LAYOUTS.values():
        if layout.tails == tail and all(key.startswith(layout.prefix) for key in matches):
            return layout
    strange = [
        key
        for key in matches
        if not key.startswith(tuple(one.prefix for one in LORA_LAYOUTS.values() if one.prefix))
    ]
    raise InputError(
        f"{where} mixes names under several prefixes: {shown(strange or list(matches))}{_what(matches)}."
    )


def _what(keys: Iterable[str]) -> str:
    keys = list(keys)
    if any(key.startswith(("lora_te", "text_encoder")) for key in keys):
        return "; --part transformer leaves the text encoder's out"
    if any("dora" in key or "magnitude" in key for key in keys):
        return ": it is a DoRA, whose scale no other layout here has"
    if any("hada_" in key or "lokr_" in key for key in keys):
        return ": it is LyCORIS' LoHa or LoKr, not a LoRA"
    return ""


def _family(names: Collection[str], where: Path) -> str:
    text = "\n".join(names)
    if re.search(
        r"double_blocks|single_blocks|single_transformer_blocks|\bff\.|ff_context|norm1|(x|context|text|guidance)_embedder|final_layer",
        text,
    ):
        return "flux"
    blocks = [int(number) for number in re.findall(r"transformer_blocks[._](\d+)", text)]
    if re.search(r"img_mlp|txt_mlp|img_mod|txt_mod", text) or max(blocks, default=0) >= FLUX_DOUBLES:
        return "qwen"
    raise InputError(f"Nothing in {where} tells whether it is a LoRA of FLUX.1 or of Qwen-Image ({shown(sorted(names))}); "
                     "say so with --family flux or --family qwen.")  # fmt: skip


def modules_of(family: str, names: Iterable[str]) -> list[Module]:
    """Every linear layer of a family's model with as many blocks as the names need."""
    numbers = [int(number) for number in re.findall(r"blocks[._](\d+)", "\n".join(names))]
    count = max(numbers, default=0) + 1
    if family == "flux":
        return flux_linears(count, count)
    linears = [*QWEN_TOP, *(name for number in range(count) for name in qwen_block(number))]
    return [same(name, name) for name in linears]


def module_names(family: str, names: Iterable[str], style: Style) -> list[str]:
    modules = modules_of(family, list(names))
    if style == "original":
        return [module.original for module in modules]
    return [name for module in modules for name in module.diffusers]


def _pairs(found: Mapping[str, Mapping[str, str]], tails: tuple[str, str], where: Path) -> dict[str, Adapter]:
    pairs = {}
    for name, keys in found.items():
        absent = [tail for tail in tails if tail not in keys]
        if absent:
            raise InputError(
                f"{where} holds {shown(list(keys.values()))} without {name}'s {absent[0]}; fetch or copy it again."
            )
        pairs[name] = Adapter(down=keys[tails[0]], up=keys[tails[1]], alpha=keys.get("alpha"))
    return pairs


def told_alphas(metadata: Mapping[str, str], config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The settings that diffusers keeps in the file's metadata and peft in adapter_config.json: ``lora_alpha``, ``r``,
    ``alpha_pattern``, ``rank_pattern``, ``use_rslora``. None where there are none."""
    if "lora_adapter_metadata" in metadata:
        every = json.loads(metadata["lora_adapter_metadata"])
        return {
            key.removeprefix("transformer."): value
            for key, value in every.items()
            if key.startswith("transformer.")
        }
    return dict(config) if config is not None and "lora_alpha" in config else None


def told_alpha(told: Mapping[str, Any] | None, name: str, rank: int) -> float | None:
    """The alpha of a module (diffusers' name) by the metadata, as kohya counts it (the change is alpha / rank times)."""
    if told is None:
        return None
    alpha = float(told.get("lora_alpha", rank))
    for pattern, value in (told.get("alpha_pattern") or {}).items():
        if name == pattern or name.endswith(f".{pattern}"):
            alpha = float(value)
    return alpha * math.sqrt(rank) if told.get("use_rslora") else alpha
