"""A job: one document to make. Typed and checked as far as that needs no file; ``plan.py`` looks at files and models."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..api import check_tries
from ..errors import InputError
from ..layers.edit import parse_operation
from ..layers.io.formats import FORMATS, choose_format
from ..models.memory.budget import parse_memory
from ..models.registry import DEFAULT_MODEL
from ..pipelines.sizes import check_canvas
from ..run import MAX_LAYERS, check_run
from ..session import check_storage
from .fields import parse_size
from .places import check_id

TASKS = ("decompose", "generate", "edit", "convert")
MADE_BY_MODEL = frozenset({"decompose", "generate"})
MAX_TEXT = 10_000
MAX_EDITS = 1000
MAX_LORAS = 16
_OF_MODEL = ("model", "memory", "quantise", "transformer", "loras")
_USES: dict[str, frozenset[str]] = {
    "decompose": frozenset(
        {"input", "prompt", "layers", "size", "seed", "steps", "best_of", "keep_whole", *_OF_MODEL}
    ),
    "generate": frozenset({"prompt", "layers", "size", "seed", "steps", "transparency", *_OF_MODEL}),
    "edit": frozenset({"input", "edits"}),
    "convert": frozenset({"input"}),
}
_NEEDS = {
    "decompose": ("input",),
    "generate": ("prompt",),
    "edit": ("input", "edits"),
    "convert": ("input",),
}
_EVERY = frozenset({"id", "task", "outputs"})
_AS_GIVEN = ("input", "prompt", "seed", "steps", "model", "quantise", "transformer", "transparency", "best_of",
             "keep_whole")  # fmt: skip
_EXAMPLE = {
    "input": "the path of a picture",
    "prompt": "what the picture shows, in words",
    "edits": 'for example ["move:Layer 1,40,-10"]',
}
Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class LayerWish:
    """A layer above the background as somebody wants it; what is None is left open."""

    prompt: str | None = None
    box: Box | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One document to make, as asked for. ``layers``: how many in all, "auto", or a wish for each above the background; the
    wishes of a picture that is taken apart have no boxes, and their prompts name its layers.

    ``size``: "native" or "model" for a picture that is taken apart, (width, height) for one that is made. Raises
    InputError, in the words of the list, for what cannot be.
    """

    id: str
    task: str
    input: str | None = None
    prompt: str | None = None
    layers: int | str | tuple[LayerWish, ...] | None = None
    size: str | tuple[int, int] | None = None
    seed: int = 0
    steps: int | None = None
    best_of: int | None = None
    """So many tries, of which the closest to the picture is taken."""
    keep_whole: bool | None = None
    """Put torn objects together; None for what the model's folder says."""
    memory: str | None = None
    """How the model is held: "auto", or a preset in GB; None loads everything."""
    quantise: str | None = None
    """How the transformer's weights are kept in fewer bits."""
    transformer: str | None = None
    """A GGUF file with the transformer's weights."""
    transparency: str | None = None
    """Where FLUX takes alpha from: a file or a folder."""
    loras: tuple[str, ...] = ()
    """FILE or FILE:SCALE, laid over the transformer."""
    model: str = DEFAULT_MODEL
    edits: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("psd",)

    def __post_init__(self) -> None:
        check_id(self.id)
        if self.task not in TASKS:
            raise InputError(f"task must be one of {', '.join(TASKS)}, not {_short(self.task)}")
        for name in _NEEDS[self.task]:
            if not getattr(self, name):
                raise InputError(f"{self.task} needs {name}: {_EXAMPLE[name]}")
        for name in ("input", "prompt", "model", "transformer", "transparency"):
            _check_text(name, getattr(self, name))
        check_run(self.steps, self.seed)
        if self.best_of is not None:
            check_tries(self.best_of)
        if not isinstance(self.keep_whole, bool | None):
            raise InputError(f"keep_whole must be true or false, not {_short(self.keep_whole)}")
        if self.memory is not None:
            parse_memory(self.memory)
        if self.quantise is not None:
            check_storage(self.quantise)
        _check_layers(self.task, self.layers)
        _check_size(self.task, self.size)
        for edit in self.edits:
            parse_operation(edit)
        if len(set(self.outputs)) < len(self.outputs) or not self.outputs:
            raise InputError("outputs must name at least one format, and each once")

    @property
    def held(self) -> tuple[str | None, ...]:
        """Which weights are loaded, and how they are held: jobs with the same need no other loading."""
        return self.model, self.memory, self.quantise, self.transformer, self.transparency

    def settings(self) -> dict[str, Any]:
        """What was asked for apart from the id, JSON-able; equal settings with equal inputs give equal documents."""
        found = {
            entry.name: _plain(getattr(self, entry.name)) for entry in fields(self) if entry.name != "id"
        }
        if self.task not in MADE_BY_MODEL:
            found = {name: value for name, value in found.items() if name not in ("seed", "model")}
        return {name: value for name, value in found.items() if value not in (None, [])}


def parse_job(given: Mapping[str, Any]) -> Job:
    """The job that fields ask for; without an id of its own it gets one that tells its settings. Raises InputError."""
    for name, value in given.items():
        if name not in _EVERY and name not in {entry.name for entry in fields(Job)}:
            if name == "layer_prompts":  # as Python calls them
                raise InputError(
                    'layer_prompts are written as layers: [{"prompt": …}, …], from above the background up'
                )
            close = difflib.get_close_matches(str(name), [entry.name for entry in fields(Job)], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"there is no field {_short(name)}{hint}")
        if value is None:
            raise InputError(f"{name} is null: leave it out, or give it a value")
    task = given.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"task must be one of {', '.join(TASKS)}, not {_short(task)}")
    strange = [name for name in given if name not in uses(task)]
    if strange:
        raise InputError(f"{task} has no {strange[0]}: leave it out")
    known: dict[str, Any] = {"task": task, "id": given.get("id", "-")}
    known |= {name: given[name] for name in _AS_GIVEN if name in given}
    if "memory" in given:
        known["memory"] = str(given["memory"])
    if "layers" in given:
        known["layers"] = _layers(given["layers"])
    if "size" in given:
        known["size"] = _size(given["size"])
    if "loras" in given:
        known["loras"] = _texts("loras", given["loras"], MAX_LORAS)
    if "edits" in given:
        known["edits"] = _texts("edits", given["edits"], MAX_EDITS)
    if "outputs" in given:
        known["outputs"] = tuple(map(_output, _texts("outputs", given["outputs"], len(FORMATS))))
    if known["id"] == "-":
        known["id"] = stable_id({name: value for name, value in given.items() if name != "id"})
    return Job(**known)


def uses(task: str) -> frozenset[str]:
    """The fields that a task takes; empty for a task that does not exist."""
    return _EVERY | _USES[task] if task in _USES else frozenset()


def stable_id(given: Mapping[str, Any]) -> str:
    """16 hex digits that tell a job without an id from all others, the same in every run."""
    text = json.dumps(given, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _plain(value: Any) -> Any:
    if isinstance(value, LayerWish):
        return {name: _plain(one) for name, one in vars(value).items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} must be a text, not {_short(value)}")
    if len(value) > MAX_TEXT:
        raise InputError(f"{name} has {len(value)} characters, more than {MAX_TEXT}")
    if re.search("[\ud800-\udfff]", value):
        raise InputError(f"{name} holds half a character: write it in UTF-8")
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", value):
        raise InputError(f"{name} holds a control character: remove it")


def _texts(name: str, value: object, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(value) > most:
        raise InputError(f"{name} must be a list of 1 to {most} texts, not {_short(value)}")
    for text in value:
        _check_text(name, text)
    return tuple(value)


def _output(text: str) -> str:
    """A format by its name or suffix; nothing that could be a path."""
    if not re.fullmatch(r"\.?[A-Za-z]{1,10}", text):
        raise InputError(
            f"outputs must be formats ({', '.join(FORMATS)}), not {_short(text)}: files lie in the job's own folder"
        )
    from pathlib import Path

    return choose_format(Path(), text).name


def _layers(value: object) -> int | str | tuple[LayerWish, ...]:
    if isinstance(value, list):
        if not 1 <= len(value) < MAX_LAYERS:
            raise InputError(f"layers must list 1 to {MAX_LAYERS - 1} layers above the background")
        return tuple(_wish(number, one) for number, one in enumerate(value, start=1))
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"layers must be a number, auto, or a list of layers, not {_short(value)}")
    return value


def _wish(number: int, value: object) -> LayerWish:
    if value is None:
        return LayerWish()
    where = f"layer {number}"
    if not isinstance(value, dict) or not value or set(value) - {"prompt", "box"}:
        raise InputError(
            f'{where} must be written {{"prompt": …, "box": [x0, y0, x1, y1]}}, or null, not {_short(value)}'
        )
    _check_text(f"the prompt of {where}", value.get("prompt"))
    box = value.get("box")
    if box is None:
        return LayerWish(prompt=value.get("prompt"))
    if not isinstance(box, list) or len(box) != 4 or not all(type(one) is int for one in box):
        raise InputError(f"the box of {where} must be four whole numbers [x0, y0, x1, y1], not {_short(box)}")
    x0, y0, x1, y1 = box
    return LayerWish(prompt=value.get("prompt"), box=(x0, y0, x1, y1))


def _check_layers(task: str, layers: object) -> None:
    if isinstance(layers, str) and (layers != "auto" or task != "decompose"):
        wanted = (
            "a number, auto or a list of layers" if task == "decompose" else "a number or a list of layers"
        )
        raise InputError(f"layers must be {wanted}, not {_short(layers)}")
    if isinstance(layers, tuple) and task == "decompose":
        for number, wish in enumerate(layers, start=1):
            if wish.box is not None:
                raise InputError(
                    f"layer {number} has a box, but decompose finds the places of layers itself: give prompts alone"
                )
    if isinstance(layers, int) and not 1 <= layers <= MAX_LAYERS:
        raise InputError(f"layers must lie between 1 and {MAX_LAYERS}, not {layers}")


def _size(value: object) -> str | tuple[int, int]:
    if isinstance(value, str):
        return value if value in ("native", "model") else parse_size(value)
    if not isinstance(value, list) or len(value) != 2 or not all(type(one) is int for one in value):
        raise InputError(f"size must be native, model, WIDTHxHEIGHT or [width, height], not {_short(value)}")
    return value[0], value[1]


def _check_size(task: str, size: str | tuple[int, int] | None) -> None:
    if task == "decompose" and size not in (None, "native", "model"):
        raise InputError("the size of decompose is native (the picture's own) or model")
    if task == "generate" and size is not None:
        if isinstance(size, str):
            raise InputError("the size of generate is written WIDTHxHEIGHT, for example 256x192")
        check_canvas(*size)
