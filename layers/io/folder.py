"""PNG folder and zip with ``manifest.json``: the canonical lossless form of a document.

Everything round-trips exactly, and the same document gives the same bytes. Integer layers keep their own
depth, float layers are rounded to the document's. Pictures are named by their content, so a folder can be
rewritten in place: new pictures first, then the manifest by one rename, then the pictures that only the old
manifest used are removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import InputError, OutputError
from ..document import LayeredImage
from . import colour as cms
from .archive import ArchiveReader, ArchiveWriter
from .atomic import atomic_write, flush_now, output_error, resolve_target, sync_folder
from .depth import stored_depth, to_depth
from .limits import LIMITS, Budget, Limits
from .manifest import build_manifest, dump_json, load_json, parse_manifest
from .png import encode_png
from .png_read import decode_png

MANIFEST = "manifest.json"
_PICTURES = "layers"
_PROFILE = "profile.icc"
_FILE = re.compile(r"(layers/[A-Za-z0-9._-]{1,100}\.png|profile\.icc)")
_PROFILE_BYTES = 1 << 24
Write = Callable[[str, bytes], None]
Read = Callable[[str, int], bytes]


def _emit(doc: LayeredImage, write: Write) -> tuple[bytes, list[str]]:
    """Hand every picture to ``write``; return the manifest's bytes and the names written."""
    names: list[str] = []

    def store(pixels: np.ndarray) -> str:
        deep = to_depth(pixels, stored_depth(pixels, doc.depth))
        data = encode_png(
            deep, dpi=doc.dpi if pixels.ndim == 3 else None, icc=doc.icc if pixels.ndim == 3 else None
        )
        name = f"{_PICTURES}/{hashlib.sha256(data).hexdigest()[:20]}.png"
        if name not in names:
            names.append(name)
            write(name, data)
        return name

    profile = None
    if doc.icc is not None:
        write(_PROFILE, doc.icc)
        names.append(_PROFILE)
        profile = _PROFILE
    manifest = build_manifest(doc, store, profile)
    return dump_json(manifest, "the document"), names


def write_zip(doc: LayeredImage, file: BinaryIO) -> None:
    """Write ``doc`` to an open binary file as a zip of PNGs and manifest."""
    with ArchiveWriter(file) as archive:
        manifest, _ = _emit(doc, lambda name, data: archive.add(name, data))
        archive.add(MANIFEST, manifest, packed=True)


def write_folder(doc: LayeredImage, path: Path) -> None:
    """Write ``doc`` into the folder ``path``, new or written by acetate before.

    A link to a folder is kept, the folder behind it written. Raises OutputError if ``path`` is a file or holds
    something else. An interruption leaves the old document or the new one readable at every moment.
    """
    path = resolve_target(path)  # a folder cannot be renamed over a link
    try:
        if path.is_dir() and any(path.iterdir()):
            _rewrite(doc, path)
        else:
            _write_new(doc, path)
    except OSError as error:
        raise output_error(path, error) from error


def _write_new(doc: LayeredImage, path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise OutputError(f"cannot write {path}: it is a file: choose another name or remove it")
    temporary = path.with_name(f".acetate-{secrets.token_hex(6)}.tmp")
    try:
        temporary.mkdir()
        (temporary / _PICTURES).mkdir()
        manifest, _ = _emit(doc, lambda name, data: _write_plain(temporary / name, data))
        _write_plain(temporary / MANIFEST, manifest)
        if flush_now():
            sync_folder(temporary / _PICTURES)
            sync_folder(temporary)
        os.replace(temporary, path)
        if flush_now():
            sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_plain(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        if flush_now():
            os.fsync(file.fileno())


def _rewrite(doc: LayeredImage, path: Path) -> None:
    if not (path / MANIFEST).is_file():
        raise OutputError(f"cannot write {path}: the folder holds other files: choose an empty or a new one")
    old = _used_files(path)
    (path / _PICTURES).mkdir(exist_ok=True)
    fresh: list[Path] = []

    def write(name: str, data: bytes) -> None:
        target = path / name
        if target.is_file() and not target.is_symlink() and target.read_bytes() == data:
            return
        if not target.exists():
            fresh.append(target)
        with atomic_write(target) as file:
            file.write(data)

    try:
        manifest, names = _emit(doc, write)
        with atomic_write(path / MANIFEST) as file:
            file.write(manifest)
    except BaseException:
        for target in fresh:
            target.unlink(missing_ok=True)
        raise
    for name in old - set(names):
        (path / name).unlink(missing_ok=True)


def _used_files(path: Path) -> set[str]:
    """The files that the manifest now in ``path`` names, as far as it can be read: only those may be
    removed.
    """
    try:
        text = (path / MANIFEST).read_bytes()[: LIMITS.text_bytes].decode("utf-8", "replace")
    except OSError:
        return set()
    return {name for name in re.findall(r'"(layers/[0-9a-f]{20}\.png|profile\.icc)"', text)}


def manifest_folder(names: Sequence[str]) -> str | None:
    """What the names in a zip begin with where a folder was packed: "" if its files lie at the top, "NAME/" if the folder
    itself was packed, as file managers do; None where there is no manifest at either place.

    What macOS adds beside it ("__MACOSX/...", ".DS_Store") does not count.
    """
    if MANIFEST in names:
        return ""
    first = {
        name.partition("/")[0] for name in names if not name.startswith("__MACOSX/") and name != ".DS_Store"
    }
    if len(first) != 1:
        return None
    folder = f"{first.pop()}/"
    return folder if folder + MANIFEST in names else None


def read_zip(archive: ArchiveReader, limits: Limits = LIMITS, *, folder: str = "") -> LayeredImage:
    """The document in a zip written by :func:`write_zip`, or of a folder written by :func:`write_folder`; ``folder`` is what
    all names begin with, see :func:`manifest_folder`.
    """
    return _parse(archive.what, lambda name, most: archive.read(folder + name, most=most), limits)


def read_folder(path: Path, limits: Limits = LIMITS) -> LayeredImage:
    """The document in a folder written by :func:`write_folder`. Links out of the folder are refused."""
    if not (path / MANIFEST).is_file():
        raise InputError(
            f"{path} is a folder without {MANIFEST}: give a picture or a folder saved by acetate"
        )
    root = path.resolve()

    def read(name: str, most: int) -> bytes:
        file = path / name
        if file.is_symlink() or not file.resolve().is_relative_to(root):
            raise InputError(f"{file} is a link: replace it by the file itself")
        if not file.is_file():
            raise InputError(f"{path} lacks the file {name!r}: save the document again")
        if file.stat().st_size > most:
            raise InputError(f"{file} is larger than acetate opens: it is damaged or hostile")
        return file.read_bytes()

    return _parse(str(path), read, limits)


def _parse(what: str, read: Read, limits: Limits) -> LayeredImage:
    seen: dict[str, np.ndarray] = {}

    def checked(name: str) -> str:
        if not _FILE.fullmatch(name):
            raise InputError(
                f"the manifest of {what} names the file {name[:80]!r}, which cannot be one of its pictures"
            )
        return name

    def fetch(name: str, width: int, height: int, mask: bool) -> np.ndarray:
        pixels = seen.get(checked(name))
        if pixels is None:
            where = f"{name!r} in {what}"
            pixels = decode_png(read(name, limits.file_bytes), where, size=(width, height), grey=mask)
            seen[name] = pixels
        if pixels.shape[:2] != (height, width) or (pixels.ndim == 2) != mask:
            raise InputError(
                f"{name!r} in {what} is not {width} x {height} as the manifest says: save it again"
            )
        return pixels

    def icc(name: str) -> bytes:
        return cms.checked_profile(read(checked(name), _PROFILE_BYTES), what)

    manifest = load_json(read(MANIFEST, limits.text_bytes), f"the manifest of {what}")
    return parse_manifest(manifest, what, fetch, icc, Budget(what, limits))
