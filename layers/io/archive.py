"""Zip archives: written with the same bytes for the same content, read as if an enemy had made them."""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ...errors import InputError
from .limits import LIMITS, Limits

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MEBIBYTE = 1 << 20
_HELD = 4 * _MEBIBYTE
_DRIVE = re.compile(r"^[A-Za-z]:")


class ArchiveWriter:
    """A zip with fixed timestamps, permissions and compression; entries in the order they are added."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = _Gathering(file)
        self._zip = zipfile.ZipFile(self._file, "w", allowZip64=True)

    def add(self, name: str, data: bytes, *, packed: bool = False) -> None:
        """Add one file; ``packed`` deflates it (pictures are packed already and stay as they are)."""
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        info.create_system = 3
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        self._zip.writestr(info, data, compresslevel=6 if packed else None)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the directory of the archive; the file under it stays open."""
        self._zip.close()
        self._file.spill()


class _Gathering:
    """An empty file whose beginning is held until there is more of it than 4 MiB: for every entry an archive moves to and
    fro dozens of times, each a call of the system in which other threads get their turn."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = io.BytesIO()
        self._now: BinaryIO = self._held

    def tell(self) -> int:
        return self._now.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._now.seek(offset, whence)

    def write(self, data: Any, /) -> int:
        written = self._now.write(data)
        if self._now is self._held and self._held.tell() > _HELD:
            self.spill()
        return written

    def flush(self) -> None:
        """Nothing: whoever opened the file does it, and closes it."""

    close = flush

    def spill(self) -> None:
        """From now on everything is in the file itself."""
        if self._now is self._held:
            place = self._held.tell()
            self._file.write(self._held.getbuffer())
            self._file.seek(place)
            self._held, self._now = io.BytesIO(), self._file


class ArchiveReader:
    """The files of an untrusted zip, all names and declared sizes checked before anything is unpacked.

    Refused with InputError: absolute names, "..", backslashes, links and other special files, names that
    occur twice, encryption, compression other than deflate, too many files, and more bytes than the limits or
    the packed size allow.
    """

    def __init__(self, file: BinaryIO, what: str, limits: Limits = LIMITS) -> None:
        self.what = what
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise InputError(
                f"{what} is damaged or cut short ({error}): save or download it again"
            ) from error
        entries = self._zip.infolist()
        if len(entries) > limits.entries:
            raise self._refuse(f"it holds {len(entries)} files")
        self._entries: dict[str, zipfile.ZipInfo] = {}
        folded: set[str] = set()
        total = 0
        for info in entries:
            self._check(info, limits)
            if info.filename.casefold() in folded:
                raise self._refuse(f"it holds {info.filename!r} twice")
            folded.add(info.filename.casefold())
            total += info.file_size
            if not info.is_dir():
                self._entries[info.filename] = info
        if total > limits.file_bytes:
            raise self._refuse(f"it unpacks to {total / 1e9:.1f} GB")

    def _refuse(self, why: str) -> InputError:
        return InputError(f"{self.what} is refused because {why}: it is damaged or hostile")

    def _check(self, info: zipfile.ZipInfo, limits: Limits) -> None:
        name = info.filename
        parts = name.split("/")
        if (
            name.startswith("/")
            or "\\" in name
            or "\0" in name
            or _DRIVE.match(name)
            or ".." in parts
            or not name
        ):
            raise self._refuse(f"the name {name[:80]!r} leaves the archive")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise self._refuse(f"{name[:80]!r} is a link or special file")
        if info.flag_bits & 0x1:
            raise InputError(f"{self.what} is encrypted: unpack it and save it without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._refuse(f"{name[:80]!r} uses an unusual compression")
        if info.file_size > _MEBIBYTE and info.file_size > limits.ratio * max(1, info.compress_size):
            raise self._refuse(
                f"{name[:80]!r} unpacks to {info.file_size / 1e6:.0f} MB from {info.compress_size} bytes"
            )

    def names(self) -> list[str]:
        """The names of all files, in archive order."""
        return list(self._entries)

    @contextmanager
    def beginning(self, name: str) -> Iterator[BinaryIO]:
        """One file as a stream, for its first bytes; InputError if it is missing. Damage raises what zipfile and zlib raise
        (see ``limits.reading``).
        """
        info = self._entries.get(name)
        if info is None:
            raise InputError(f"{self.what} lacks the file {name[:80]!r}: save the document again")
        with self._zip.open(info) as stream:
            yield stream  # type: ignore[misc]

    def read(self, name: str, *, most: int | None = None) -> bytes:
        """The bytes of one file; InputError if it is missing, damaged, or longer than ``most`` or than it
        says.
        """
        info = self._entries.get(name)
        if info is None:
            raise InputError(f"{self.what} lacks the file {name[:80]!r}: save the document again")
        if most is not None and info.file_size > most:
            raise self._refuse(f"{name[:80]!r} is {info.file_size / 1e6:.0f} MB")
        try:
            with self._zip.open(info) as stream:
                data = stream.read(info.file_size + 1)
        except Exception as error:  # zipfile and zlib signal damage with many types, see limits.reading
            raise InputError(
                f"{name[:80]!r} in {self.what} is damaged ({error}): save the document again"
            ) from error
        if len(data) != info.file_size:
            raise self._refuse(f"{name[:80]!r} is not as long as it says")
        return data
