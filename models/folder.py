"""The published folder layout, checked before anything is loaded.

    model_index.json  scheduler/  tokenizer[_2]/  text_encoder[_2]/  vae/  transformer/  and what a family adds

A folder is untrusted until :func:`check_folder` has read it: JSON files, file names, and the headers of the weights
against the shapes that the configs ask for. Each finding is one sentence with the file, what was wrong and what to do.
Knows the layout; runs no model and reads no weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from .checked import CheckedFolder
from .family import FLUX, family_of
from .folder_flux import check_flux
from .folder_qwen import EMBEDDED_ENCODER, check_qwen
from .parts import encoder_width, read_json

__all__ = ["EMBEDDED_ENCODER", "CheckedFolder", "check_folder", "encoder_width", "fingerprint", "read_json"]

SAMPLE = 2**20  # bytes of a big weight file that count for the fingerprint, from its start and from its end


def check_folder(path: Path, remedy: str, *, transformer: bool = True) -> CheckedFolder:
    """Everything that can be known to be wrong without loading. ``remedy`` ends each sentence. ``transformer``: its weights
    are needed too; without, they come from elsewhere, and the folder gives the config alone.

    Raises InputError for a missing, truncated or foreign file, classes that acetate does not run, tensors that are
    missing, too many or of another shape, and parts that do not fit one another.
    """
    family = family_of(path, read_json(path / "model_index.json", remedy))
    read_json(path / "scheduler" / "scheduler_config.json", remedy)
    check = check_flux if family is FLUX else check_qwen
    return check(path, remedy, transformer)


def fingerprint(path: Path) -> str:
    """16 hex digits that name the contents of a folder or file: all of every small file, size and both ends of the large
    ones."""
    digest = hashlib.sha256()
    files = (
        [path]
        if path.is_file()
        else sorted(file for file in path.rglob("*") if file.suffix in {".json", ".safetensors", ".txt"})
    )
    for file in files:
        size = file.stat().st_size
        name = file.name if file is path else file.relative_to(path).as_posix()
        digest.update(f"{name} {size}\n".encode())
        with file.open("rb") as handle:
            if size <= 2 * SAMPLE:
                digest.update(handle.read())
                continue
            digest.update(handle.read(SAMPLE))
            handle.seek(size - SAMPLE)
            digest.update(handle.read(SAMPLE))
    return digest.hexdigest()[:16]
