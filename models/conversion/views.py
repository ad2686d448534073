"""Sources made of other sources: one part of a file, or several files as one. Knows prefixes; nothing of what they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...errors import InputError
from .source import Source, Stored

PARTS = {
    "transformer": (
        "model.diffusion_model.",
        "transformer.",
        "lora_unet_",
        "diffusion_model.",
        "base_model.model.",
    ),
    "vae": ("vae.", "first_stage_model.", "sd_vae."),
}
"""What a file of several models calls them: for --part."""


class View:
    """The tensors of a source whose names begin with one of ``prefixes``, under the same names."""

    def __init__(self, source: Source, prefixes: str | tuple[str, ...]) -> None:
        self.where, self.metadata, self.config, self._source = (
            source.where,
            source.metadata,
            source.config,
            source,
        )
        self.tensors: Mapping[str, Stored] = {
            key: one for key, one in source.tensors.items() if key.startswith(prefixes)
        }

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes | memoryview]:
        return self._source.rows(key, start, stop)


def one_part(source: Source, part: str) -> Source:
    """The part that ``--part`` names. Raises InputError where the file has none of it."""
    view = View(source, PARTS[part])
    if not view.tensors:
        raise InputError(f"{source.where} holds no {part} under {', '.join(PARTS[part])}; leave --part out.")
    return view


class Joined:
    """Several sources as one, each under a prefix that no other begins with; metadata and place are the first's."""

    def __init__(self, parts: Mapping[str, Source]) -> None:
        first = next(iter(parts.values()))
        self.where, self.config, self._parts = first.where, first.config, parts
        self.metadata: dict[str, str] = {}
        for part in parts.values():
            self.metadata = {**part.metadata, **self.metadata}
        self.tensors: Mapping[str, Stored] = {
            prefix + key: one for prefix, part in parts.items() for key, one in part.tensors.items()
        }

    def rows(self, key: str, start: int, stop: int) -> Iterator[bytes | memoryview]:
        # The longest prefix first: the first source may have none.
        prefix = max((one for one in self._parts if key.startswith(one)), key=len)
        return self._parts[prefix].rows(key.removeprefix(prefix), start, stop)
