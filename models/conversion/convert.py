"""The entrance: what a checkpoint is, and the plan that brings it into another layout. Knows which table is for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...layers.io.atomic import output_error
from .layouts import LAYOUTS, PARTS, TABLES, find_layout, layouts_of
from .lora import plan_lora
from .lora_layouts import LORA_LAYOUTS, find_lora, is_lora
from .modules import plan_modules, shown
from .plan import Target, whole
from .ppcl import STUDENT, Pruning, merge, pruned_config, renumber, take_students
from .source import Source, Stored
from .writing import OnTensor, refuse_existing, write_file, write_folder

SHARD_BYTES = 10 * 10**9
PPCL = ("pruned", "numbered", "student")
JOINED = "transparent-vae"
DECODER_FILE, ENCODER_FILE, VAE_FILE = (
    "ld_diffusers_flux_vae_transparent_decoder.safetensors",
    "ld_diffusers_flux_vae_transparent_encoder.safetensors",
    "vae.safetensors",
)
LAYERDIFFUSE_PARTS = {"decoder.": DECODER_FILE, "encoder.": ENCODER_FILE, "sd_vae.": VAE_FILE}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a checkpoint is. ``targets``: the layouts that it can be brought into."""

    family: str
    layout: str
    words: str
    targets: tuple[str, ...]
    tensors: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """A plan that is ready to be written. ``files``: targets by file name, where there are several files."""

    source: Source
    targets: list[Target]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None = None
    files: Mapping[str, list[Target]] = field(default_factory=dict)

    def write(
        self,
        path: Path,
        *,
        replace: bool = False,
        shard_bytes: int = SHARD_BYTES,
        on_bytes: OnTensor | None = None,
    ) -> list[Path]:
        """Writes a .safetensors file, or a folder where ``path`` has no such ending; returns what was written.

        Raises InputError where something is there already (a file may be replaced) and where a folder for diffusers
        would have no config.json; OutputError where the disk refuses. Nothing half-written is left behind.
        """
        if self.files:
            return self._write_files(path)
        if path.suffix == ".safetensors":
            write_file(self.targets, self.source, path, self.metadata, replace=replace, on_bytes=on_bytes)
            return [path]
        if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".sft", ".gguf"):
            raise InputError(
                f"{path.name}: results are written as .safetensors, or into a folder; give such a name."
            )
        if self.config is None:
            raise InputError(
                f"A folder such as {path} needs the model's config.json, and there is none beside the input; name one with "
                "--config, or write one .safetensors file."
            )
        write_folder(
            self.targets,
            self.source,
            path,
            self.metadata,
            self.config,
            shard_bytes=shard_bytes,
            on_bytes=on_bytes,
        )
        return [path]

    def _write_files(self, folder: Path) -> list[Path]:
        if folder.suffix:
            raise InputError(
                f"LayerDiffuse's separate layout is several files; give a folder for them, not {folder.name}."
            )
        refuse_existing(folder, False)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise output_error(folder, error) from error
        for name, targets in self.files.items():
            write_file(targets, self.source, folder / name, self.metadata)
        return [folder / name for name in self.files]


class PartSource:
    """The tensors of a source that a part's prefixes begin."""

    def __init__(self, source: Source, part: str) -> None:
        self.where, self.metadata, self.config, self._source = (
            source.where,
            source.metadata,
            source.config,
            source,
        )
        prefixes = PARTS[part]
        self.tensors: Mapping[str, Stored] = {
            k: v for k, v in source.tensors.items() if k.startswith(prefixes)
        }
        if not self.tensors:
            raise InputError(f"{source.where} holds no {part} under {', '.join(prefixes)}; leave --part out.")

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes | memoryview]:
        return self._source.rows(key, start, stop)


class JoinedSource:
    """Several sources as one, each under a prefix."""

    def __init__(self, parts: Mapping[str, Source]) -> None:
        first = next(iter(parts.values()))
        self.where, self.config, self._parts = first.where, None, parts
        self.metadata = {key: value for part in parts.values() for key, value in part.metadata.items()}
        self.tensors = {
            f"{prefix}{key}": one for prefix, part in parts.items() for key, one in part.tensors.items()
        }

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes | memoryview]:
        for prefix, part in self._parts.items():
            if key.startswith(prefix):
                return part.rows(key.removeprefix(prefix), start, stop)
        raise KeyError(key)


def describe_checkpoint(source: Source, *, part: str | None = None, family: str | None = None) -> Description:
    """What ``source`` is, from its keys. Raises InputError where it is nothing known, or two things."""
    source = source if part is None else PartSource(source, part)
    keys = source.tensors
    if is_lora(keys):
        found = find_lora(keys, source.where, family)
        words = f"a LoRA of {found.family} in the layout {found.layout.name}"
        return _described(f"{found.family}-lora", found.layout.name, words, LORA_LAYOUTS, keys)
    if _is_joined(keys):
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


def _described(family: str, layout: str, words: str, targets: Any, keys: Any) -> Description:
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
    source = source if part is None else PartSource(source, part)
    found = describe_checkpoint(source, family=family)
    if to not in (found.layout, *found.targets):
        raise InputError(
            f"{source.where} is {found.words}, which can become {', '.join(found.targets)}; not {to!r}."
        )
    if found.family.endswith("-lora"):
        targets, metadata = plan_lora(source, find_lora(source.tensors, source.where, family), to)
        return Conversion(source=source, targets=targets, metadata=metadata)
    if found.family.startswith("layerdiffuse"):
        return _layerdiffuse(source, to, beside)
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


def _layerdiffuse(source: Source, to: str, beside: tuple[Source, ...]) -> Conversion:
    if _is_joined(source.tensors):
        _check_joined(source)
        files: dict[str, list[Target]] = {}
        if to == "separate":
            for prefix, name in LAYERDIFFUSE_PARTS.items():
                part = [
                    whole(source, key, key.removeprefix(prefix))
                    for key in source.tensors
                    if key.startswith(prefix)
                ]
                files |= {name: part} if part else {}
        targets = [whole(source, key, key) for key in source.tensors]
        return Conversion(source=source, targets=targets, metadata=source.metadata, files=files)
    if to == "separate":
        layout = find_layout(source.tensors, source.where)
        targets = plan_modules(source, TABLES[layout.family], "diffusers", "", "diffusers", "", layout.words)
        return Conversion(source=source, targets=targets, metadata=source.metadata)
    parts: dict[str, Source] = {}
    for one in (source, *beside):
        family = find_layout(one.tensors, one.where).family
        prefix = {"layerdiffuse-decoder": "decoder.", "layerdiffuse-encoder": "encoder."}.get(
            family, "sd_vae."
        )
        if prefix in parts:
            raise InputError(
                f"{parts[prefix].where} and {one.where} are both LayerDiffuse's {prefix[:-1]}; give one of each."
            )
        parts[prefix] = one
    absent = [prefix[:-1] for prefix in ("decoder.", "encoder.") if prefix not in parts]
    if absent:
        raise InputError(f"{JOINED} holds decoder and encoder; name the file of the {absent[0]} with --with.")
    joined = JoinedSource({prefix: parts[prefix] for prefix in LAYERDIFFUSE_PARTS if prefix in parts})
    _check_joined(joined)
    targets = [whole(joined, key, key) for key in joined.tensors]
    return Conversion(source=joined, targets=targets, metadata=joined.metadata)


def _check_joined(source: Source) -> None:
    unknown = [key for key in source.tensors if not key.startswith(tuple(LAYERDIFFUSE_PARTS))]
    if unknown:
        raise InputError(f"{source.where} looks like LayerDiffuse in one file, but holds {shown(unknown)}.")
    tables = {"decoder.": "layerdiffuse-decoder", "encoder.": "layerdiffuse-encoder"}
    for prefix, family in tables.items():
        part = _Prefixed(source, prefix)
        plan_modules(
            part, TABLES[family], "diffusers", prefix, "diffusers", prefix, f"LayerDiffuse's {prefix[:-1]}"
        )


class _Prefixed:
    def __init__(self, source: Source, prefix: str) -> None:
        self.where, self.metadata, self.config, self.rows = (
            source.where,
            source.metadata,
            source.config,
            source.rows,
        )
        self.tensors = {key: one for key, one in source.tensors.items() if key.startswith(prefix)}


def _is_joined(keys: Any) -> bool:
    return "decoder.latent_conv_in.weight" in keys


def _is_student(keys: Any) -> bool:
    return (
        bool(keys)
        and any(STUDENT.fullmatch(key) for key in keys)
        and not any(one.prefix + one.mark in keys for one in LAYOUTS)
    )
