"""A conversion that is ready to be written. Knows where results may go; not how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from .plan import Target
from .source import PICKLES, Source
from .writing import OnTensor, staged_folder, write_file, write_folder

SHARD_BYTES = 10 * 10**9


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
        if path.suffix in (*PICKLES, ".sft", ".gguf"):
            raise InputError(
                f"{path.name}: results are written as .safetensors, or into a folder; give such a name."
            )
        if self.config is None:
            raise InputError(
                f"A folder such as {path} is for diffusers' layout and needs the model's config.json; name one with "
                "--config where there is none beside the input, or write one .safetensors file."
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
            raise InputError(f"This layout is several files; give a folder for them, not {folder.name}.")
        with staged_folder(folder) as temporary:
            for name, targets in self.files.items():
                write_file(targets, self.source, temporary / name, self.metadata)
        return [folder / name for name in self.files]
