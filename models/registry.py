"""Which models there are and where they lie. Knows names, folders and licences; loads nothing and imports no torch."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from .family import FLUX, QWEN

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_MODEL = "tiny"


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model by the name the user gives.

    ``path``: its folder, None while it is only known on the hub. ``repo`` and ``revision``: where the hub has it.
    ``kind``: "embedded", "hub" or "folder" (how it was found; what is inside is read from the folder itself).
    """

    name: str
    kind: str
    path: Path | None = None
    repo: str | None = None
    revision: str | None = None
    licence: str = "unknown"
    summary: str = ""
    tasks: tuple[str, ...] = ()
    """The commands it was trained for; others run and mean little."""
    caveat: str = ""
    """What nobody should expect of it where words lead, as a sentence."""
    backbone: str = QWEN.transformer
    """diffusers' class of its transformer."""
    gigabytes: float | None = None
    """Size of its files, None when nobody has counted."""
    gated: bool = False
    """Whether the hub wants an account that has accepted the conditions on the model's page."""

    @property
    def files(self) -> tuple[str, ...]:
        """What its folder holds."""
        if self.backbone == FLUX.transformer:
            return FLUX_FILES
        return FILES if self.kind == "embedded" else HUB_FILES

    @property
    def fetch(self) -> str:
        """The command that fetches a hub model, and what has to come before it."""
        first = (
            f"accept the conditions on the hub's page of {self.repo}, `hf auth login`, then "
            if self.gated
            else ""
        )
        # FLUX's repositories hold the weights a second time, as single files beside the folders.
        only = " --include model_index.json --include '*/*'" if self.backbone == FLUX.transformer else ""
        return f"{first}`hf download {self.repo}{only}`"

    @property
    def where(self) -> str:
        """Where it was found on this machine, or how to get it; asks no network."""
        found = self.path if self.path is not None else cached_snapshot(self)
        if found is None or not (found / "model_index.json").is_file():
            return self.remedy if self.repo is None else f"not here; {self.fetch} fetches it"
        return {"embedded": "embedded", "hub": "hub cache", "folder": "folder"}[self.kind] + f": {found}"

    @property
    def remedy(self) -> str:
        """What to do when files of this model are missing or broken; the end of an error's sentence."""
        if self.kind == "embedded":
            return "restore the weights/ folder of acetate (install the package again, or `git checkout -- weights`)"
        if self.repo is not None:
            return f"fetch the model again: {self.fetch}"
        return "copy the whole model folder again"

    @property
    def available(self) -> bool:
        """Whether the model's folder is on this machine (for the hub: in its cache), without asking any network."""
        if self.path is not None:
            return (self.path / "model_index.json").is_file()
        return cached_snapshot(self) is not None


MODELS: dict[str, ModelEntry] = {
    "tiny": ModelEntry(
        name="tiny",
        kind="embedded",
        path=WEIGHTS,
        licence="Apache-2.0",
        summary="the embedded model: stickers, posters and simple scenes; no download, no GPU",
        tasks=("decompose", "generate"),
        caveat="The embedded model does not follow prompts yet: from words it makes shapes and colours of its own.",
        gigabytes=0.04,
    ),
    "Qwen/Qwen-Image-Layered": ModelEntry(
        name="Qwen/Qwen-Image-Layered",
        kind="hub",
        repo="Qwen/Qwen-Image-Layered",
        licence="Apache-2.0",
        summary="20 billion parameters for production: about 57 GB on disk; with --memory from 8 GB of a GPU on",
        tasks=("decompose",),
        gigabytes=57.7,
    ),
    "black-forest-labs/FLUX.1-dev": ModelEntry(
        name="black-forest-labs/FLUX.1-dev",
        kind="hub",
        repo="black-forest-labs/FLUX.1-dev",
        licence="FLUX.1 [dev] Non-Commercial",
        summary="12 billion parameters, guidance-distilled; needs --transparency, and the LoRA that belongs to it",
        tasks=FLUX.tasks,
        backbone=FLUX.transformer,
        gigabytes=33.7,
        gated=True,
    ),
    "black-forest-labs/FLUX.1-schnell": ModelEntry(
        name="black-forest-labs/FLUX.1-schnell",
        kind="hub",
        repo="black-forest-labs/FLUX.1-schnell",
        licence="Apache-2.0",
        summary="12 billion parameters, 4 steps, no guidance; needs --transparency, and a LoRA that belongs to it",
        tasks=FLUX.tasks,
        backbone=FLUX.transformer,
        gigabytes=33.7,
        gated=True,
    ),
}
HUB_FILES = ("model_index.json", *(f"{part}/*" for part in (
    "transformer", "vae", "text_encoder", "tokenizer", "processor", "scheduler"
)))  # fmt: skip
FLUX_FILES = ("model_index.json", *(f"{part}/*" for part in (
    "transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"
)))  # fmt: skip
FILES = (*(name for name in HUB_FILES if not name.startswith("processor")), "frame_embedding/*")


def resolve(name_or_path: str | Path) -> ModelEntry:
    """The entry of a known name or of a local model folder (a folder wins over a name of the hub).

    Raises InputError for anything else: it lists the known names and the closest one, or says what the folder lacks.
    """
    name = str(name_or_path)
    path = Path(name).expanduser()
    entry = MODELS.get(name)
    if entry is not None and (entry.kind == "embedded" or not path.is_dir()):
        return entry
    if name and path.is_dir():
        if not (path / "model_index.json").is_file():
            raise InputError(_no_model(path))
        return ModelEntry(name=name, kind="folder", path=path.resolve(), summary="a local folder")
    known = ", ".join(MODELS)
    if path.suffix == ".gguf" and path.is_file():
        raise InputError(
            f"{path} is a transformer alone; give the model that it was made from, by name or folder, and the file beside "
            "it with --transformer."
        )
    if path.is_file():
        raise InputError(f"{path} is a file; give the folder of a model, or one of {known}.")
    close = difflib.get_close_matches(name.lower(), [key.lower() for key in MODELS], n=1, cutoff=0.4)
    hint = "".join(f" Did you mean {key}?" for key in MODELS if key.lower() in close)
    raise InputError(f"There is no model or folder {name!r}; known models are {known}.{hint}")


def _no_model(path: Path) -> str:
    """What a folder without model_index.json is, as far as its file names tell, and what to give instead."""
    if (path / "pytorch_lora_weights.safetensors").is_file() or (path / "adapter_config.json").is_file():
        return (
            f"{path} is a LoRA, not a model: it has no model_index.json; give the model's folder, and the LoRA beside it "
            "with --lora (in Python loras=[...])."
        )
    if (path / "config.json").is_file():
        return (
            f"{path} is one part of a model: it has a config.json but no model_index.json; give the folder above it, which "
            "has transformer/, vae/ and the others."
        )
    if any(path.glob("*.gguf")):
        return (
            f"{path} holds a transformer as a single .gguf file, without model_index.json; give the model that it was made "
            "from, by name or folder, and the file beside it with --transformer."
        )
    if any(path.glob("*.safetensors")):
        return (
            f"{path} holds weights in single files, without model_index.json; give a folder in diffusers' layout, with "
            "transformer/, vae/ and text_encoder/."
        )
    return f"{path} is not a model folder: it has no model_index.json; give the folder that has it."


def locate(entry: ModelEntry, *, download: bool = True, transformer: bool = True) -> ModelEntry:
    """The entry with its ``path`` on this machine, fetched from the hub when needed and allowed. ``transformer``: its
    weights too; without, only its config is.

    Raises InputError when it is not here and cannot be fetched (no network, offline mode, no access).
    """
    if entry.path is not None:
        return entry
    found = cached_snapshot(entry)
    if found is None:
        found = _download(entry, download, transformer)
    return replace(
        entry, path=found, revision=found.name if found.parent.name == "snapshots" else entry.revision
    )


def cached_snapshot(entry: ModelEntry) -> Path | None:
    """The folder of a hub model in the hub's cache on this machine, None when it is not there; asks no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if entry.repo is None:
        return None
    try:
        folder = Path(snapshot_download(entry.repo, revision=entry.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if (folder / "model_index.json").is_file() else None


def _download(entry: ModelEntry, allowed: bool, transformer: bool) -> Path:
    from huggingface_hub import snapshot_download

    how = (
        f"{'' if entry.gated else 'run '}{entry.fetch} where there is a network, or give the model's folder by its path; "
        f"`{DEFAULT_MODEL}` needs no download"
    )
    if not allowed or os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise InputError(f"{entry.name} is not on this machine and downloads are off: {how}.")
    files = [
        "transformer/config.json" if name == "transformer/*" and not transformer else name
        for name in entry.files
    ]
    try:
        return Path(snapshot_download(entry.repo, revision=entry.revision, allow_patterns=files))
    # The hub's client raises from several libraries (HTTP, TLS, its own); whichever it is, the user needs the model.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{entry.name} is not on this machine and could not be fetched ({reason[0]}): {how}."
        ) from error
