"""The plan: which jobs a list holds, which of them are done, which must be redone, and which cannot be and why.

Looks at lists, inputs, models' folders and results; changes nothing and runs nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.family import Family, check_task, family_of
from ..models.folder import fingerprint, read_json
from ..models.lora import read_loras
from ..models.registry import locate, resolve
from ..pipelines.sizes import check_boxes
from ..run import alpha_path, check_layers, gguf_path
from ..session import ModelOptions, check_transparency
from .fields import FIELDS, from_row
from .inputs import hash_input, measure
from .jobs import MADE_BY_MODEL, Job, LayerWish, parse_job, uses
from .places import OWN_FILES, find_input
from .receipts import Receipt, is_intact, read_receipt, strangers
from .rows import Row, read_rows
from .settings import RenderSettings
from .variables import check_used, expand

MAX_JOBS = 1_000_000
Find = Callable[[str], Path]
"""The file on disk of an input by its name in the list. Raises InputError."""


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job that can be done, with all that its result depends on."""

    job: Job
    row: int
    source: Path | None
    """The input, resolved."""
    source_hash: str | None
    digest: str
    """Of settings, input and model; the same digest means the same document."""
    shape: tuple[int, ...]
    """Jobs of one model and shape run one after the other."""
    order: int = 0

    @property
    def model(self) -> str:
        """The model that makes it, "" for a task without one."""
        return self.job.model if self.job.task in MADE_BY_MODEL else ""

    @property
    def group(self) -> tuple[object, ...]:
        return *self.job.held, self.job.task, self.shape


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A row that cannot be done, and why."""

    row: int
    reason: str
    id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every job of a list, once: to do, or done with its receipt; and the rows that were rejected."""

    todo: tuple[PlannedJob, ...]
    """Grouped by model and shape, otherwise in the order of the list."""
    redo: frozenset[str]
    """Ids in ``todo`` whose result exists and is of other inputs or settings, or incomplete."""
    done: tuple[tuple[PlannedJob, Receipt], ...]
    rejected: tuple[Rejection, ...]


def check_list(settings: RenderSettings) -> None:
    """Raises InputError where there is no list, and for a variable of the command that no job of it has a use for."""
    rows = read_rows(settings.jobs, _own_files(settings))
    names = [*settings.defaults, *(sweep.name for sweep in settings.sweeps)]
    if variables := [name for name in names if name not in FIELDS]:
        own = [dict(settings.defaults), *({one.name: list(one.values)} for one in settings.sweeps)]
        check_used(variables, itertools.chain(own, (row.fields for row in rows)))


def make_plan(
    settings: RenderSettings,
    on_row: Callable[[int], None] | None = None,
    find: Find | None = None,
) -> Plan:
    """Reads and checks the whole list. ``find``: see ``finding.py``; by default inputs lie on a disk. Raises InputError
    where there is no list; what is wrong in it is in the plan."""
    if find is None:
        root = settings.root
        find = lambda name: find_input(name, root)  # noqa: E731
    check_list(settings)
    todo: list[PlannedJob] = []
    redo: set[str] = set()
    done: list[tuple[PlannedJob, Receipt]] = []
    rejected: list[Rejection] = []
    rows: dict[str, int] = {}
    facts, added = lru_cache(maxsize=None)(_model_facts), lru_cache(maxsize=None)(_added)
    for row in read_rows(settings.jobs, _own_files(settings)):
        if on_row is not None:
            on_row(row.number)
        for given in _jobs_of(row, settings, rejected):
            if len(rows) >= MAX_JOBS:
                raise InputError(f"{settings.jobs} holds more than {MAX_JOBS} jobs: split the list")
            name = given.get("id")
            try:
                job = parse_job(given)
                name = job.id
                if (first := rows.get(job.id.casefold())) is not None:
                    raise InputError(f"id {job.id!r} is that of row {first} already: give every job its own")
                rows[job.id.casefold()] = row.number
                planned = _planned(job, row.number, len(rows), find, settings.max_megapixels, facts, added)
                receipt = _receipt(settings.folder, planned)
            except InputError as error:
                rejected.append(
                    Rejection(row=row.number, reason=str(error), id=name if isinstance(name, str) else None)
                )
                continue
            if receipt is not None and receipt.digest == planned.digest:
                done.append((planned, receipt))
                continue
            todo.append(planned)
            if (settings.folder / job.id).exists():
                redo.add(job.id)
    return Plan(todo=tuple(_grouped(todo)), redo=frozenset(redo), done=tuple(done), rejected=tuple(rejected))


def _own_files(settings: RenderSettings) -> frozenset[str]:
    """What acetate itself puts beside the results, where they go to the very folder of pictures that is the list."""
    same = settings.jobs.is_dir() and settings.folder.exists() and settings.folder.samefile(settings.jobs)
    return OWN_FILES if same else frozenset()


def _jobs_of(row: Row, settings: RenderSettings, rejected: list[Rejection]) -> Iterator[dict[str, Any]]:
    """The jobs that a row stands for, as fields; what cannot be read goes to ``rejected``."""
    name = row.fields.get("id") or None
    try:
        if row.reason is not None:
            raise InputError(row.reason)
        fields = from_row(row.fields) if row.text else row.fields
        if settings.jobs.is_dir() and "id" not in settings.defaults:
            fields = {"task": "decompose", "id": _id_of_file(str(fields["input"])), **fields}
        if settings.jobs.is_dir() and (settings.sweeps or settings.defaults.keys() - FIELDS.keys()):
            # Names of files are no templates.
            fields = {**fields, "input": fields["input"].replace("{", "{{").replace("}", "}}")}
        task = fields.get("task", settings.defaults.get("task"))
        known = uses(task) if isinstance(task, str) else frozenset(FIELDS)
        defaults = {
            key: value for key, value in settings.defaults.items() if key not in FIELDS or key in known
        }
        sweeps = [sweep for sweep in settings.sweeps if sweep.name not in FIELDS or sweep.name in known]
        yield from expand(fields, defaults, sweeps)
    except InputError as error:
        rejected.append(
            Rejection(row=row.number, reason=str(error), id=name if isinstance(name, str) else None)
        )


def _id_of_file(name: str) -> str:
    """``"Poster 3.png"`` as "Poster_3_png"; the suffix stays, since two pictures may differ in it alone."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:100]
    if plain == name.replace(".", "_"):
        return plain
    return f"{plain[:80]}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _planned(
    job: Job,
    row: int,
    order: int,
    find: Find,
    max_megapixels: int,
    facts: Callable[[str, bool, str | None, str], tuple[Family, str, Mapping[str, Any]]],
    added: Callable[[str | None, str | None, tuple[str, ...], str | None], dict[str, Any]],
) -> PlannedJob:
    """Raises InputError where input or model cannot serve the job."""
    shape: tuple[int, ...] = (0, 0)
    source = source_hash = revision = None
    additions: dict[str, Any] = {}
    if job.task in MADE_BY_MODEL:
        additions = added(job.transformer, job.transparency, job.loras, job.quantise)
        family, revision, stored = facts(job.model, job.transformer is None, job.transparency, job.task)
        shape = _check_model(job, family, stored)
    if job.input is not None:
        source = find(job.input)
        size = measure(source, max_megapixels)
        source_hash = hash_input(source)
        shape = (*size, *shape[2:])
    parts = {"settings": job.settings(), "input": source_hash, "model": revision, **additions}
    if source is not None:  # a document may keep its file's name
        parts["name"] = source.name
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return PlannedJob(
        job=job, row=row, source=source, source_hash=source_hash, digest=digest, shape=shape, order=order
    )


def _added(
    transformer: str | None, transparency: str | None, loras: tuple[str, ...], quantise: str | None
) -> dict[str, Any]:
    """The contents of the files that are added to a model. Raises InputError for what is no such file, and for what does
    not go together."""
    options = ModelOptions(
        transparency=alpha_path(transparency),
        transformer=gguf_path(transformer),
        loras=read_loras(loras),
        quantise=quantise,
    )
    files = ("transparency", "transformer", "loras")
    return {name: value for name, value in options.facts().items() if value and name in files}


def _model_facts(
    name: str, transformer: bool, transparency: str | None, task: str
) -> tuple[Family, str, Mapping[str, Any]]:
    """The family of a model on this machine, its fingerprint and what its folder says of itself; nothing is fetched. Raises
    InputError for a task that it cannot do."""
    entry = locate(resolve(name), download=False, transformer=transformer)
    assert entry.path is not None
    stored = read_json(entry.path / "model_index.json", entry.remedy)
    family = family_of(entry.path, stored)
    check_task(family, task, name)
    check_transparency(family, entry, alpha_path(transparency), task)
    return family, fingerprint(entry.path), stored


def _check_model(job: Job, family: Family, stored: Mapping[str, Any]) -> tuple[int, ...]:
    """(width, height, layers) of what a model is to make, as far as it is known."""
    wishes = job.layers if isinstance(job.layers, tuple) else ()
    count = len(wishes) + 1 if wishes else job.layers
    if isinstance(count, int):
        check_layers(count, dict(stored), family.max_layers)
    if job.task == "decompose":
        return 0, 0, count if isinstance(count, int) else 0
    resolution = stored.get("default_resolution", 0)
    width, height = job.size if isinstance(job.size, tuple) else (resolution, resolution)
    if wishes and width:
        check_boxes([None, *boxes_of(wishes)], len(wishes) + 1, width, height)
    return width, height, count if isinstance(count, int) else 0


def boxes_of(wishes: tuple[LayerWish, ...]) -> list[tuple[int, int, int, int] | None]:
    """The boxes of the wished layers, bottom to top."""
    return [wish.box for wish in wishes]


def _receipt(folder: Path, planned: PlannedJob) -> Receipt | None:
    """The receipt of a whole result that is there already. Raises InputError where somebody else's files are in its
    place."""
    place = folder / planned.job.id
    receipt = read_receipt(place)
    if receipt is None:
        return None
    intact = is_intact(place, receipt)
    if (receipt.digest != planned.digest or not intact) and (others := strangers(place, receipt)):
        raise InputError(
            f"{place} must be made anew, but holds {others[0]!r}, which acetate did not write: move it away first"
        )
    return receipt if intact else None


def _grouped(jobs: list[PlannedJob]) -> list[PlannedJob]:
    """Jobs of one model and shape together, groups in the order of their first job."""
    first: dict[object, int] = {}
    for index, planned in enumerate(jobs):
        for key in (planned.model, planned.job.held, planned.group):
            first.setdefault(key, index)

    def place(one: PlannedJob) -> tuple[int, ...]:
        return first[one.model], first[one.job.held], first[one.group], one.order

    return sorted(jobs, key=place)


def counts(plan: Plan) -> Counter[tuple[str, str]]:
    """How many jobs there are to do of each task and model ("" for none)."""
    return Counter((one.job.task, one.model) for one in plan.todo)
