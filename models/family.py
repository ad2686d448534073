"""The families of models that acetate runs, told by a folder's index before anything in it is blamed or loaded.

Knows names and what each family can do; no tensors, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class Family:
    """``transformer``: diffusers' class. ``tasks``: the commands that run on it; ``able``: the same, as a sentence goes on
    after "it makes"."""

    title: str
    transformer: str
    tasks: tuple[str, ...]
    able: str
    max_layers: int
    """Layers of one stack where the folder names no limit, the background included."""
    caveat: str = ""
    """What is particular where words lead, as a sentence."""


QWEN = Family(
    title="Qwen-Image",
    transformer="QwenImageTransformer2DModel",
    tasks=("decompose", "generate", "complete", "extract", "transparent"),
    able="layers of every kind",
    max_layers=20,  # what the published layered model was trained for
)
FLUX = Family(
    title="FLUX",
    transformer="FluxTransformer2DModel",
    tasks=("generate", "transparent"),
    able="a single transparent layer from words or a picture (acetate transparent), and from words a stack of layers in "
    "boxes (acetate generate --region)",
    max_layers=51,  # ART's layer embedding has 52 rows, one of them the whole picture's
    caveat="Every layer has a box, and the boxes have no words: say everything in the prompt.",
)
FAMILIES = (QWEN, FLUX)
_FOREIGN = ("StableDiffusion", "SD3", "ZImage", "PixArt", "Flux2")


def family_of(path: Path, index: Mapping[str, Any]) -> Family:
    """The family of the folder ``path`` by its model_index.json. Raises InputError for a complete model of a family that
    acetate does not run."""
    part = index.get("transformer")
    named = part[1] if isinstance(part, list | tuple) and len(part) == 2 else None
    for family in FAMILIES:
        if named == family.transformer:
            return family
    pipeline = str(index.get("_class_name"))
    if named is not None or pipeline.startswith(_FOREIGN):
        kind = f"{pipeline} on a {named}" if named is not None else pipeline
        raise InputError(
            f"{path} is a {kind}, whose transformer acetate has no adapter for; give the folder of a layered Qwen model or "
            "of FLUX.1."
        )
    return FLUX if pipeline.startswith("Flux") else QWEN


def check_family(found: Family, wanted: Family, name: str) -> None:
    """Raises InputError when a model that the user calls ``name`` is not of the family ``wanted``."""
    if found is not wanted:
        raise InputError(f"{name} is {found.title}; this pipeline runs {wanted.title} only.")


def check_task(family: Family, task: str, name: str) -> None:
    """Raises InputError when models of ``family`` cannot do ``task``; ``name``: what the user calls the model."""
    if task not in family.tasks:
        raise InputError(
            f"{name} is {family.title}, which cannot do `acetate {task}`: it makes {family.able}. For {task} give a layered "
            "Qwen model, such as tiny or Qwen/Qwen-Image-Layered."
        )
