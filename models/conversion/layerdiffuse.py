"""LayerDiffuse's two layouts: one file with prefixes (FLUX, as published), or a file each (SDXL, as published).

The separate decoder and encoder get the names that tell acetate's loader the offset's scale, 300; one in Forge's scale (1)
keeps its numbers, and its name is the caller's business. Knows files and prefixes.
"""

from __future__ import annotations

from collections.abc import Collection

from ...errors import InputError
from .layouts import TABLES, find_layout
from .modules import plan_modules, shown
from .plan import whole
from .result import Conversion
from .source import Source
from .views import Joined, View

JOINED = "transparent-vae"
PARTS: dict[str, str] = {
    "decoder.": "ld_diffusers_flux_vae_transparent_decoder.safetensors",
    "encoder.": "ld_diffusers_flux_vae_transparent_encoder.safetensors",
    "sd_vae.": "vae.safetensors",
}
PREFIXES = {"layerdiffuse-decoder": "decoder.", "layerdiffuse-encoder": "encoder.", "kl-vae": "sd_vae."}


def is_joined(keys: Collection[str]) -> bool:
    """Whether these are the keys of the layout of one file."""
    return "decoder.latent_conv_in.weight" in keys


def plan_layerdiffuse(source: Source, to: str, beside: tuple[Source, ...]) -> Conversion:
    """The plan from either layout to either; ``beside``: the other files of the separate one. Raises InputError where a
    part is missing, given twice, incomplete or none of LayerDiffuse's."""
    if is_joined(source.tensors):
        _check(source)
        return _as_it_is(source) if to == JOINED else _apart(source)
    if to == "separate":
        layout = find_layout(source.tensors, source.where)
        targets = plan_modules(source, TABLES[layout.family], "diffusers", "", "diffusers", "", layout.words)
        return Conversion(source=source, targets=targets, metadata=source.metadata)
    parts: dict[str, Source] = {}
    for one in (source, *beside):
        layout = find_layout(one.tensors, one.where)
        if layout.family not in PREFIXES or layout.style != "diffusers":
            raise InputError(f"{one.where} is {layout.words}, which is no part of LayerDiffuse as it is.")
        prefix = PREFIXES[layout.family]
        if prefix in parts:
            raise InputError(
                f"{parts[prefix].where} and {one.where} are both LayerDiffuse's {prefix[:-1]}; give one of each."
            )
        parts[prefix] = one
    absent = [prefix[:-1] for prefix in ("decoder.", "encoder.") if prefix not in parts]
    if absent:
        raise InputError(f"{JOINED} holds decoder and encoder; name the file of the {absent[0]} with --with.")
    joined = Joined({prefix: parts[prefix] for prefix in PARTS if prefix in parts})
    _check(joined)
    return _as_it_is(joined)


def _as_it_is(source: Source) -> Conversion:
    targets = [whole(source, key, key) for key in source.tensors]
    return Conversion(source=source, targets=targets, metadata=source.metadata)


def _apart(source: Source) -> Conversion:
    files = {}
    for prefix, name in PARTS.items():
        keys = [key for key in source.tensors if key.startswith(prefix)]
        if keys:
            files[name] = [whole(source, key, key.removeprefix(prefix)) for key in keys]
    return Conversion(source=source, targets=[], metadata=source.metadata, files=files)


def _check(source: Source) -> None:
    unknown = [key for key in source.tensors if not key.startswith(tuple(PARTS))]
    if unknown:
        raise InputError(f"{source.where} looks like LayerDiffuse in one file, but holds {shown(unknown)}.")
    for family, prefix in PREFIXES.items():
        part = View(source, prefix)
        if part.tensors:
            words = f"LayerDiffuse's {prefix[:-1]}"
            plan_modules(part, TABLES[family], "diffusers", prefix, "diffusers", prefix, words)
