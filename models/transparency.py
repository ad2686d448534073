"""Where FLUX takes alpha from: its own folder, or a path that the user gives beside it.

    a file of LayerDiffuse's TransparentVAE      one layer
    a file of ART's region decoder               stacks of layers in boxes
    a folder of a 4-channel AutoencoderKL        both, in the place of FLUX's own VAE (AlphaVAE)
    a folder with such parts, or with a vae/     as the pipelines here save them

Told by what is inside, never by a file's name. Knows which source serves which task; not pixels, nor the sampler.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from .checked import CheckedFolder
from .codecs.layerdiffuse import read_layerdiffuse
from .codecs.region_decoder import RegionDecoder
from .codecs.tensor_file import read_tensors
from .folder_flux import ALPHA_PARTS, VAE_CLASS, check_alpha_part, check_rgb
from .inventory import stored_tensors
from .parts import check_weights, load_part, read_json

SERVES = {"transparent": "transparent_decoder", "generate": "region_decoder"}
REMEDY = "copy it again as it was published"
_WANTED = {
    "transparent": "LayerDiffuse's TransparentVAE file, or the folder of a VAE of 4 channels (AlphaVAE)",
    "generate": "ART's region decoder, or the folder of a VAE of 4 channels (AlphaVAE)",
}


@dataclass(frozen=True, kw_only=True)
class AlphaSource:
    """``folders``: where each part lies (of ``ALPHA_PARTS``, or "vae" for one that takes the place of FLUX's own).
    ``file``: a single file that holds the part of the task ``file_task``."""

    folders: Mapping[str, Path]
    channels: int
    """Of the VAE that is used."""
    file: Path | None = None
    file_task: str | None = None


PUBLISHED = AlphaSource(folders={}, channels=3)
"""FLUX.1 as it is published: none."""


def find_alpha(folder: Path, given: Path | None, remedy: str) -> AlphaSource:
    """What alpha there is for the FLUX model in ``folder`` with what the user gives beside it. Reads configs and names of
    tensors only. Raises InputError for a path that holds nothing of the kind."""
    own = {name: folder / name for name in ALPHA_PARTS if (folder / name).is_dir()}
    channels = int(read_json(folder / "vae" / "config.json", remedy).get("out_channels", 3))
    if given is None:
        return AlphaSource(folders=own, channels=channels)
    if given.is_file():
        return AlphaSource(folders=own, channels=channels, file=given, file_task=_task_of(given))
    if not given.is_dir():
        raise InputError(f"There is no file or folder {given}; transparency is {_WANTED['transparent']}.")
    found = {name: given / name for name in ALPHA_PARTS if (given / name).is_dir()}
    vae = given if (given / "config.json").is_file() else given / "vae"
    if (vae / "config.json").is_file() and not found:
        config = read_json(vae / "config.json", REMEDY)
        if config.get("_class_name") != VAE_CLASS or config.get("in_channels", 3) != 4:
            raise InputError(
                f"{vae / 'config.json'} describes a {config.get('_class_name')} of {config.get('in_channels', 3)} channels, "
                f"which makes no alpha; transparency is {_WANTED['transparent']}."
            )
        own = {
            name: path for name, path in own.items() if name == "layer_embedding"
        }  # the transformer's, not the VAE's
        return AlphaSource(folders={**own, "vae": vae}, channels=4)
    if not found:
        raise InputError(
            f"{given} holds nothing that makes alpha: neither the config.json of a VAE of 4 channels nor one of the folders "
            f"{', '.join(ALPHA_PARTS)}; give {_WANTED['transparent']}."
        )
    return AlphaSource(folders={**own, **found}, channels=channels)


def check_alpha(source: AlphaSource, task: str, name: str) -> None:
    """Raises InputError when the task ``task`` finds no alpha in ``source``; ``name``: what the user calls the model."""
    part = SERVES[task]
    if source.channels == 4 or part in source.folders or source.file_task == task:
        return
    other = next((one for one in SERVES if SERVES[one] in source.folders or source.file_task == one), None)
    if other is not None:
        where = source.file or source.folders[SERVES[other]]
        raise InputError(
            f"{where} is for `acetate {other}`, not for `acetate {task}`, which needs {_WANTED[task]} as transparency."
        )
    raise InputError(
        f"The VAE of {name} works on {source.channels} channels, so FLUX alone makes no alpha; give as transparency "
        f"(--transparency) {_WANTED[task]}."
    )


def load_alpha(
    source: AlphaSource, checked: CheckedFolder, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """The parts of ``source`` by their names, in evaluation mode, "vae" among them where it replaces the model's own.
    Raises InputError for weights that do not fit their config or the model."""
    transformer, vae = checked.parts["transformer"], checked.parts["vae"]
    made: dict[str, Any] = {}
    for name, folder in source.folders.items():
        if name == "vae":
            config = read_json(folder / "config.json", REMEDY)
            _check_latents(folder, config.get("latent_channels", 4), vae)
            check_weights(folder, VAE_CLASS, config, REMEDY)
        elif folder.parent != checked.path:
            check_alpha_part(folder, name, transformer, vae, REMEDY)
        made[name] = load_part(VAE_CLASS if name == "vae" else ALPHA_PARTS[name], folder, device, dtype)
    if source.file is None:
        return made
    check_rgb(source.file, vae)
    if source.file_task == "generate":
        made["region_decoder"] = RegionDecoder.from_file(source.file, device, dtype)
        return made
    parts = read_layerdiffuse(source.file, None, None)
    _check_latents(source.file, parts.latent_channels, vae)
    decoder, encoder = parts.build(device, dtype)
    return {**made, "transparent_decoder": decoder, "offset_encoder": encoder}


def _check_latents(where: Path, found: int, vae: Mapping[str, Any]) -> None:
    wanted = vae.get("latent_channels", 4)
    if found != wanted:
        raise InputError(
            f"{where} is made for {found} latent channels, but this model has {wanted}: it belongs to another model (SDXL "
            "has 4, FLUX 16); give the file that was made for FLUX."
        )


def _task_of(file: Path) -> str:
    """Which task a single file serves, by its tensors' names."""
    keys = _keys(file)
    if any(key.startswith("decoder.encoder.layers.") for key in keys):
        return "generate"
    if any(key.endswith("latent_conv_in.weight") for key in keys):
        return "transparent"
    if any(".lora_" in key for key in keys):
        raise InputError(
            f"{file} is a LoRA, which makes no alpha by itself; give it with --lora, and the decoder here."
        )
    raise InputError(
        f"{file} holds neither LayerDiffuse's decoder nor ART's; transparency is {_WANTED['transparent']}."
    )


def _keys(file: Path) -> set[str]:
    if file.suffix == ".safetensors":
        return set(stored_tensors([file], REMEDY))
    if zipfile.is_zipfile(file):
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            state = state.get("model", state)
            return {str(key) for key in state}
        except (RuntimeError, ValueError, OSError, AttributeError, pickle.UnpicklingError):
            return set(read_tensors(file, REMEDY, inside="model"))  # says in a sentence what is wrong with it
    return set(read_tensors(file, REMEDY, inside="model"))
