"""The atlas of sprites as data, and as a file, so that a machine without fonts can draw the same scenes.

The file is a compressed NumPy archive of two arrays, ``pixels`` and ``sprites`` (JSON as bytes). It is read as a stranger's
file: names, types and sizes before anything is unpacked, never a pickle. This module draws nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..layers.io.atomic import atomic_write
from ..layers.io.limits import reading
from ..layers.io.manifest import load_json

CELL = 112
"""Side of an atlas cell in pixels."""
KINDS = ("emoji", "shape", "text")
MAX_SPRITES = 20_000
_MAX_BYTES = {"pixels.npy": MAX_SPRITES * CELL * CELL * 4 + 4096, "sprites.npy": MAX_SPRITES * 400}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sprite:
    """One atlas cell: ``name`` is what captions call it; ``tinted`` sprites are white and coloured by the scene."""

    name: str
    kind: str
    tinted: bool

    @property
    def held_out(self) -> bool:
        """True for the tenth of all sprites that training never sees."""
        return hashlib.sha256(f"{self.kind}:{self.name}".encode()).digest()[0] % 10 == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Atlas:
    """``pixels``: uint8 (S, CELL, CELL, 4) premultiplied RGBA; ``sprites``: S descriptions in the same order."""

    pixels: np.ndarray
    sprites: tuple[Sprite, ...]

    def indices(self, *, held_out: bool) -> np.ndarray:
        """Positions of the held-out sprites, or of the training ones."""
        return np.array([i for i, s in enumerate(self.sprites) if s.held_out == held_out], dtype=np.int64)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the atlas to ``path`` (usually .npz) and return it; the same atlas gives the same bytes. OutputError when
        that fails; an older file is then left as it was."""
        rows = [[sprite.name, sprite.kind, sprite.tinted] for sprite in self.sprites]
        text = np.frombuffer(json.dumps(rows).encode(), np.uint8)
        with atomic_write(path) as file:
            np.savez_compressed(file, pixels=self.pixels, sprites=text)
        return Path(path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Atlas:
        """The atlas that :meth:`save` wrote; InputError when ``path`` is something else, or was drawn for other cells."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"there is no atlas file {path}: write one with Atlas.save where the fonts are")
        with reading(str(path), "an atlas file"), zipfile.ZipFile(path) as archive:
            pixels, text = (_member(archive, name, str(path)) for name in ("pixels.npy", "sprites.npy"))
        rows = load_json(text.tobytes(), str(path))
        if pixels.shape[1:] != (CELL, CELL, 4):
            raise InputError(
                f"{path} holds pixels of shape {pixels.shape}, not S x {CELL} x {CELL} x 4: write it again"
            )
        if not isinstance(rows, list) or len(rows) != len(pixels) or not rows:
            raise InputError(f"{path} names other sprites than it holds: write it again")
        pixels.setflags(write=False)
        return Atlas(pixels=pixels, sprites=tuple(_sprite(row, str(path)) for row in rows))


def _member(archive: zipfile.ZipFile, name: str, what: str) -> np.ndarray:
    """The uint8 array ``name``, whose stated size and shape agree and are within bounds."""
    size = archive.getinfo(name).file_size
    if size > _MAX_BYTES[name]:
        raise InputError(f"{what} is too large for an atlas: {name} unpacks to {size / 1e6:.0f} MB")
    with archive.open(name) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise InputError(f"{what}: {name} is no array of NumPy's first format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        count = int(np.prod(shape, dtype=np.float64))
        if dtype != np.uint8 or fortran or not 0 <= count <= size:
            raise InputError(f"{what}: {name} is no uint8 array of the size it states")
        data = file.read(count)
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def _sprite(row: object, what: str) -> Sprite:
    match row:
        case [str(name), str(kind), bool(tinted)] if kind in KINDS and 0 < len(name) <= 200:
            return Sprite(name=name, kind=kind, tinted=tinted)
    raise InputError(f"{what}: a sprite is described as {str(row)[:80]}, not as name, kind and tinted")
